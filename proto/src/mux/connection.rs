//! One end of a tunnel: the state all of `mux` works on, its clock and its end.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{
    CloseCause, Event, FrameHeader, FrameKind, Hello, Reset, SessionId, Settings, Side, Violation,
    budget::Budget,
    datagram::DatagramRing,
    heartbeat::Heartbeat,
    inbox::Inbox,
    memory::Share,
    outbox::{MaskKeys, Outbox},
    table::Table,
};
use crate::{
    limits::MAX_CONTROL_BYTES,
    reason::Reason,
    ws::{self, CloseCode, Deframer},
};

/// One end of a tunnel after the HTTP upgrade: WebSocket (RFC 6455) and `titan.v1`, as a state
/// machine without sockets, clock or runtime.
///
/// Rule of use: call one `handle_*` or command, then drain [`poll_event`](Self::poll_event), then
/// transmit what [`poll_transmit`](Self::poll_transmit) gives (which may cause events again), and
/// call [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) has come.
///
/// ```text
///                 HELLO arrives              violation, close, silence, end of transport
///  [AwaitingHello] -----------> [Running] ------------------------------------------------> [Over]
///         |                                                                                   ^
///         +-----------------------------------------------------------------------------------+
/// ```
#[derive(Debug)]
pub struct Connection {
    pub(super) side: Side,
    pub(super) settings: Settings,
    pub(super) phase: Phase,
    pub(super) deframer: Deframer,
    pub(super) inbox: Inbox,
    pub(super) table: Table,
    pub(super) outbox: Outbox,
    pub(super) heartbeat: Heartbeat,
    pub(super) budget: Budget,
    /// What the sessions hold of the memory they share with other tunnels.
    pub(super) share: Share,
    /// The last time that was told.
    pub(super) now: Instant,
    pub(super) events: VecDeque<Event>,
    /// Whether one of the ends has sent GOAWAY.
    pub(super) draining: bool,
    /// Whether the peer has sent GOAWAY.
    pub(super) peer_draining: bool,
    /// The last session that was unknown and answered with RESET: a burst of frames that were under
    /// way when their session ended gets one answer.
    pub(super) last_unknown: Option<SessionId>,
    /// Datagrams that arrived for sessions whose inbox was full.
    pub(super) unread_datagrams: u64,
    started: Instant,
    jitter: SmallRng,
}

/// Where the tunnel stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    AwaitingHello,
    Running(Hello),
    Over,
}

impl Connection {
    /// The `side` end of a new tunnel. Its HELLO is queued at once.
    ///
    /// `seed` must come from the system's entropy: an edge's masking keys follow from it.
    pub fn new(side: Side, settings: Settings, seed: [u8; 32], now: Instant) -> Self {
        let (role, keys, table) = match side {
            Side::Pop => (ws::Role::Server, MaskKeys::Server, Table::opener()),
            Side::Edge => (ws::Role::Client, MaskKeys::client(seed), Table::acceptor()),
        };
        let datagrams = DatagramRing::new(settings.datagram_ring_bytes);
        let mut outbox = Outbox::new(settings.ring_bytes, datagrams, keys);
        let hello = Hello::from_settings(&settings).encode();
        outbox.push_frame(FrameHeader::tunnel(FrameKind::Hello), &hello);
        Self {
            side,
            phase: Phase::AwaitingHello,
            deframer: Deframer::new(role),
            inbox: Inbox::new(settings.max_frame),
            table,
            outbox,
            heartbeat: Heartbeat::new(settings.heartbeat_interval, settings.heartbeat_timeout, now),
            budget: Budget::new(now),
            share: Share::new(settings.memory.clone()),
            now,
            events: VecDeque::new(),
            draining: false,
            peer_draining: false,
            last_unknown: None,
            unread_datagrams: 0,
            started: now,
            jitter: SmallRng::from_seed(seed),
            settings,
        }
    }

