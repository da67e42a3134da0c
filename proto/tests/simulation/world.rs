//! The two ends, the links between them and the clock.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use titan_proto::{
    addr::Target,
    limits::TALK_BYTES,
    mux::{Connection, Event, OpenRequest, SessionId, Settings, Side},
    reason::Reason,
};

use crate::{
    link::Link,
    script::{Ending, Endpoint, Script},
};

/// What goes wrong with the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It ends at some point.
    Cut,
    /// It delivers nothing from some point on.
    Stall,
    /// Nothing: the PoP drains.
    Drain,
}

/// One end: its tunnel, its sessions' endpoints, the link that brings it bytes.
struct End {
    conn: Connection,
    endpoints: BTreeMap<SessionId, Endpoint>,
    incoming: Link,
    closed: bool,
}

/// How an endpoint's life ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Finished { received: usize, refused: usize },
    Reset(Reason),
}

/// The whole simulation.
pub(crate) struct World {
    rng: StdRng,
    now: Instant,
    started: Instant,
    fault: Option<(Fault, Instant)>,
    pop: End,
    edge: End,
    /// The fault is one that the tunnel does not survive.
    must_break: bool,
    to_open: Vec<Script>,
    scripts: HashMap<SessionId, Script>,
    dials: Vec<(Instant, SessionId)>,
    fates: HashMap<(Side, SessionId), Fate>,
    settings: Settings,
}

/// Virtual time after which sessions nobody reads are given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// Virtual time after which something must be stuck.
const TOO_LONG: Duration = Duration::from_secs(5000);

