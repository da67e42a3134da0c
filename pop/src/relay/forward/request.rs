//! Client to origin server: the head, the content to its end and no further, then an eye on the
//! client.

use std::{convert::Infallible, future::pending, io};

use bytes::{BufMut, BytesMut};
use titan_proto::{
    http::{Content, ForwardRequest},
    mux::Payload,
    read_size::ReadSize,
};

use super::{client::Unread, exchange::Exchange, failure::Failure};
use crate::{
    limits::{
        CLIENT_WATCH, HANDSHAKE_READ, PIPELINED_BYTES, READ_BURST, SESSION_READ_MAX,
        SESSION_READ_MIN,
    },
    net::{Received, sleep},
    relay::{link::client_gone, up::into_payload},
};

/// Sends a request, then watches for the client's departure until it is dropped.
pub(super) async fn send(
    exchange: &Exchange<'_>,
    request: &ForwardRequest,
    unread: &mut Unread,
) -> Result<Infallible, Failure> {
    let mut upload = Upload {
        exchange,
        content: request.content.clone(),
        size: ReadSize::new(SESSION_READ_MIN, SESSION_READ_MAX),
    };
    upload.begin(&request.head, unread).await?;
    upload.rest(unread).await?;
    exchange.note(|milestones| milestones.is_sent = true);
    watch(exchange, unread).await
}

/// Sees the client go, and reads ahead within bounds to do so: the end of its direction stands
/// behind what it has sent.
async fn watch(exchange: &Exchange<'_>, unread: &mut Unread) -> Result<Infallible, Failure> {
    // Most responses come before that is worth a look.
    sleep(CLIENT_WATCH).await;
    while !unread.has_ended && unread.input.len() < PIPELINED_BYTES {
        exchange.socket.readable().await?;
        unread.fill(exchange.socket, HANDSHAKE_READ)?;
    }
    if unread.has_ended {
        // A client that has said all it had to say may still listen, for as long as it hears
        // something.
        exchange.linger.start();
        return pending().await;
    }
    Err(client_gone(exchange.socket).await.into())
}

/// The content of a request on its way.
struct Upload<'a> {
    exchange: &'a Exchange<'a>,
    content: Content,
    size: ReadSize,
}

impl Upload<'_> {
    /// Sends the head and as much of the content as is here already.
    async fn begin(&mut self, head: &[u8], unread: &mut Unread) -> Result<(), Failure> {
        let here = self.measure(&unread.input)?;
        let mut bytes = BytesMut::with_capacity(head.len() + here);
        bytes.put_slice(head);
        let content = unread.input.split_to(here);
        self.exchange.kept.note(&content);
        bytes.put(content);
        while !bytes.is_empty() {
            match self.exchange.session.send_capacity().min(bytes.len()) {
                0 => self.exchange.writable().await?,
                n => self.send(Payload::copy_from(&bytes.split_to(n)))?,
            }
        }
        Ok(())
    }

    /// Sends the content as the client does.
    async fn rest(&mut self, unread: &mut Unread) -> Result<(), Failure> {
        while !self.content.is_complete() {
            if unread.has_ended {
                return Err(Failure::Client(io::ErrorKind::UnexpectedEof.into()));
            }
            if self.exchange.session.send_capacity() == 0 {
                self.exchange.writable().await?;
                continue;
            }
            self.exchange.socket.readable().await?;
            self.exchange.meter.turn_up(self.exchange.socket).await?;
            self.burst(unread)?;
        }
        Ok(())
    }

    /// Sends what the client has sent, within bounds.
    fn burst(&mut self, unread: &mut Unread) -> Result<(), Failure> {
        // A user with a rate has a turn for one quantum.
        let quantum = self.exchange.meter.up().quantum();
        let reads = if quantum.is_some() { 1 } else { READ_BURST };
        for _ in 0..reads {
            let room = self.room().min(quantum.unwrap_or(usize::MAX));
            if room == 0 {
                break;
            }
            let pool = &self.exchange.core.pool;
            let mut buffer = pool.take(Payload::HEADROOM + room);
            buffer.put_bytes(0, Payload::HEADROOM);
            match self.exchange.socket.try_recv(&mut buffer, room)? {
                Received::Bytes(n) => {
                    self.size.note(room, n);
                    self.pass_on(buffer, unread)?;
                    if n < room {
                        break;
                    }
                }
                Received::Nothing => {
                    pool.give(buffer);
                    break;
                }
                Received::End => {
                    unread.has_ended = true;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Bytes to read: no more than may be sent, and little of what may be the next request.
    fn room(&self) -> usize {
        let most = match self.content.certain() {
            0 if self.content.is_complete() => 0,
            0 => PIPELINED_BYTES,
            certain => usize::try_from(certain).unwrap_or(usize::MAX),
        };
        self.exchange
            .session
            .send_capacity()
            .min(self.size.get())
            .min(most)
    }

    /// Sends what of `buffer` belongs to the content, in the buffer it was read into.
    fn pass_on(&mut self, mut buffer: BytesMut, unread: &mut Unread) -> Result<(), Failure> {
        let end =
            Payload::HEADROOM + self.measure(buffer.get(Payload::HEADROOM..).unwrap_or(&[]))?;
        unread
            .input
            .extend_from_slice(buffer.get(end..).unwrap_or_default());
        buffer.truncate(end);
        let content = buffer.get(Payload::HEADROOM..).unwrap_or_default();
        self.exchange.kept.note(content);
        self.send(into_payload(buffer, &self.exchange.core.pool))
    }

    fn measure(&mut self, input: &[u8]) -> Result<usize, Failure> {
        self.content.measure(input).map_err(Failure::Request)
    }

    fn send(&self, payload: Payload) -> Result<(), Failure> {
        let exchange = self.exchange;
        exchange.count_up(payload.len());
        exchange.linger.moved();
        Ok(exchange.session.send(payload)?)
    }
}
