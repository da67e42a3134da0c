//! One session's state: its two directions, their credit and what waits in them.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{
    Payload, Violation,
    credit::{ReceiveWindow, SendCredit},
    datagram::Datagrams,
};
use crate::limits::{COPY_BELOW, JOIN_UP_TO, TALK_BYTES};

/// One session as one end of the tunnel sees it.
///
/// ```text
///  our direction                                  the peer's direction
///
///   [Open] --finish()--> [Finishing]               [Open] --FIN arrives--> [Ended]
///                            | FIN sent                                       | End taken by
///                            v                                                v our consumer
///                        [Finished]                                       [Drained]
///
///  Over when Finished and Drained, or at once by a RESET from either end.
/// ```
#[derive(Debug)]
pub(super) struct Session {
    local: Local,
    remote: Remote,
    /// Whether OPENED was sent or received. An edge sends nothing before it; a PoP may.
    pub(super) accepted: bool,
    credit: SendCredit,
    outgoing: VecDeque<Payload>,
    outgoing_bytes: usize,
    window: ReceiveWindow,
    incoming: VecDeque<Bytes>,
    /// The last chunk, while small ones are being copied together.
    tail: BytesMut,
    /// What waits in a UDP session, which has no credit and neither sends nor gets DATA.
    pub(super) datagrams: Option<Box<Datagrams>>,
    /// The consumer's socket is full: what arrives has to wait and is copied if it is small.
    waiting: bool,
    /// Readable was announced and the consumer has not yet found the queue empty.
    pub(super) announced: bool,
    /// The owner was told to wait for Writable.
    pub(super) blocked: bool,
    /// The last payload was a small one, if there was any: this is no bulk data.
    talks: bool,
    /// The id stands in the outbox's round of senders, its list of waiters, its list of grants.
    pub(super) in_round: bool,
    pub(super) in_waiters: bool,
    pub(super) in_grants: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Local {
    Open,
    Finishing,
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Remote {
    Open,
    Ended,
    Drained,
}

/// What the consumer of a session takes from it: bytes, or the datagrams of a UDP session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received<T = Bytes> {
    /// Bytes, in order. Report them with `consumed` once they are handed on. Or one datagram.
    Data(T),
    /// The peer's direction has ended; comes once, after all data.
    End,
}

/// What the transmitter takes from a session.
#[derive(Debug)]
pub(super) enum Outgoing {
    Data(Payload),
    Datagram(Payload),
    Fin,
}

impl Session {
    pub(super) fn new(send_window: u32, receive_window: u32, accepted: bool) -> Self {
        Self {
            local: Local::Open,
            remote: Remote::Open,
            accepted,
            credit: SendCredit::new(send_window),
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            window: ReceiveWindow::new(receive_window),
            incoming: VecDeque::new(),
            tail: BytesMut::new(),
            datagrams: None,
            waiting: false,
            announced: false,
            blocked: false,
            talks: true,
            in_round: false,
            in_waiters: false,
            in_grants: false,
        }
    }

    /// A UDP session: it has no credit, so that DATA in it is a violation of credit.
    pub(super) fn udp() -> Self {
        Self {
            datagrams: Some(Box::default()),
            ..Self::new(0, 0, false)
        }
    }

    /// Whether both directions have ended and nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        self.local == Local::Finished && self.remote == Remote::Drained
    }

    // Our direction.

    /// Whether our direction still takes bytes.
    pub(super) fn is_open_for_sending(&self) -> bool {
        self.local == Local::Open
    }

    pub(super) fn credit(&mut self) -> &mut SendCredit {
        &mut self.credit
    }

    /// Bytes that may be added to a full ring: none, but for a session that talks little.
    pub(super) fn talk_room(&self) -> usize {
        if self.talks {
            TALK_BYTES.saturating_sub(self.outgoing_bytes)
        } else {
            0
        }
    }

    /// Bytes queued for sending.
    pub(super) fn outgoing_bytes(&self) -> usize {
        self.outgoing_bytes
    }

    /// Queues a payload whose credit was taken.
    ///
    /// A small one that has to wait is joined with the one before it, or leaves its buffer for one of
    /// its own size: a producer that writes single bytes while the tunnel stands still must not hold a
    /// read buffer for each.
    pub(super) fn queue(&mut self, payload: Payload) {
        self.outgoing_bytes += payload.len();
        self.talks = payload.len() < TALK_BYTES;
        let payload = match self.outgoing.back_mut() {
            Some(last) if last.len() + payload.len() <= JOIN_UP_TO => {
                return last.append(payload.as_slice());
            }
            Some(_) if payload.len() < JOIN_UP_TO => Payload::copy_from(payload.as_slice()),
            _ => payload,
        };
        self.outgoing.push_back(payload);
    }

