//! The write ring: what waits to be transmitted, and in which order it leaves.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    FrameHeader, SessionId, datagram::DatagramRing, payload::write_header, session::Session,
};
use crate::{
    limits::{FIRST_WRITE_BATCH, MIN_RING_BYTES, MIN_WRITE_BATCH, RING_BYTES},
    ws,
};

/// Everything one end of a tunnel has to say, bounded.
///
/// Control frames overtake data and are kept encoded, in order. Data waits in its session and leaves
/// in rounds, one frame of each session at a time, so that a session with much to say delays another
/// by one frame. A session adds one frame at a time while the ring is not full, in the order in which they
/// came to wait for room. Datagrams leave in the same rounds and have room of their own.
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
    /// What the ring holds before it is full, on this line.
    ring_bytes: usize,
    /// The same on the fastest one.
    max_ring_bytes: usize,
    max_frame: usize,
    /// What the transport took at a time last.
    batch: usize,
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
            max_ring_bytes: ring_bytes,
            max_frame: FIRST_WRITE_BATCH,
            batch: FIRST_WRITE_BATCH,
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

    /// Learns how much the transport takes at a time: on a slow line the ring and its frames are small.
    pub(super) fn set_batch(&mut self, batch: usize) {
        if batch == self.batch {
            return;
        }
        self.batch = batch;
        self.ring_bytes = batch
            .saturating_mul(2)
            .clamp(MIN_RING_BYTES, RING_BYTES)
            .min(self.max_ring_bytes);
        self.max_frame = batch.max(MIN_WRITE_BATCH);
    }

    /// Bytes of one frame that a session may add: a whole frame's while the ring is not full. So the
    /// ring may exceed its size by a frame, and no session is woken to write a sliver.
    pub(super) fn room(&self, session: &Session) -> usize {
        if self.queued < self.ring_bytes {
            self.max_frame
        } else {
            session.talk_room()
        }
    }

    /// Bytes that the ring takes before it is full.
    pub(super) fn free(&self) -> usize {
        self.ring_bytes.saturating_sub(self.queued)
    }

    /// Longest frame that is worth sending on this line.
    pub(super) fn max_frame(&self) -> usize {
        self.max_frame
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
    use crate::{limits::TALK_BYTES, mux::Payload};

    fn outbox() -> Outbox {
        Outbox::new(1024 * 1024, DatagramRing::new(0), MaskKeys::Server)
    }

    #[test]
    fn a_full_ring_takes_talk_and_no_bulk() {
        let (mut outbox, mut session) = (outbox(), Session::new(0, 0, true));
        outbox.set_batch(usize::MAX);
        assert_eq!(outbox.room(&session), usize::MAX);
        outbox.queued = 1024 * 1024 - 1;
        assert_eq!(outbox.room(&session), usize::MAX, "one more frame");
        outbox.queued += 1;
        assert_eq!((outbox.free(), outbox.room(&session)), (0, TALK_BYTES));
        session.queue(Payload::copy_from(b"a key press"));
        assert_eq!(outbox.room(&session), TALK_BYTES - 11);
        session.queue(Payload::copy_from(&[0; TALK_BYTES]));
        assert_eq!(outbox.room(&session), 0);
    }

    #[test]
    fn ring_and_frames_are_small_on_a_slow_line() {
        let mut outbox = outbox();
        outbox.set_batch(16 * 1024);
        assert_eq!((outbox.free(), outbox.max_frame()), (64 * 1024, 16 * 1024));
        outbox.set_batch(1);
        assert_eq!(outbox.max_frame(), MIN_WRITE_BATCH);
        outbox.set_batch(256 * 1024);
        assert_eq!(outbox.free(), 512 * 1024);
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
