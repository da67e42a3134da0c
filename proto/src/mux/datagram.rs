//! UDP sessions: datagrams arrive whole or not at all, in the order in which they were sent.
//!
//! There is no credit for them, because a sender of datagrams cannot be made to wait. What bounds
//! them instead is room: in the sender's write ring and in the inbox of each session at the
//! receiver. What finds no room is dropped and counted, and nothing ever waits for it.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    Connection, DatagramError, FrameKind, Hello, Payload, Received, SessionId, Side, Violation,
    connection::Phase,
};
use crate::{
    addr::{MAX_ENCODED_TARGET, Target},
    limits::{COPY_BELOW, DATAGRAM_OVERHEAD, MAX_DATAGRAM, MIN_DATAGRAM_SHARE},
};

/// A datagram that arrived.
///
/// ```text
///   DATAGRAM payload:  address and port as in SOCKS5 (RFC 1928 §5) │ data, to the frame's end
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// From the PoP, where it goes, perhaps to a name; from the edge, the address it came from.
    pub address: Target,
    /// What it says, at most [`MAX_DATAGRAM`] bytes; may be empty.
    pub data: Bytes,
}

impl Datagram {
    /// Reads a frame's payload as the end on `side` may receive it.
    fn decode(mut payload: BytesMut, side: Side) -> Result<Self, Violation> {
        const MALFORMED: Violation = Violation::Malformed("DATAGRAM");
        let (address, data_at) = Target::decode(&payload)
            .map_err(|_| MALFORMED)?
            .ok_or(MALFORMED)?;
        let is_name = address.host.name().is_some();
        if payload.len() - data_at > MAX_DATAGRAM || (side == Side::Pop && is_name) {
            return Err(MALFORMED);
        }
        payload.advance(data_at);
        let data = payload.freeze();
        Ok(Self { address, data })
    }
}

/// A datagram to send: its address, and its data behind room for the headers, so that the frame
/// leaves as one slice.
#[derive(Debug)]
pub struct DatagramPayload(Payload);

impl DatagramPayload {
    /// Bytes to leave free in front of the data: the headers and the longest address.
    pub const HEADROOM: usize = Payload::HEADROOM + MAX_ENCODED_TARGET;

    /// Takes a buffer whose data begins at `data_at`, with [`HEADROOM`](Self::HEADROOM) bytes or
    /// more in front of it that are free to be written over.
    ///
    /// # Errors
    /// [`DatagramError::TooLong`] for more than [`MAX_DATAGRAM`] bytes of data.
    ///
    /// # Panics
    /// Without that room, which is a mistake of the caller's, not of the peer's.
    pub fn from_buffer(
        address: &Target,
        mut buf: BytesMut,
        data_at: usize,
    ) -> Result<Self, DatagramError> {
        assert!(
            (Self::HEADROOM..=buf.len()).contains(&data_at),
            "a datagram needs its headroom"
        );
        if buf.len() - data_at > MAX_DATAGRAM {
            return Err(DatagramError::TooLong);
        }
        let mut encoded = [0; MAX_ENCODED_TARGET];
        let mut rest = &mut encoded[..];
        address.encode(&mut rest);
        let len = MAX_ENCODED_TARGET - rest.len();
        let address_at = data_at - len;
        buf[address_at..data_at].copy_from_slice(&encoded[..len]);
        buf.advance(address_at - Payload::HEADROOM);
        Ok(Self(Payload::from_buffer(buf)))
    }

    /// Copies `data` behind fresh room.
    ///
    /// # Errors
    /// [`DatagramError::TooLong`] for more than [`MAX_DATAGRAM`] bytes of data.
    pub fn copy_from(address: &Target, data: &[u8]) -> Result<Self, DatagramError> {
        let mut buf = BytesMut::with_capacity(Self::HEADROOM + data.len());
        buf.put_bytes(0, Self::HEADROOM);
        buf.put_slice(data);
        Self::from_buffer(address, buf, Self::HEADROOM)
    }
}

impl Connection {
    /// Whether both ends carry UDP sessions. `false` before the peer's HELLO.
    pub fn carries_datagrams(&self) -> bool {
        match self.phase {
            Phase::Running(hello) => {
                self.settings.datagrams && hello.capabilities & Hello::DATAGRAMS != 0
            }
            Phase::AwaitingHello | Phase::Over => false,
        }
    }

    /// Queues a datagram of a UDP session. A PoP may send at once, an edge once it has accepted.
    ///
    /// # Errors
    /// Why it is dropped; that a buffer is full is no more than a loss.
    pub fn send_datagram(
        &mut self,
        id: SessionId,
        datagram: DatagramPayload,
    ) -> Result<(), DatagramError> {
        let session = self.table.get_mut(id).ok_or(DatagramError::NoSession)?;
        let may_send = session.accepted || self.side == Side::Pop;
        if !may_send || !session.is_open_for_sending() {
            return Err(DatagramError::NoSession);
        }
        let queues = session.datagrams.as_deref_mut();
        let queues = queues.ok_or(DatagramError::NoSession)?;
        if !self.outbox.datagrams.admit(queues, datagram.0) {
            return Err(DatagramError::BufferFull);
        }
        self.schedule(id);
        Ok(())
    }

