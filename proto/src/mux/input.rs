//! What arrives: bytes from the transport become changes of sessions and events.

use std::time::Instant;

use bytes::BytesMut;

use super::{
    CloseCause, Connection, Event, FrameHeader, FrameKind, Hello, OpenRequest, Reset, SessionId,
    SessionKind, Side, Violation, connection::Phase, inbox::Arrived, open::decode_bound,
};
use crate::{
    limits::{CANCEL_COST, SMALL_GRANT},
    reason::Reason,
    ws::{CloseCode, Opcode, Piece},
};

impl Connection {
    /// Takes in what the transport gave. Consumes all of `input` but an incomplete header or
    /// control frame, which must stay in front of what comes next.
    ///
    /// # Errors
    /// The peer broke the protocol: the tunnel is over. What [`poll_transmit`](Self::poll_transmit)
    /// still gives, a close frame, should be sent before the transport is closed.
    pub fn handle_input(&mut self, input: &mut BytesMut, now: Instant) -> Result<(), Violation> {
        self.heartbeat.heard(now);
        self.now = now;
        while self.phase != Phase::Over {
            let step = match self.deframer.next(input) {
                Ok(None) => Ok(false),
                Ok(Some(piece)) => self.handle_piece(piece, now).map(|()| true),
                Err(error) => Err(Violation::from(error)),
            };
            match step.and_then(|more| self.check_conduct(now).map(|()| more)) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(violation) => {
                    self.fail(violation.clone());
                    return Err(violation);
                }
            }
        }
        // A closed WebSocket takes nothing more (RFC 6455 §5.5.1).
        input.clear();
        Ok(())
    }

    fn handle_piece(&mut self, piece: Piece, now: Instant) -> Result<(), Violation> {
        match piece {
            Piece::Data {
                opcode: Opcode::Binary,
                bytes,
                message_end,
            } => match self.inbox.push(bytes, message_end)? {
                Arrived::Data { id, bytes, is_void } => {
                    self.budget.owe(is_void.into());
                    self.handle_data(id, bytes)
                }
                Arrived::Frame { header, payload } => self.handle_frame(header, payload, now),
                Arrived::Incomplete => Ok(()),
            },
            Piece::Data { .. } => Err(Violation::TextMessage),
            Piece::Ping(payload) => {
                self.budget.owe(1);
                self.outbox.answer_ping(payload);
                Ok(())
            }
            Piece::Pong(payload) => {
                let is_answer = self.heartbeat.pong(&payload, now);
                self.budget.owe((!is_answer).into());
                Ok(())
            }
            Piece::Close(close) => {
                self.handle_close(close);
                Ok(())
            }
        }
    }

    fn handle_close(&mut self, close: Option<(CloseCode, String)>) {
        let (code, reason) = match close {
            Some((code, reason)) => (Some(code), reason),
            None => (None, String::new()),
        };
        let echo = code.unwrap_or(CloseCode::NORMAL);
        self.close_with(echo, "", CloseCause::Peer { code, reason });
    }

    fn handle_data(&mut self, id: SessionId, bytes: BytesMut) -> Result<(), Violation> {
        self.require_hello(FrameKind::Data)?;
        let Some(session) = self.table.get_mut(id) else {
            self.refuse_unknown(id);
            return Ok(());
        };
        if !session.accepted && self.side == Side::Pop {
            return Err(Violation::OutOfOrder(FrameKind::Data));
        }
        let len = bytes.len();
        session.arrive(bytes)?;
        let held = session.held_bytes();
        self.share.hold(len);
        if self.share.is_greedy(held) {
            self.evict(id);
        } else {
            self.announce(id);
        }
        Ok(())
    }

    /// Ends a session that holds more than its share of memory of which nothing is left.
    fn evict(&mut self, id: SessionId) {
        let reset = Reset::new(Reason::Overloaded);
        self.reset(id, reset.reason, "");
        self.events.push_back(Event::Reset { id, reset });
    }

    fn handle_frame(
        &mut self,
        header: FrameHeader,
        payload: BytesMut,
        now: Instant,
    ) -> Result<(), Violation> {
        match (header.kind, header.session) {
            (FrameKind::Hello, _) => return self.handle_hello(&payload, now),
            (kind, _) => self.require_hello(kind)?,
        }
        match (header.kind, header.session) {
            (FrameKind::Open, Some(id)) => self.handle_open(id, &payload),
            (FrameKind::Opened, Some(id)) => self.handle_opened(id, &payload),
            (FrameKind::Fin, Some(id)) => self.handle_fin(id),
            (FrameKind::Reset, Some(id)) => self.handle_reset(id, &payload),
            (FrameKind::Credit, Some(id)) => self.handle_credit(id, &payload),
            (FrameKind::Datagram, Some(id)) if self.carries_datagrams() => {
                self.handle_datagram(id, payload)
            }
            (FrameKind::GoAway, None) => {
                self.handle_go_away();
                Ok(())
            }
            // PROBE needs a capability that nobody has announced yet, DATAGRAM one that not both have.
            (kind, _) => Err(Violation::UnknownFrame(kind as u8)),
        }
    }

    fn handle_hello(&mut self, payload: &[u8], now: Instant) -> Result<(), Violation> {
        if self.phase != Phase::AwaitingHello {
            return Err(Violation::OutOfOrder(FrameKind::Hello));
        }
        self.phase = Phase::Running(Hello::decode(payload)?);
        self.events.push_back(Event::Ready);
        // The first measurement should not wait for an interval: the choice of an edge needs it.
        self.ping_if_due(now);
        Ok(())
    }

    fn handle_open(&mut self, id: SessionId, payload: &[u8]) -> Result<(), Violation> {
        if self.side == Side::Pop {
            return Err(Violation::WrongSide(FrameKind::Open));
        }
        let request = OpenRequest::decode(payload)?;
        if self.draining {
            self.budget.owe(1);
            self.send_reset(id, Reason::Draining, "");
        } else if self.table.len() >= self.settings.max_sessions as usize {
            self.budget.owe(1);
            self.send_reset(id, Reason::TooManySessions, "");
        } else if request.kind == SessionKind::Udp && !self.carries_datagrams() {
            self.budget.owe(1);
            self.send_reset(id, Reason::Unsupported, "");
        } else {
            let session = self.new_session(request.kind);
            if !self.table.accept(id, session) {
                return Err(Violation::OutOfOrder(FrameKind::Open));
            }
            self.share.begin();
            self.events.push_back(Event::Open { id, request });
        }
        Ok(())
    }

    fn handle_opened(&mut self, id: SessionId, payload: &[u8]) -> Result<(), Violation> {
        if self.side == Side::Edge {
            return Err(Violation::WrongSide(FrameKind::Opened));
        }
        let bound = decode_bound(payload)?;
        match self.table.get_mut(id) {
            None => self.refuse_unknown(id),
            Some(session) if session.accepted => {
                return Err(Violation::OutOfOrder(FrameKind::Opened));
            }
            Some(session) => {
                session.accepted = true;
                self.events.push_back(Event::Opened { id, bound });
            }
        }
        Ok(())
    }

    fn handle_fin(&mut self, id: SessionId) -> Result<(), Violation> {
        let Some(session) = self.table.get_mut(id) else {
            self.refuse_unknown(id);
            return Ok(());
        };
        if !session.accepted && self.side == Side::Pop {
            return Err(Violation::OutOfOrder(FrameKind::Fin));
        }
        session.end()?;
        self.announce(id);
        Ok(())
    }

    fn handle_reset(&mut self, id: SessionId, payload: &[u8]) -> Result<(), Violation> {
        let mut reset = Reset::decode(payload)?;
        if self.side == Side::Pop {
            reset.reason = reset.reason.as_given_by_edge();
        }
        let is_dialled = self.table.get(id).map(|session| session.accepted);
        self.budget.owe(match is_dialled {
            None => 1,
            Some(false) if self.side == Side::Edge => CANCEL_COST,
            Some(_) => 0,
        });
        if self.forget(id) {
            self.events.push_back(Event::Reset { id, reset });
            // What it had queued is room for others, and there may be nothing left to transmit.
            self.wake_waiters();
        }
        Ok(())
    }

    fn handle_go_away(&mut self) {
        self.draining = true;
        if std::mem::replace(&mut self.peer_draining, true) {
            self.budget.owe(1);
        } else {
            self.events.push_back(Event::GoingAway);
        }
    }

    fn handle_credit(&mut self, id: SessionId, payload: &[u8]) -> Result<(), Violation> {
        let grant = payload
            .try_into()
            .map_err(|_| Violation::Malformed("CREDIT"))?;
        let grant = u32::from_be_bytes(grant);
        // A grant that was under way when its session ended is no news.
        let Some(session) = self.table.get_mut(id) else {
            self.budget.owe(1);
            return Ok(());
        };
        session.credit().add(grant)?;
        self.budget.owe((grant < SMALL_GRANT).into());
        if session.blocked && !session.in_waiters {
            session.blocked = false;
            self.events.push_back(Event::Writable(id));
        }
        Ok(())
    }

    /// Tells the owner of a session, once until it has found the queue empty, that there is
    /// something to take.
    pub(super) fn announce(&mut self, id: SessionId) {
        if let Some(session) = self.table.get_mut(id)
            && !session.announced
            && session.has_incoming()
        {
            session.announced = true;
            self.events.push_back(Event::Readable(id));
        }
    }

    pub(super) fn refuse_unknown(&mut self, id: SessionId) {
        self.budget.owe(1);
        if self.last_unknown != Some(id) {
            self.last_unknown = Some(id);
            self.send_reset(id, Reason::UnknownSession, "");
        }
    }

    /// The peer must read what it makes us answer, and must not send what brings nothing on for ever.
    fn check_conduct(&mut self, now: Instant) -> Result<(), Violation> {
        self.budget.owe(self.deframer.take_small_fragments());
        self.budget.settle(now)?;
        self.check_backlog()
    }

    fn require_hello(&self, kind: FrameKind) -> Result<(), Violation> {
        match self.phase {
            Phase::AwaitingHello => Err(Violation::OutOfOrder(kind)),
            Phase::Running(_) | Phase::Over => Ok(()),
        }
    }
}
