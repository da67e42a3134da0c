//! Client to target: read only what may be sent, into the buffer it is sent from.

use std::{ops::ControlFlow, pin::pin};

use bytes::{BufMut, BytesMut};
use titan_proto::{mux::Payload, read_size::ReadSize};

use super::link::{Broken, Link};
use crate::{
    limits::{COPY_BELOW_SHARE, READ_BURST, SESSION_READ_MAX, SESSION_READ_MIN},
    net::{BufferPool, Either, Received, race},
};

/// What the client has sent before the session began.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// The bytes.
    pub(super) bytes: BytesMut,
    /// Whether they are all there will be.
    pub(super) ended: bool,
}

/// Relays until the client has ended its direction, beginning with what is here already.
pub(super) async fn run(link: &Link, early: Early) -> Result<(), Broken> {
    send(link, early.bytes).await?;
    if !early.ended {
        Up::new(link, u64::MAX).relay().await?;
        link.kept.note_end();
    }
    link.session.finish();
    link.linger.start();
    Ok(())
}

/// Sends bytes that are here already, and that are counted already.
pub(super) async fn send(link: &Link, mut bytes: BytesMut) -> Result<(), Broken> {
    while !bytes.is_empty() {
        match link.session.send_capacity().min(bytes.len()) {
            0 => link.session.writable().await?,
            n => link.session.send(Payload::copy_from(&bytes.split_to(n)))?,
        }
    }
    Ok(())
}

/// Relays a bounded number of bytes.
pub(super) struct Up<'a> {
    link: &'a Link,
    size: ReadSize,
    left: u64,
}

impl<'a> Up<'a> {
    /// Will relay at most `left` bytes.
    pub(super) fn new(link: &'a Link, left: u64) -> Self {
        Self {
            link,
            size: ReadSize::new(SESSION_READ_MIN, SESSION_READ_MAX),
            left,
        }
    }

    /// Relays until all is relayed or the client has ended its direction; gives what is left.
    pub(super) async fn relay(&mut self) -> Result<u64, Broken> {
        while self.left > 0 {
            if self.link.session.send_capacity() == 0 {
                self.wait_for_credit().await?;
                continue;
            }
            self.link.client.readable().await?;
            self.link.meter.turn_up(&self.link.client).await?;
            if self.burst()?.is_break() {
                break;
            }
        }
        Ok(self.left)
    }

    /// Nothing is read from the client meanwhile, so its end has to be looked for.
    async fn wait_for_credit(&self) -> Result<(), Broken> {
        let writable = pin!(self.link.session.writable());
        match race(writable, pin!(self.link.client_gone())).await {
            Either::First(result) => Ok(result?),
            Either::Second(broken) => Err(broken),
        }
    }

    /// Relays what the client has sent, within bounds; breaks at the end of it.
    fn burst(&mut self) -> Result<ControlFlow<()>, Broken> {
        // A user with a rate has a turn for one quantum.
        let quantum = self.link.meter.up().quantum();
        let reads = if quantum.is_some() { 1 } else { READ_BURST };
        for _ in 0..reads {
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let room = self
                .link
                .session
                .send_capacity()
                .min(self.size.get())
                .min(quantum.unwrap_or(usize::MAX))
                .min(left);
            if room == 0 {
                break;
            }
            let mut buffer = self.link.core.pool.take(Payload::HEADROOM + room);
            buffer.put_bytes(0, Payload::HEADROOM);
            match self.link.client.try_recv(&mut buffer, room)? {
                Received::Bytes(n) => {
                    self.pass_on(room, n, buffer)?;
                    self.link.meter.check()?;
                    if n < room {
                        break;
                    }
                }
                Received::Nothing => {
                    self.link.core.pool.give(buffer);
                    break;
                }
                Received::End => return Ok(ControlFlow::Break(())),
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn pass_on(&mut self, room: usize, n: usize, buffer: BytesMut) -> Result<(), Broken> {
        self.size.note(room, n);
        self.left = self.left.saturating_sub(n as u64);
        self.link.meter.moved_up(n);
        self.link.linger.moved();
        let sent = buffer.get(Payload::HEADROOM..).unwrap_or_default();
        self.link.kept.note(sent);
        let payload = into_payload(buffer, &self.link.core.pool);
        Ok(self.link.session.send(payload)?)
    }
}

/// What was read, behind [`Payload::HEADROOM`], as a payload: in its buffer, or copied out of one that
/// is far too large for it and would be held for as long as the payload waits.
pub(super) fn into_payload(buffer: BytesMut, pool: &BufferPool) -> Payload {
    if buffer.len() >= buffer.capacity() / COPY_BELOW_SHARE {
        return Payload::from_buffer(buffer);
    }
    let payload = Payload::copy_from(buffer.get(Payload::HEADROOM..).unwrap_or_default());
    pool.give(buffer);
    payload
}
