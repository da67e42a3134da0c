//! The write ring: what waits to be transmitted, and in which order it leaves.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{FrameHeader, SessionId, datagram::DatagramRing, payload::write_header};
use crate::{
    limits::{MIN_RING_ROOM, MIN_RING_SHARE},
    ws,
};

/// Everything one end of a tunnel has to say, bounded.
///
/// Control frames overtake data and are kept encoded, in order. Data waits in its session and leaves
/// in rounds, one frame of each session at a time, so that a session with much to say delays another
/// by one frame. What one session may queue is its share of the ring. Datagrams leave in the same
/// rounds and have room of their own.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Encoded control frames, in order.
    control: BytesMut,
    /// The ping to answer. RFC 6455 §5.5.3 allows to answer only the last one, so that a flood of
    /// pings costs no memory.
    pong: Option<Bytes>,
    /// Sessions with a grant to send.
    pub(super) grants: VecDeque<SessionId>,
    /// Sessions with something to send, in the order of their turns.
    pub(super) round: VecDeque<SessionId>,
    /// Sessions that wait for room.
    pub(super) waiters: VecDeque<SessionId>,
    /// DATA payload queued in all sessions.
    pub(super) queued: usize,
    /// Room for the datagrams queued in all UDP sessions.
    pub(super) datagrams: DatagramRing,
    ring_bytes: usize,
    keys: MaskKeys,
}

impl Outbox {
    pub(super) fn new(ring_bytes: usize, datagrams: DatagramRing, keys: MaskKeys) -> Self {
        Self {
            control: BytesMut::new(),
            pong: None,
            grants: VecDeque::new(),
            round: VecDeque::new(),
            waiters: VecDeque::new(),
            queued: 0,
            datagrams,
            ring_bytes,
            keys,
        }
    }

    /// Queues a frame that overtakes data.
    pub(super) fn push_frame(&mut self, header: FrameHeader, payload: &[u8]) {
        let key = self.keys.next();
        write_header(key, FrameHeader::LEN + payload.len(), &mut self.control);
        let start = self.control.len();
        self.control.put_slice(&header.encode());
        self.control.put_slice(payload);
        if let Some(key) = key {
            ws::mask::apply(key, 0, &mut self.control[start..]);
        }
    }

    /// Queues a WebSocket control frame: a ping or the close.
    pub(super) fn push_ws_control(&mut self, opcode: ws::Opcode, payload: &[u8]) {
        let key = self.keys.next();
        ws::encode_frame_header(true, opcode, key, payload.len() as u64, &mut self.control);
        let start = self.control.len();
        self.control.put_slice(payload);
        if let Some(key) = key {
            ws::mask::apply(key, 0, &mut self.control[start..]);
        }
    }

    /// Answers the peer's ping, in place of any earlier one not answered yet.
    pub(super) fn answer_ping(&mut self, payload: Bytes) {
        self.pong = Some(payload);
    }

    /// Bytes of queued control frames.
    pub(super) fn control_bytes(&self) -> usize {
        self.control.len()
    }

    /// Takes all control frames, the answer to a ping first.
    pub(super) fn take_control(&mut self) -> Option<Bytes> {
        if let Some(payload) = self.pong.take() {
            let queued = self.control.split();
            self.push_ws_control(ws::Opcode::Pong, &payload);
            self.control.extend_from_slice(&queued);
        }
        (!self.control.is_empty()).then(|| self.control.split().freeze())
    }

    pub(super) fn next_key(&mut self) -> Option<[u8; 4]> {
        self.keys.next()
    }

    /// Bytes that a session with `own` bytes queued may add; 0 rather than a sliver.
    pub(super) fn room(&self, own: usize) -> usize {
        let competitors = self.round.len().max(1);
        let share = (self.ring_bytes / competitors).max(MIN_RING_SHARE);
        let free = self.ring_bytes.saturating_sub(self.queued);
        let room = share.saturating_sub(own).min(free);
        if room < MIN_RING_ROOM { 0 } else { room }
    }

    /// Whether the ring is three quarters full: new sessions do better elsewhere.
    pub(super) fn is_saturated(&self) -> bool {
        self.queued >= self.ring_bytes / 4 * 3
    }

    /// Whether there is anything to transmit.
    pub(super) fn is_empty(&self) -> bool {
        self.control.is_empty()
            && self.pong.is_none()
            && self.grants.is_empty()
            && self.round.is_empty()
    }

    /// Forgets all data: the tunnel is over, only control frames still leave.
    pub(super) fn clear_sessions(&mut self) {
        self.grants.clear();
        self.round.clear();
        self.waiters.clear();
        self.queued = 0;
        self.datagrams.clear();
    }
}

/// Masking keys: RFC 6455 §5.3 wants a fresh, unpredictable one for every frame a client sends, and
/// §5.1 none for a server's.
#[derive(Debug)]
pub(super) enum MaskKeys {
    /// A client's; a ChaCha generator seeded by the caller from the system's entropy.
    Client(Box<StdRng>),
    /// A server's.
    Server,
}

impl MaskKeys {
    pub(super) fn client(seed: [u8; 32]) -> Self {
        Self::Client(Box::new(StdRng::from_seed(seed)))
    }

    fn next(&mut self) -> Option<[u8; 4]> {
        match self {
            Self::Client(rng) => Some(rng.next_u32().to_be_bytes()),
            Self::Server => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(1024 * 1024, DatagramRing::new(0), MaskKeys::Server)
    }

    #[test]
    fn shares_shrink_with_competition_but_not_below_the_least() {
        let mut outbox = outbox();
        assert_eq!(outbox.room(0), 1024 * 1024);
        let id = SessionId::new(1, 1).expect("valid");
        outbox.round.extend([id; 4]);
        assert_eq!(outbox.room(0), 256 * 1024);
        assert_eq!(outbox.room(256 * 1024 - 1), 0, "a sliver");
        outbox.round.extend([id; 1000]);
        assert_eq!(outbox.room(0), MIN_RING_SHARE);
        outbox.queued = 1024 * 1024;
        assert_eq!(outbox.room(0), 0);
    }

    #[test]
    fn a_flood_of_pings_leaves_one_answer() {
        let mut outbox = outbox();
        for n in 0..1000u32 {
            outbox.answer_ping(Bytes::copy_from_slice(&n.to_be_bytes()));
        }
        assert_eq!(
            outbox.take_control().expect("a pong"),
            [0x8a, 4, 0, 0, 3, 231][..]
        );
        assert!(outbox.is_empty());
    }

    #[test]
    fn client_keys_differ_and_follow_the_seed() {
        let mut keys = MaskKeys::client([1; 32]);
        let (first, second) = (keys.next(), keys.next());
        assert!(first.is_some() && first != second);
        assert_eq!(MaskKeys::client([1; 32]).next(), first);
    }
}