    /// The next datagram of a UDP session, or the end of the peer's direction. After a `None`,
    /// [`Event::Readable`](super::Event::Readable) tells when there is more.
    pub fn receive_datagram(&mut self, id: SessionId) -> Option<Received<Datagram>> {
        let session = self.table.get_mut(id)?;
        let queues = session.datagrams.as_deref_mut()?;
        if let Some(datagram) = queues.next_incoming() {
            return Some(Received::Data(datagram));
        }
        if session.next_end() {
            self.finish_if_over(id);
            return Some(Received::End);
        }
        session.announced = false;
        None
    }

    /// Datagrams that arrived, in all sessions so far, when their session's inbox was full.
    pub fn unread_datagrams(&self) -> u64 {
        self.unread_datagrams
    }

    /// Bytes of datagrams queued for transmission, their overhead included.
    pub fn queued_datagram_bytes(&self) -> usize {
        self.outbox.datagrams.queued
    }

    pub(super) fn handle_datagram(
        &mut self,
        id: SessionId,
        payload: BytesMut,
    ) -> Result<(), Violation> {
        let datagram = Datagram::decode(payload, self.side)?;
        let Some(session) = self.table.get_mut(id) else {
            self.refuse_unknown(id);
            return Ok(());
        };
        let may_come = session.accepted || self.side == Side::Edge;
        if !may_come || !session.is_open_for_receiving() {
            return Err(Violation::OutOfOrder(FrameKind::Datagram));
        }
        let Some(queues) = session.datagrams.as_deref_mut() else {
            return Err(Violation::WrongSession(FrameKind::Datagram));
        };
        if queues.arrive(datagram, self.settings.datagram_inbox_bytes) {
            self.announce(id);
        } else {
            self.unread_datagrams += 1;
        }
        Ok(())
    }

    /// Turns the datagram that a session has just given out into its frame.
    pub(super) fn encode_datagram(&mut self, id: SessionId, payload: Payload) -> Bytes {
        let is_last = self.table.get(id).is_none_or(|session| {
            let queues = session.datagrams.as_ref();
            queues.is_none_or(|queues| !queues.has_outgoing())
        });
        self.outbox.datagrams.release(cost(payload.len()), is_last);
        let key = self.outbox.next_key();
        payload.into_frame(FrameKind::Datagram, id, key)
    }
}

/// What waits in one UDP session, in either direction.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    outgoing: VecDeque<Payload>,
    outgoing_cost: usize,
    incoming: VecDeque<Datagram>,
    incoming_cost: usize,
}

impl Datagrams {
    pub(super) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(super) fn next_outgoing(&mut self) -> Option<Payload> {
        let payload = self.outgoing.pop_front()?;
        self.outgoing_cost -= cost(payload.len());
        Some(payload)
    }

    pub(super) fn has_incoming(&self) -> bool {
        !self.incoming.is_empty()
    }

    fn next_incoming(&mut self) -> Option<Datagram> {
        let datagram = self.incoming.pop_front()?;
        self.incoming_cost -= cost(datagram.data.len());
        Some(datagram)
    }

    /// Takes a datagram in, unless more than `limit` would wait then.
    fn arrive(&mut self, mut datagram: Datagram, limit: usize) -> bool {
        let cost = cost(datagram.data.len());
        if self.incoming_cost + cost > limit {
            return false;
        }
        // As with DATA: a few bytes that have to wait must not pin the whole read buffer.
        if self.has_incoming() && datagram.data.len() < COPY_BELOW {
            datagram.data = Bytes::copy_from_slice(&datagram.data);
        }
        self.incoming_cost += cost;
        self.incoming.push_back(datagram);
        true
    }
}

/// The room for unsent datagrams of all sessions.
///
/// Invariant: `queued` is the cost of what waits in all sessions, `senders` the number of sessions
/// in which anything waits.
#[derive(Debug)]
pub(super) struct DatagramRing {
    limit: usize,
    queued: usize,
    senders: usize,
}

impl DatagramRing {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            queued: 0,
            senders: 0,
        }
    }

    /// Queues a datagram in its session, if there is room for it and the session's share allows it.
    fn admit(&mut self, queues: &mut Datagrams, payload: Payload) -> bool {
        let cost = cost(payload.len());
        let is_first = !queues.has_outgoing();
        let senders = self.senders + usize::from(is_first);
        let share = (self.limit / senders).max(MIN_DATAGRAM_SHARE);
        let is_within_share = is_first || queues.outgoing_cost + cost <= share;
        if self.queued + cost > self.limit || !is_within_share {
            return false;
        }
        self.queued += cost;
        self.senders = senders;
        queues.outgoing_cost += cost;
        queues.outgoing.push_back(payload);
        true
    }

    /// One datagram has left; `is_last` if nothing waits in its session any more.
    fn release(&mut self, cost: usize, is_last: bool) {
        self.queued -= cost;
        self.senders -= usize::from(is_last);
    }

    /// A session is gone with what waited in it.
    pub(super) fn release_all(&mut self, queues: &Datagrams) {
        self.queued -= queues.outgoing_cost;
        self.senders -= usize::from(queues.has_outgoing());
    }

    /// Every session is gone.
    pub(super) fn clear(&mut self) {
        (self.queued, self.senders) = (0, 0);
    }
}

/// What a datagram of `len` bytes takes of a bound.
fn cost(len: usize) -> usize {
    len + DATAGRAM_OVERHEAD
}