    /// The transport ended or failed: nothing more will arrive, nothing more can be sent.
    pub fn handle_eof(&mut self) {
        self.end(CloseCause::TransportEnded);
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come, or another has.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        match self.phase {
            Phase::AwaitingHello if now >= self.hello_deadline() => {
                self.close_with(
                    CloseCode::PROTOCOL_ERROR,
                    "no HELLO",
                    CloseCause::HelloTimeout,
                );
            }
            Phase::Running(_) if self.heartbeat.is_dead(now) => {
                let code = CloseCode::GOING_AWAY;
                self.close_with(code, "silent for too long", CloseCause::HeartbeatTimeout);
            }
            Phase::Running(_) => self.ping_if_due(now),
            Phase::AwaitingHello | Phase::Over => {}
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` once the tunnel is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::AwaitingHello => Some(self.hello_deadline()),
            Phase::Running(_) => Some(self.heartbeat.deadline()),
            Phase::Over => None,
        }
    }

    /// Drains this end: tells the peer to open no more sessions here and opens none itself. Running
    /// sessions go on.
    pub fn go_away(&mut self) {
        if self.phase != Phase::Over && !self.draining {
            self.draining = true;
            self.outbox
                .push_frame(FrameHeader::tunnel(FrameKind::GoAway), &[]);
        }
    }

    /// Ends the tunnel now with a WebSocket close frame; every session is reset. `reason` is cut to
    /// what a close frame holds.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.close_with(code, reason, CloseCause::Local);
    }

    /// The smoothed round trip to the peer, once one was measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.heartbeat.rtt()
    }

    /// How much the round trip varies (RFC 6298's RTTVAR).
    pub fn rtt_variation(&self) -> Option<Duration> {
        self.heartbeat.rtt_variation()
    }

    /// Sessions that are not over.
    pub fn session_count(&self) -> usize {
        self.table.len()
    }

    /// DATA bytes queued for transmission, of all sessions.
    pub fn queued_bytes(&self) -> usize {
        self.outbox.queued
    }

    /// Whether new sessions do better elsewhere: the write ring is nearly full, or the peer, though
    /// it may go on sending, has not answered a ping for a whole interval, which is how one looks that
    /// does not read.
    pub fn is_saturated(&self) -> bool {
        self.outbox.is_saturated() || self.heartbeat.is_overdue()
    }

    /// Whether the peer's HELLO arrived and the tunnel is not over.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running(_))
    }

    /// Whether the tunnel is over. Once [`wants_transmit`](Self::wants_transmit) is false too, the
    /// transport can be closed.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    pub(super) fn ping_if_due(&mut self, now: Instant) {
        let jitter = self.jitter.next_u32().to_be_bytes()[0];
        if let Some(payload) = self.heartbeat.poll_ping(now, jitter) {
            self.outbox.push_ws_control(ws::Opcode::Ping, &payload);
        }
    }

    /// Ends the tunnel over the peer's breach of the protocol.
    pub(super) fn fail(&mut self, violation: Violation) {
        let text = violation.to_string();
        self.close_with(
            violation.close_code(),
            &text,
            CloseCause::Violation(violation),
        );
    }

    /// The peer must read what it makes us answer.
    pub(super) fn check_backlog(&self) -> Result<(), Violation> {
        if self.outbox.control_bytes() > MAX_CONTROL_BYTES {
            return Err(Violation::AnswersUnread);
        }
        Ok(())
    }

    pub(super) fn close_with(&mut self, code: CloseCode, reason: &str, cause: CloseCause) {
        if self.phase != Phase::Over {
            let payload = ws::close::encode(code, reason);
            self.end(cause);
            self.outbox.push_ws_control(ws::Opcode::Close, &payload);
        }
    }

    /// Resets every session and tells the owner; only control frames may still leave.
    pub(super) fn end(&mut self, cause: CloseCause) {
        if self.phase == Phase::Over {
            return;
        }
        self.phase = Phase::Over;
        self.outbox.clear_sessions();
        self.share.clear();
        // Announcements of sessions that are reset now would only be in the way.
        self.events
            .retain(|event| !matches!(event, Event::Readable(_) | Event::Writable(_)));
        for id in self.table.drain() {
            let reset = Reset::new(Reason::EdgeGone);
            self.events.push_back(Event::Reset { id, reset });
        }
        self.events.push_back(Event::Closed(cause));
    }

    fn hello_deadline(&self) -> Instant {
        self.started + self.settings.hello_timeout
    }
}
