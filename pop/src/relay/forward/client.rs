//! A client between its requests: the socket, what it has sent ahead, and the session it may need
//! again.

use std::{io, pin::pin};

use bytes::{Buf, BytesMut};
use titan_proto::http::Persistence;

use super::origin::{Origin, OriginEnd};
use crate::{
    directory::TunnelKey,
    limits::{FAREWELL_TIMEOUT, HANDSHAKE_READ},
    mesh::{Progress, RequestMove, RequestOrder, Work},
    metrics::ClientClose,
    net::{Either, Received, Socket, farewell, race, timeout},
    tunnel::Core,
};

/// An HTTP client whose next request is to come.
#[derive(Debug)]
pub struct Client {
    pub(super) socket: Socket,
    pub(super) unread: Unread,
    kept: Option<Origin>,
}

/// What a client has sent and nobody has read.
#[derive(Debug)]
pub(super) struct Unread {
    pub(super) input: BytesMut,
    /// Whether the client has ended its direction behind it.
    pub(super) has_ended: bool,
}

impl Unread {
    /// Receives what the client has sent, no more than `max` bytes.
    pub(super) fn fill(&mut self, socket: &Socket, max: usize) -> io::Result<Received> {
        self.input.reserve(max);
        let received = socket.try_recv(&mut self.input, max)?;
        self.has_ended |= received == Received::End;
        Ok(received)
    }
}

impl Client {
    /// A client that has sent `input` of its first request.
    pub fn new(socket: Socket, input: BytesMut) -> Self {
        Self::resume(socket, input, false)
    }

    pub(super) fn resume(socket: Socket, input: BytesMut, has_ended: bool) -> Self {
        Self {
            socket,
            unread: Unread { input, has_ended },
            kept: None,
        }
    }

    /// What has come of the next request.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.unread.input
    }

    /// Waits until something has come of the next request, without a buffer; `false` where nothing
    /// does in time, or the PoP drains. Meanwhile the origin server may end its connection.
    pub async fn wait(&mut self, core: &Core) -> bool {
        if !self.unread.input.is_empty() || self.unread.has_ended {
            return !self.unread.input.is_empty();
        }
        self.unread.input = BytesMut::new();
        let (readable, drain) = (pin!(self.socket.readable()), pin!(core.drain_begun.wait()));
        let spoken_or_drained = pin!(race(readable, drain));
        let mut end_of_wait = pin!(timeout(core.config.http_idle(), spoken_or_drained));
        if let Some(origin) = &self.kept {
            let first = race(pin!(origin.gone()), &mut end_of_wait).await;
            match first {
                Either::First(end) => {
                    if let Some(origin) = self.kept.take() {
                        origin.part(end);
                    }
                }
                Either::Second(end) => return matches!(end, Ok(Either::First(Ok(())))),
            }
        }
        matches!(end_of_wait.await, Ok(Either::First(Ok(()))))
    }

    /// Waits for more of the request; `false` where the client has ended or is gone.
    pub async fn read_more(&mut self) -> bool {
        while !self.unread.has_ended {
            match self.unread.fill(&self.socket, HANDSHAKE_READ) {
                Ok(Received::Bytes(_)) => return true,
                Ok(Received::Nothing) if self.socket.readable().await.is_ok() => {}
                _ => break,
            }
        }
        false
    }

    /// Passes over an empty line in front of a request, which some clients send behind their
    /// content (RFC 9112 §2.2); `false` where there is none.
    pub fn skip_empty_line(&mut self) -> bool {
        let is_there = self.unread.input.starts_with(b"\r\n");
        if is_there {
            self.unread.input.advance(2);
        }
        is_there
    }

    /// Sends the proxy's own answer and does as it says; gives the client back where its
    /// connection stays.
    pub async fn answer(self, response: &[u8], persistence: Persistence) -> Option<Self> {
        if persistence == Persistence::Close {
            self.close(response).await;
            return None;
        }
        let sent = timeout(FAREWELL_TIMEOUT, pin!(self.socket.send_all(response))).await;
        matches!(sent, Ok(Ok(()))).then_some(self)
    }

    /// Ends the connection behind `last_words`.
    pub async fn close(mut self, last_words: &[u8]) {
        self.keep(None);
        // What the client has sent ahead and nobody will read would cut the last words off.
        farewell(self.socket, last_words).await;
    }

    /// The socket and what has been read from it, for a session of bytes.
    pub fn into_parts(mut self) -> (Socket, BytesMut) {
        self.keep(None);
        (self.socket, self.unread.input)
    }

    /// Does as the response said to the client.
    pub(super) async fn go_on(self, persistence: Persistence) -> Option<Self> {
        match persistence {
            Persistence::KeepAlive => Some(self),
            Persistence::Close => {
                self.close(&[]).await;
                None
            }
        }
    }

    /// The client sees a reset when its connection closes.
    pub fn reset_on_close(&self) {
        self.socket.reset_on_close(true);
    }

    /// Ends the connection so that nothing it carried is taken for complete.
    pub(super) fn reset(self) {
        self.socket.reset();
    }

    /// Puts content that another edge is to be sent back in front of what nobody has read.
    pub(super) fn take_back(&mut self, mut content: BytesMut) {
        content.extend_from_slice(&self.unread.input);
        self.unread.input = content;
    }

    /// Keeps a session for the next request in place of the last one.
    pub(super) fn keep(&mut self, origin: Option<Origin>) {
        if let Some(last) = std::mem::replace(&mut self.kept, origin) {
            last.part(OriginEnd::Open);
        }
    }

    /// The kept session if it serves `order`; one that does not is ended.
    pub(super) async fn take_kept(&mut self, core: &Core, order: &RequestOrder) -> Option<Origin> {
        let origin = self.kept.take()?;
        if let Some(end) = origin.has_gone().await {
            origin.part(end);
            return None;
        }
        if !origin.serves(core, order) {
            origin.part(OriginEnd::Open);
            return None;
        }
        origin.session.hear_anew();
        Some(origin)
    }

    /// Moves to the shard of `tunnel` with a request; gives all of it back where that shard takes
    /// no more.
    pub(super) fn depart(
        mut self,
        core: &Core,
        order: RequestOrder,
        tunnel: TunnelKey,
        progress: Progress,
    ) -> Option<Box<(Self, RequestOrder, Progress)>> {
        self.keep(None);
        let Ok(fd) = self.socket.into_fd() else {
            core.metrics.client_closes.inc(ClientClose::Overloaded);
            return None;
        };
        let moved = Work::Request(Box::new(RequestMove {
            fd,
            input: self.unread.input,
            has_ended: self.unread.has_ended,
            order,
            tunnel,
            progress,
        }));
        let Err(refused) = core.mesh.send_work(tunnel.shard, moved) else {
            core.metrics.client_handovers.inc();
            return None;
        };
        let Work::Request(moved) = *refused else {
            return None;
        };
        let Ok(socket) = Socket::adopt(moved.fd) else {
            core.metrics.client_closes.inc(ClientClose::Overloaded);
            return None;
        };
        let client = Self::resume(socket, moved.input, moved.has_ended);
        Some(Box::new((client, moved.order, moved.progress)))
    }
}