    /// Ends our direction behind what is queued; `false` where it was ended before.
    pub(super) fn finish(&mut self) -> bool {
        let was_open = self.local == Local::Open;
        if was_open {
            self.local = Local::Finishing;
        }
        was_open
    }

    /// Whether there is anything for the transmitter.
    pub(super) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
            || self.local == Local::Finishing
            || self.datagrams.as_ref().is_some_and(|d| d.has_outgoing())
    }

    /// The next thing to transmit.
    pub(super) fn next_outgoing(&mut self) -> Option<Outgoing> {
        if let Some(payload) = self.outgoing.pop_front() {
            self.outgoing_bytes -= payload.len();
            return Some(Outgoing::Data(payload));
        }
        if let Some(datagrams) = &mut self.datagrams
            && let Some(payload) = datagrams.next_outgoing()
        {
            return Some(Outgoing::Datagram(payload));
        }
        if self.local == Local::Finishing {
            self.local = Local::Finished;
            return Some(Outgoing::Fin);
        }
        None
    }

    // The peer's direction.

    /// Takes in payload that arrived.
    ///
    /// # Errors
    /// The peer had ended its direction, or had no credit for this.
    pub(super) fn arrive(&mut self, bytes: BytesMut) -> Result<(), Violation> {
        if self.remote != Remote::Open {
            return Err(Violation::OutOfOrder(super::FrameKind::Data));
        }
        self.window.arrive(bytes.len())?;
        if bytes.is_empty() {
            return Ok(());
        }
        let must_wait = self.waiting || !self.incoming.is_empty() || !self.tail.is_empty();
        if must_wait && bytes.len() < COPY_BELOW {
            self.tail.extend_from_slice(&bytes);
            return Ok(());
        }
        self.settle_tail();
        let chunk = if self.waiting {
            Bytes::copy_from_slice(&bytes)
        } else {
            bytes.freeze()
        };
        self.incoming.push_back(chunk);
        Ok(())
    }

    /// Whether the peer's direction has not ended.
    pub(super) fn is_open_for_receiving(&self) -> bool {
        self.remote == Remote::Open
    }

    /// Takes in the peer's FIN.
    pub(super) fn end(&mut self) -> Result<(), Violation> {
        if self.remote != Remote::Open {
            return Err(Violation::OutOfOrder(super::FrameKind::Fin));
        }
        self.remote = Remote::Ended;
        Ok(())
    }

    /// Whether the consumer would find something.
    pub(super) fn has_incoming(&self) -> bool {
        !self.incoming.is_empty()
            || !self.tail.is_empty()
            || self.remote == Remote::Ended
            || self.datagrams.as_ref().is_some_and(|d| d.has_incoming())
    }

    /// The next thing for the consumer.
    pub(super) fn next_incoming(&mut self) -> Option<Received> {
        if self.incoming.is_empty() {
            self.settle_tail();
        }
        if let Some(bytes) = self.incoming.pop_front() {
            return Some(Received::Data(bytes));
        }
        self.waiting = false;
        self.next_end().then_some(Received::End)
    }

    /// Whether the consumer, which has taken all that came before, is to be told of the end now.
    pub(super) fn next_end(&mut self) -> bool {
        let ended = self.remote == Remote::Ended;
        if ended {
            self.remote = Remote::Drained;
        }
        ended
    }

    /// Takes back bytes the consumer could not hand on, to be given out again first.
    ///
    /// From here until the consumer has caught up, everything that waits lies in buffers of its own:
    /// a session nobody reads pins what it holds and not the read buffers it arrived in. Every byte
    /// is copied at most once for that, however often its consumer comes back.
    pub(super) fn put_back(&mut self, bytes: Bytes) {
        if !self.waiting {
            self.waiting = true;
            for chunk in &mut self.incoming {
                *chunk = Bytes::copy_from_slice(chunk);
            }
            if !bytes.is_empty() {
                self.incoming.push_front(Bytes::copy_from_slice(&bytes));
            }
        } else if !bytes.is_empty() {
            self.incoming.push_front(bytes);
        }
    }

    /// Accounts for bytes the consumer handed on, and gives how many of those that arrived they are.
    pub(super) fn consumed(&mut self, bytes: usize) -> usize {
        self.window.consume(bytes) as usize
    }

    pub(super) fn window(&mut self) -> &mut ReceiveWindow {
        &mut self.window
    }

    /// Bytes that this session holds in either direction.
    pub(super) fn held_bytes(&self) -> usize {
        self.window.held() as usize + self.outgoing_bytes
    }

    /// Whether a CREDIT frame is worth sending. A peer that has ended its direction needs none.
    pub(super) fn is_grant_worthwhile(&self) -> bool {
        self.remote == Remote::Open && self.window.is_grant_worthwhile()
    }

    /// The grant to send now.
    pub(super) fn take_grant(&mut self) -> Option<u32> {
        self.window.take_grant()
    }

    fn settle_tail(&mut self) {
        if !self.tail.is_empty() {
            self.incoming
                .push_back(std::mem::take(&mut self.tail).freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(len: usize) -> BytesMut {
        BytesMut::from(&vec![7; len][..])
    }

    fn take(session: &mut Session) -> Bytes {
        match session.next_incoming() {
            Some(Received::Data(bytes)) => bytes,
            other => panic!("expected data, got {other:?}"),
        }
    }

    #[test]
    fn a_session_is_over_when_both_directions_are_and_drained() {
        let mut session = Session::new(100, 100, true);
        session.arrive(chunk(3)).expect("granted");
        session.end().expect("first FIN");
        assert!(session.finish() && !session.finish());
        assert!(matches!(session.next_outgoing(), Some(Outgoing::Fin)));
        assert!(session.next_outgoing().is_none() && !session.is_over());
        assert_eq!(take(&mut session).len(), 3);
        assert_eq!(session.next_incoming(), Some(Received::End));
        assert!(session.is_over());
        assert_eq!(session.next_incoming(), None, "the end comes once");
    }

    #[test]
    fn nothing_may_follow_a_fin() {
        let mut session = Session::new(100, 100, true);
        session.end().expect("first FIN");
        assert!(session.end().is_err());
        assert!(session.arrive(chunk(1)).is_err());
    }

    #[test]
    fn small_chunks_that_wait_are_copied_together_in_order() {
        let mut session = Session::new(0, 100_000, true);
        session.arrive(BytesMut::from(&b"a"[..])).expect("granted");
        session.arrive(BytesMut::from(&b"b"[..])).expect("granted");
        session.arrive(BytesMut::from(&b"c"[..])).expect("granted");
        session.arrive(chunk(COPY_BELOW)).expect("granted");
        assert_eq!(take(&mut session), "a");
        assert_eq!(take(&mut session), "bc");
        assert_eq!(take(&mut session).len(), COPY_BELOW);
        assert_eq!(session.next_incoming(), None);
    }

    #[test]
    fn small_payloads_that_wait_are_joined_in_order() {
        let mut session = Session::new(1_000_000, 0, true);
        let sent: Vec<u8> = (0..10 * JOIN_UP_TO).map(|n| n.to_le_bytes()[0]).collect();
        for byte in &sent {
            let mut read_buffer = BytesMut::with_capacity(1 << 16);
            read_buffer.resize(Payload::HEADROOM, 0);
            read_buffer.extend_from_slice(&[*byte]);
            session.queue(Payload::from_buffer(read_buffer));
        }
        assert_eq!(session.outgoing_bytes(), sent.len());
        let mut frames = Vec::new();
        while let Some(Outgoing::Data(payload)) = session.next_outgoing() {
            frames.push(payload.as_slice().to_vec());
        }
        assert_eq!(frames.len(), 10);
        assert_eq!(frames.concat(), sent);
    }

    #[test]
    fn a_session_nobody_reads_pins_no_read_buffer() {
        let mut session = Session::new(0, 1_000_000, true);
        let mut read_buffer = chunk(8 * COPY_BELOW);
        session
            .arrive(read_buffer.split_to(COPY_BELOW))
            .expect("granted");
        let taken = take(&mut session);
        session.put_back(taken);
        session
            .arrive(read_buffer.split_to(COPY_BELOW))
            .expect("granted");
        session.arrive(read_buffer.split_to(1)).expect("granted");
        // Only a buffer that nothing else refers to can be reclaimed whole.
        read_buffer.clear();
        assert!(
            read_buffer.try_reclaim(8 * COPY_BELOW),
            "the queue still pins the read buffer"
        );
    }
}
