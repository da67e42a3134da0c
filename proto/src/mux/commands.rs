//! What the owner of a tunnel wants done with its sessions.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use super::{
    Connection, Event, FrameHeader, FrameKind, OpenError, OpenRequest, Payload, Received, Reset,
    SendError, SessionId, SessionKind, Side, connection::Phase, open::encode_bound,
    session::Session,
};
use crate::{
    limits::{LATENCY_WINDOW, OPEN_BACKLOG_BYTES, WINDOW_LATENCY},
    reason::Reason,
};

impl Connection {
    /// Opens a session to the request's target. Bytes may be sent in it at once.
    ///
    /// # Errors
    /// The tunnel is not ready, drains, is full, congested or over, does not carry what is asked
    /// for, or this is its edge's end; nothing was sent.
    pub fn open(&mut self, request: &OpenRequest) -> Result<SessionId, OpenError> {
        if self.side == Side::Edge {
            return Err(OpenError::WrongSide);
        }
        let hello = match self.phase {
            Phase::AwaitingHello => return Err(OpenError::NotReady),
            Phase::Over => return Err(OpenError::Closed),
            Phase::Running(_) if self.draining => return Err(OpenError::GoingAway),
            Phase::Running(hello) => hello,
        };
        if self.table.len() >= hello.max_sessions.min(self.settings.max_sessions) as usize {
            return Err(OpenError::TooManySessions);
        }
        if request.kind == SessionKind::Udp && !self.carries_datagrams() {
            return Err(OpenError::Unsupported);
        }
        if self.outbox.control_bytes() > OPEN_BACKLOG_BYTES {
            return Err(OpenError::Congested);
        }
        let session = self.new_session(request.kind);
        let id = self.table.open(session).ok_or(OpenError::TooManySessions)?;
        self.share.begin();
        let mut payload = BytesMut::with_capacity(OPEN_SIZE_HINT);
        request.encode(&mut payload);
        self.outbox
            .push_frame(FrameHeader::session(FrameKind::Open, id), &payload);
        self.start_window(id);
        Ok(id)
    }

    /// Tells the PoP that the target is connected, from the local address `bound`. Only then may an
    /// edge send in the session.
    pub fn accept(&mut self, id: SessionId, bound: SocketAddr) {
        if self.side == Side::Edge
            && let Some(session) = self.table.get_mut(id)
            && !session.accepted
        {
            session.accepted = true;
            let mut payload = BytesMut::with_capacity(OPEN_SIZE_HINT);
            encode_bound(bound, &mut payload);
            self.outbox
                .push_frame(FrameHeader::session(FrameKind::Opened, id), &payload);
            self.start_window(id);
        }
    }

    /// Bytes that may be sent in the session now: what its credit, the write ring and the longest frame
    /// that the peer and the line take allow. After a 0, [`Event::Writable`] tells when it has changed.
    pub fn send_capacity(&mut self, id: SessionId) -> usize {
        let max_frame = self.max_frame();
        let Some(session) = self.table.get_mut(id) else {
            return 0;
        };
        if !session.is_open_for_sending() || (self.side == Side::Edge && !session.accepted) {
            return 0;
        }
        let credit = session.credit().available();
        let room = self.outbox.room(session);
        if credit > 0 && room == 0 && !session.in_waiters {
            session.in_waiters = true;
            self.outbox.waiters.push_back(id);
        }
        session.blocked = credit == 0 || room == 0;
        credit.min(room).min(max_frame)
    }

    /// Queues one frame of bytes.
    ///
    /// The room in the write ring is not checked again: a caller that asked for
    /// [`send_capacity`](Self::send_capacity) and had to wait for the bytes may use it, though
    /// others have come since.
    ///
    /// # Errors
    /// The session is over, not accepted or finished, or the payload is more than its credit or the
    /// peer's longest frame.
    pub fn send(&mut self, id: SessionId, payload: Payload) -> Result<(), SendError> {
        let max_frame = self.peer_max_frame();
        let session = self.table.get_mut(id).ok_or(SendError::NoSession)?;
        if !session.is_open_for_sending() {
            return Err(SendError::Finished);
        }
        if self.side == Side::Edge && !session.accepted {
            return Err(SendError::NotAccepted);
        }
        if payload.is_empty() {
            return Ok(());
        }
        if payload.len() > max_frame || !session.credit().take(payload.len()) {
            return Err(SendError::TooMuch);
        }
        self.outbox.queued += payload.len();
        self.share.hold(payload.len());
        session.queue(payload);
        self.schedule(id);
        Ok(())
    }

    /// Ends our direction behind what was sent (half-close). An edge must have accepted the session.
    pub fn finish(&mut self, id: SessionId) {
        if let Some(session) = self.table.get_mut(id)
            && (session.accepted || self.side == Side::Pop)
            && session.finish()
        {
            self.schedule(id);
        }
    }