impl World {
    pub(crate) fn new(seed: u64, fault: Fault) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        // The ban on the clock is for the protocol; a simulation needs one origin.
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        let settings = Settings {
            initial_window: rng.random_range(4096..300_000),
            max_frame: rng.random_range(1024..100_000),
            ring_bytes: rng.random_range(20_000..1_000_000),
            datagram_ring_bytes: rng.random_range(1_000..300_000),
            datagram_inbox_bytes: rng.random_range(1_000..100_000),
            ..Settings::default()
        };
        let delay = Duration::from_millis(rng.random_range(0..200));
        let capacity = rng.random_range(1..500_000);
        let mut end = |side| End {
            conn: Connection::new(side, settings.clone(), rng.random(), now),
            endpoints: BTreeMap::new(),
            incoming: Link::new(delay, capacity),
            closed: false,
        };
        let (pop, edge) = (end(Side::Pop), end(Side::Edge));
        let sessions = rng.random_range(1..12);
        let to_open = (0..sessions).map(|_| Script::random(&mut rng)).collect();
        let fault_at = now + Duration::from_millis(rng.random_range(0..5000));
        Self {
            rng,
            now,
            started: now,
            fault: (fault != Fault::None).then_some((fault, fault_at)),
            must_break: matches!(fault, Fault::Cut | Fault::Stall),
            pop,
            edge,
            to_open,
            scripts: HashMap::new(),
            dials: Vec::new(),
            fates: HashMap::new(),
            settings,
        }
    }

    /// Runs until every session is over, or the tunnel is.
    pub(crate) fn run_to_end(&mut self) {
        while !self.is_done() {
            assert!(
                self.now - self.started < TOO_LONG,
                "stuck: {:?}\n{:?}\n{:?}",
                self.scripts,
                self.pop.conn,
                self.edge.conn
            );
            self.apply_fault();
            if !self.turn() {
                self.advance_clock();
            }
        }
    }

    /// One round of everything that can happen now; whether anything did.
    fn turn(&mut self) -> bool {
        let mut progress = self.open_next();
        progress |= self.finish_dials();
        progress |= self.give_up_unread();
        for side in [Side::Pop, Side::Edge] {
            progress |= self.deliver(side);
            progress |= self.drive_endpoints(side);
            self.take_events(side);
            progress |= self.transmit(side);
            self.take_events(side);
            self.check_bounds(side);
        }
        progress
    }

    fn open_next(&mut self) -> bool {
        if !self.pop.conn.is_running() || self.rng.random_range(0..3) == 0 {
            return false;
        }
        let Some(script) = self.to_open.pop() else {
            return false;
        };
        let target = Target::parse_authority(b"example.com:80").expect("valid");
        let request = if script.is_udp {
            OpenRequest::udp()
        } else {
            OpenRequest::tcp(target)
        };
        if let Ok(id) = self.pop.conn.open(&request) {
            self.pop
                .endpoints
                .insert(id, Endpoint::new(id, script.clone(), true, self.now));
            self.scripts.insert(id, script);
        }
        true
    }

    fn finish_dials(&mut self) -> bool {
        let due: Vec<_> = self
            .dials
            .extract_if(.., |(at, _)| *at <= self.now)
            .collect();
        for (_, id) in &due {
            let script = self.scripts[id].clone();
            if script.ending == Ending::Refused {
                self.edge.conn.reset(*id, Reason::ConnectionRefused, "");
                self.edge.endpoints.remove(id);
                self.fates
                    .insert((Side::Edge, *id), Fate::Reset(Reason::ConnectionRefused));
            } else if let Some(endpoint) = self.edge.endpoints.get_mut(id) {
                self.edge
                    .conn
                    .accept(*id, "192.0.2.1:9".parse().expect("valid"));
                endpoint.set_writable();
            }
        }
        !due.is_empty()
    }

    fn give_up_unread(&mut self) -> bool {
        if self.now - self.started < PATIENCE {
            return false;
        }
        let mut progress = false;
        for side in [Side::Pop, Side::Edge] {
            let endpoints = self.end(side).endpoints.values();
            let unread = endpoints.filter(|end| end.script.ending == Ending::NeverRead);
            for id in unread.map(|endpoint| endpoint.id).collect::<Vec<_>>() {
                self.reset(side, id, Reason::Idle);
                progress = true;
            }
        }
        progress
    }

    fn reset(&mut self, side: Side, id: SessionId, reason: Reason) {
        let end = self.end(side);
        end.conn.reset(id, reason, "scripted");
        end.endpoints.remove(&id);
        self.fates.insert((side, id), Fate::Reset(reason));
    }

    fn deliver(&mut self, side: Side) -> bool {
        let now = self.now;
        let (end, rng) = match side {
            Side::Pop => (&mut self.pop, &mut self.rng),
            Side::Edge => (&mut self.edge, &mut self.rng),
        };
        let arrived = !end.closed && end.incoming.deliver(now, rng);
        if arrived {
            end.conn
                .handle_input(&mut end.incoming.unparsed, now)
                .expect("no violation");
        }
        let due = end.conn.poll_timeout().is_some_and(|at| at <= now);
        if due {
            end.conn.handle_timeout(now);
        }
        arrived || due
    }

    fn drive_endpoints(&mut self, side: Side) -> bool {
        let ids: Vec<_> = self.end(side).endpoints.keys().copied().collect();
        let mut progress = false;
        for id in ids {
            let now = self.now;
            let (end, rng) = match side {
                Side::Pop => (&mut self.pop, &mut self.rng),
                Side::Edge => (&mut self.edge, &mut self.rng),
            };
            let Some(endpoint) = end.endpoints.get_mut(&id) else {
                continue;
            };
            progress |= endpoint.drive(&mut end.conn, now, rng);
            let resets = match endpoint.script.ending {
                Ending::ResetByPop => side == Side::Pop,
                Ending::ResetByEdge => side == Side::Edge,
                Ending::Clean | Ending::Refused | Ending::NeverRead => false,
            };
            if resets && endpoint.is_due_to_reset() {
                self.reset(side, id, Reason::GeneralFailure);
                progress = true;
            }
        }
        progress
    }

    fn take_events(&mut self, side: Side) {
        while let Some(event) = self.end(side).conn.poll_event() {
            assert!(
                !self.end(side).closed,
                "{event:?} after the tunnel was over"
            );
            self.take_event(side, event);
        }
    }

    fn take_event(&mut self, side: Side, event: Event) {
        let now = self.now;
        match event {
            Event::Open { id, .. } => {
                let script = self.scripts[&id].clone();
                self.dials.push((now + script.dial, id));
                self.edge
                    .endpoints
                    .insert(id, Endpoint::new(id, script, false, now));
            }
            // These may be about a session that this end has reset since.
            Event::Readable(id) => {
                if let Some(endpoint) = self.end(side).endpoints.get_mut(&id) {
                    endpoint.set_readable();
                }
            }
            Event::Writable(id) => {
                if let Some(endpoint) = self.end(side).endpoints.get_mut(&id) {
                    endpoint.set_writable();
                }
            }
            Event::Reset { id, reset } => {
                self.end(side).endpoints.remove(&id);
                self.fates.insert((side, id), Fate::Reset(reset.reason));
            }
            Event::Finished(id) => {
                if let Some(endpoint) = self.end(side).endpoints.remove(&id) {
                    assert!(endpoint.saw_end);
                    let (received, refused) = (endpoint.received, endpoint.refused());
                    let fate = Fate::Finished { received, refused };
                    self.fates.insert((side, id), fate);
                }
            }
            Event::Closed(_) => self.end(side).closed = true,
            Event::Ready | Event::Opened { .. } | Event::GoingAway => {}
        }
    }

    fn transmit(&mut self, side: Side) -> bool {
        let now = self.now;
        let (end, link) = match side {
            Side::Pop => (&mut self.pop, &mut self.edge.incoming),
            Side::Edge => (&mut self.edge, &mut self.pop.incoming),
        };
        if link.room() == 0 || end.closed {
            return false;
        }
        let mut batch = Vec::new();
        let bytes = end.conn.poll_transmit(link.room(), &mut batch);
        assert_eq!(bytes, batch.iter().map(bytes::Bytes::len).sum::<usize>());
        link.send(batch, now);
        bytes > 0
    }

    fn check_bounds(&mut self, side: Side) {
        let (ring, frame) = (self.settings.ring_bytes, self.settings.max_frame as usize);
        let sessions = self.end(side).conn.session_count();
        let queued = self.end(side).conn.queued_bytes();
        assert!(
            queued <= ring + frame + sessions * TALK_BYTES,
            "{queued} bytes queued in a ring of {ring}"
        );
        assert!(sessions <= self.scripts.len());
        let datagrams = self.end(side).conn.queued_datagram_bytes();
        assert!(datagrams <= self.settings.datagram_ring_bytes);
    }

    fn apply_fault(&mut self) {
        let Some((fault, at)) = self.fault.filter(|(_, at)| *at <= self.now) else {
            return;
        };
        match fault {
            Fault::Cut => {
                for side in [Side::Pop, Side::Edge] {
                    self.end(side).conn.handle_eof();
                    self.take_events(side);
                }
            }
            Fault::Stall => {
                self.pop.incoming.stall();
                self.edge.incoming.stall();
            }
            Fault::Drain if self.to_open.is_empty() => self.pop.conn.go_away(),
            Fault::Drain => {
                self.fault = Some((fault, at + Duration::from_millis(100)));
                return;
            }
            Fault::None => {}
        }
        self.fault = None;
    }

    /// Nothing can happen now: goes to when something can.
    fn advance_clock(&mut self) {
        let unread = [self.started + PATIENCE];
        let mut times: Vec<Instant> = self.dials.iter().map(|(at, _)| *at).chain(unread).collect();
        times.extend(self.fault.map(|(_, at)| at));
        for end in [&self.pop, &self.edge] {
            times.extend(end.incoming.next_arrival().filter(|_| !end.closed));
            times.extend(end.conn.poll_timeout());
            times.extend(end.endpoints.values().filter_map(Endpoint::next_wake));
        }
        let later = times.into_iter().filter(|at| *at > self.now).min();
        self.now = later.unwrap_or(self.now + Duration::from_millis(1));
    }

    fn is_done(&self) -> bool {
        let over = self.pop.closed && self.edge.closed;
        let idle = self.pop.conn.is_running()
            && self.fault.is_none()
            && self.to_open.is_empty()
            && self.dials.is_empty()
            && self.pop.endpoints.is_empty()
            && self.edge.endpoints.is_empty()
            && !self.pop.conn.wants_transmit()
            && !self.edge.conn.wants_transmit()
            && self.pop.incoming.is_empty()
            && self.edge.incoming.is_empty();
        over || idle && !self.must_break
    }

    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Pop => &mut self.pop,
            Side::Edge => &mut self.edge,
        }
    }

    /// Every session's two ends must have met the fate its script gives it.
    pub(crate) fn assert_all_sessions_ended_as_scripted(&self) {
        for (id, script) in &self.scripts {
            let fate = |side| self.fates.get(&(side, *id)).expect("an end without a fate");
            let (pop, edge) = (fate(Side::Pop), fate(Side::Edge));
            let reset = |fate: &Fate, reason| *fate == Fate::Reset(reason);
            let holds = match script.ending {
                Ending::Clean => match lost(script, pop, edge) {
                    Some(0) => true,
                    Some(_) => script.is_udp,
                    None => false,
                },
                Ending::Refused => reset(pop, Reason::ConnectionRefused),
                // The other end may have finished just before the reset reached it.
                Ending::ResetByPop => reset(pop, Reason::GeneralFailure),
                Ending::ResetByEdge => reset(edge, Reason::GeneralFailure),
                Ending::NeverRead => reset(pop, Reason::Idle) || reset(edge, Reason::Idle),
            };
            assert!(holds, "{id} {script:?}: PoP {pop:?}, edge {edge:?}");
        }
    }

    /// Every datagram that was sent and neither arrived nor was refused by its sender was counted by
    /// its receiver; in sessions that were reset, some may have been under way.
    pub(crate) fn assert_losses_are_counted(&self) {
        let udp = self.scripts.iter().filter(|(_, script)| script.is_udp);
        let (mut total, mut all_clean) = (0, true);
        for (id, script) in udp {
            let fate = |side| &self.fates[&(side, *id)];
            match lost(script, fate(Side::Pop), fate(Side::Edge)) {
                Some(lost) => total += lost as u64,
                None => all_clean = false,
            }
        }
        let counted = self.pop.conn.unread_datagrams() + self.edge.conn.unread_datagrams();
        assert!(total <= counted, "{total} lost, {counted} counted");
        assert!(!all_clean || total == counted, "{counted} for {total}");
    }

    /// No end holds a session, a byte or an event any more.
    pub(crate) fn assert_nothing_left(&mut self) {
        for side in [Side::Pop, Side::Edge] {
            let end = self.end(side);
            assert_eq!(end.conn.session_count(), 0);
            assert_eq!(end.conn.queued_bytes(), 0);
            assert_eq!(end.conn.queued_datagram_bytes(), 0);
            assert_eq!(end.conn.poll_event(), None);
            assert!(end.endpoints.is_empty());
        }
        assert_eq!(self.settings.memory.held(), 0);
    }

    pub(crate) fn assert_tunnel_over(&self) {
        assert!(self.pop.closed && self.edge.closed);
        assert_eq!(self.pop.conn.poll_timeout(), None);
    }
}

/// What neither arrived in a session nor was refused, where both of its ends have finished.
fn lost(script: &Script, pop: &Fate, edge: &Fate) -> Option<usize> {
    match (pop, edge) {
        (
            Fate::Finished {
                received: down,
                refused: refused_up,
            },
            Fate::Finished {
                received: up,
                refused: refused_down,
            },
        ) => Some(script.upload - up - refused_up + script.download - down - refused_down),
        _ => None,
    }
}