    /// Ends the session now, both ways. What is queued in it is dropped; `text` is cut to what a
    /// RESET carries.
    pub fn reset(&mut self, id: SessionId, reason: Reason, text: &str) {
        if self.forget(id) {
            self.send_reset(id, reason, text);
        }
    }

    /// The next bytes of a session, or the end of the peer's direction. After a `None`,
    /// [`Event::Readable`] tells when there is more.
    pub fn receive(&mut self, id: SessionId) -> Option<Received> {
        let session = self.table.get_mut(id)?;
        let received = session.next_incoming();
        match received {
            None => session.announced = false,
            Some(Received::End) => self.finish_if_over(id),
            Some(Received::Data(_)) => {}
        }
        received
    }

    /// Gives back bytes that [`receive`](Self::receive) gave and that could not be handed on yet;
    /// they come first the next time. No [`Event::Readable`] announces them.
    pub fn put_back(&mut self, id: SessionId, bytes: Bytes) {
        if let Some(session) = self.table.get_mut(id) {
            session.put_back(bytes);
        }
    }

    /// Accounts for bytes of a session that were handed on: the peer may send as many again.
    pub fn consumed(&mut self, id: SessionId, bytes: usize) {
        let Some(session) = self.table.get_mut(id) else {
            return;
        };
        self.share.release(session.consumed(bytes));
        if let Some(took) = session.window().end_round(self.now) {
            let size = session.window().size();
            let round_trips = self.heartbeat.rtt().unwrap_or_default() * 2;
            let is_short = size < LATENCY_WINDOW && took < round_trips + WINDOW_LATENCY;
            if is_short || took < round_trips {
                session.window().grow(self.share.memory().grown(size));
            }
        }
        self.grant(id);
    }

    /// Grants a session what is due, if that is worth a frame.
    fn grant(&mut self, id: SessionId) {
        if let Some(session) = self.table.get_mut(id)
            && session.is_grant_worthwhile()
            && !session.in_grants
        {
            session.in_grants = true;
            self.outbox.grants.push_back(id);
        }
    }

    /// Grants a new session what there is memory for beyond what HELLO promised.
    fn start_window(&mut self, id: SessionId) {
        let size = self.share.memory().start_window();
        // A UDP session has no credit.
        if let Some(session) = self.table.get_mut(id)
            && session.datagrams.is_none()
        {
            session.window().grow(size.min(self.settings.start_window));
        }
        self.grant(id);
    }

    /// A session that is not accepted yet, with what both HELLOs promised.
    pub(super) fn new_session(&self, kind: SessionKind) -> Session {
        match kind {
            SessionKind::Tcp => {
                Session::new(self.send_window(), self.settings.initial_window, false)
            }
            SessionKind::Udp => Session::udp(),
        }
    }

    /// Puts the session into the round of senders.
    pub(super) fn schedule(&mut self, id: SessionId) {
        if let Some(session) = self.table.get_mut(id)
            && !session.in_round
        {
            session.in_round = true;
            self.outbox.round.push_back(id);
        }
    }

    /// Drops a session and what it has queued; `false` where there is none.
    pub(super) fn forget(&mut self, id: SessionId) -> bool {
        let Some(session) = self.table.remove(id) else {
            return false;
        };
        self.outbox.queued -= session.outgoing_bytes();
        self.share.end(session.held_bytes());
        if let Some(datagrams) = session.datagrams {
            self.outbox.datagrams.release_all(&datagrams);
        }
        true
    }

    pub(super) fn send_reset(&mut self, id: SessionId, reason: Reason, text: &str) {
        let mut payload = BytesMut::with_capacity(1 + text.len());
        Reset::encode(reason, text, &mut payload);
        self.outbox
            .push_frame(FrameHeader::session(FrameKind::Reset, id), &payload);
    }

    /// Drops a session whose two directions have ended, and says so.
    pub(super) fn finish_if_over(&mut self, id: SessionId) {
        if self.table.get(id).is_some_and(Session::is_over) {
            self.forget(id);
            self.events.push_back(Event::Finished(id));
        }
    }

    /// The longest DATA payload that the peer and the line take.
    pub(super) fn max_frame(&self) -> usize {
        self.peer_max_frame().min(self.outbox.max_frame())
    }

    /// The longest DATA payload the peer takes.
    fn peer_max_frame(&self) -> usize {
        match self.phase {
            Phase::Running(hello) => hello.max_frame.min(self.settings.max_frame) as usize,
            Phase::AwaitingHello | Phase::Over => 0,
        }
    }

    /// Bytes the peer lets us send in a new session.
    pub(super) fn send_window(&self) -> u32 {
        match self.phase {
            Phase::Running(hello) => hello.initial_window,
            Phase::AwaitingHello | Phase::Over => 0,
        }
    }
}

/// Enough for most OPEN payloads: kind, address type, a name of usual length, port.
const OPEN_SIZE_HINT: usize = 64;
