//! Peers that send what costs them no credit: what an end puts up with, and what it does not.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use titan_proto::{
    addr::Target,
    limits::{CANCEL_COST, IDLE_FRAMES_BURST, IDLE_FRAMES_PER_S},
    mux::{
        Connection, Event, FrameHeader, FrameKind, OpenRequest, Payload, Received, SessionId,
        Settings, Side, Violation,
    },
    reason::Reason,
    ws::{self, CloseCode, Opcode},
};

/// Frames that bring nothing on which a peer may still send when the tunnel has just come up: its first
/// heartbeat was one.
const LEFT: u32 = IDLE_FRAMES_BURST - 1;

/// From or to 192.0.2.1:53, one byte.
const DATAGRAM: &[u8] = &[1, 192, 0, 2, 1, 0, 53, b'x'];

/// An end under test and a sound peer, with a session that both know.
struct Victim {
    end: Connection,
    peer: Connection,
    session: SessionId,
    side: Side,
    now: Instant,
}

impl Victim {
    fn new(side: Side) -> Self {
        let now = origin();
        let mut pop = Connection::new(Side::Pop, Settings::default(), [1; 32], now);
        let mut edge = Connection::new(Side::Edge, Settings::default(), [2; 32], now);
        exchange(&mut pop, &mut edge, now);
        let session = pop.open(&request()).expect("the tunnel is ready");
        exchange(&mut pop, &mut edge, now);
        edge.accept(session, bound());
        exchange(&mut pop, &mut edge, now);
        let (end, peer) = match side {
            Side::Pop => (pop, edge),
            Side::Edge => (edge, pop),
        };
        Self {
            end,
            peer,
            session,
            side,
            now,
        }
    }

    /// Feeds bytes of the peer's, takes every event and reads every answer.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let outcome = self.end.handle_input(&mut BytesMut::from(bytes), self.now);
        while self.end.poll_event().is_some() {}
        while self.end.poll_transmit(usize::MAX, &mut Vec::new()) > 0 {}
        outcome
    }

    /// Feeds the same bytes until they are too many, and gives how many were not.
    fn flood(&mut self, bytes: &[u8]) -> (u32, Violation) {
        (0..=IDLE_FRAMES_BURST)
            .find_map(|fed| self.feed(bytes).err().map(|violation| (fed, violation)))
            .expect("there is a limit")
    }

    /// A WebSocket frame as the peer writes it. The zero key masks to the same bytes.
    fn frame(&self, fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let key = (self.side == Side::Pop).then_some([0; 4]);
        let mut frame = Vec::new();
        ws::encode_frame_header(fin, opcode, key, payload.len() as u64, &mut frame);
        frame.extend_from_slice(payload);
        frame
    }

    /// A mux frame as the peer writes it.
    fn message(&self, kind: FrameKind, session: Option<SessionId>, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader { kind, session }.encode();
        self.frame(true, Opcode::Binary, &[&header, payload].concat())
    }

    /// Whether the session still carries bytes both ways.
    fn still_serves(&mut self) -> bool {
        let (end, peer, id) = (&mut self.end, &mut self.peer, self.session);
        end.send(id, Payload::copy_from(b"ping")).expect("granted");
        peer.send(id, Payload::copy_from(b"pong")).expect("granted");
        exchange(end, peer, self.now);
        let got = |end: &mut Connection| match end.receive(id) {
            Some(Received::Data(bytes)) => bytes,
            other => panic!("expected data, got {other:?}"),
        };
        got(peer) == "ping" && got(end) == "pong"
    }
}

/// Frames that bring nothing on, by name, for the end that `victim` is.
fn idle_frames(victim: &Victim) -> Vec<(&'static str, Vec<u8>)> {
    let unknown = Some(unknown_session());
    let own = Some(victim.session);
    let mut frames = vec![
        ("ping", victim.frame(true, Opcode::Ping, b"")),
        ("pong", victim.frame(true, Opcode::Pong, b"unasked!")),
        ("void DATA", victim.message(FrameKind::Data, own, b"")),
        ("late DATA", victim.message(FrameKind::Data, unknown, b"x")),
        ("late FIN", victim.message(FrameKind::Fin, unknown, b"")),
        (
            "late RESET",
            victim.message(FrameKind::Reset, unknown, b"\x01"),
        ),
        (
            "late CREDIT",
            victim.message(FrameKind::Credit, unknown, &[0, 1, 0, 0]),
        ),
        (
            "late DATAGRAM",
            victim.message(FrameKind::Datagram, unknown, DATAGRAM),
        ),
        (
            "CREDIT of 1",
            victim.message(FrameKind::Credit, own, &[0, 0, 0, 1]),
        ),
    ];
    if victim.side == Side::Pop {
        let bound = [1, 127, 0, 0, 1, 0, 80];
        frames.push((
            "late OPENED",
            victim.message(FrameKind::Opened, unknown, &bound),
        ));
    }
    frames
}

#[test]
fn a_flood_of_frames_that_bring_nothing_on_closes_the_tunnel() {
    for side in [Side::Pop, Side::Edge] {
        for (name, frame) in idle_frames(&Victim::new(side)) {
            let mut victim = Victim::new(side);
            let (fed, violation) = victim.flood(&frame);
            assert_eq!(violation, Violation::Flood, "{side:?} {name}");
            assert_eq!(fed, LEFT, "{side:?} {name}");
            assert_eq!(violation.close_code(), CloseCode::POLICY_VIOLATION);
            assert!(victim.end.is_over());
        }
    }
}

#[test]
fn the_same_frames_at_an_honest_rate_do_not() {
    for side in [Side::Pop, Side::Edge] {
        for (name, frame) in idle_frames(&Victim::new(side)) {
            let mut victim = Victim::new(side);
            let batch = frame.repeat(usize::try_from(IDLE_FRAMES_PER_S / 10).expect("small"));
            for _ in 0..30 {
                victim.now += Duration::from_millis(100);
                assert_eq!(victim.feed(&batch), Ok(()), "{side:?} {name}");
            }
            assert!(victim.still_serves(), "{side:?} {name}");
        }
    }
}

#[test]
fn a_message_in_endless_fragments_closes_the_tunnel() {
    for (side, payload) in [(Side::Pop, &b""[..]), (Side::Edge, b"x")] {
        let mut victim = Victim::new(side);
        let header = FrameHeader {
            kind: FrameKind::Data,
            session: Some(victim.session),
        };
        let start = victim.frame(false, Opcode::Binary, &header.encode());
        assert_eq!(victim.feed(&start), Ok(()));
        let fragment = victim.frame(false, Opcode::Continuation, payload);
        let expected = (LEFT - 1, Violation::Flood);
        assert_eq!(victim.flood(&fragment), expected, "{side:?}");
    }
}

#[test]
fn goaway_is_heard_once() {
    let mut victim = Victim::new(Side::Pop);
    let goaway = victim.message(FrameKind::GoAway, None, b"");
    let mut input = BytesMut::from(&goaway.repeat(1000)[..]);
    victim
        .end
        .handle_input(&mut input, victim.now)
        .expect("an odd peer, no more");
    let heard = std::iter::from_fn(|| victim.end.poll_event())
        .filter(|event| *event == Event::GoingAway)
        .count();
    assert_eq!(heard, 1);
    let (fed, violation) = victim.flood(&goaway);
    assert_eq!((fed, violation), (LEFT - 999, Violation::Flood));
}

/// The peer passes on what others send, and can make none of them wait.
#[test]
fn datagrams_that_find_no_room_are_no_flood() {
    let mut victim = Victim::new(Side::Edge);
    let id = victim.peer.open(&OpenRequest::udp()).expect("offered");
    exchange(&mut victim.peer, &mut victim.end, victim.now);
    let datagram = victim.message(FrameKind::Datagram, Some(id), DATAGRAM);
    for _ in 0..2 * IDLE_FRAMES_BURST {
        assert_eq!(victim.feed(&datagram), Ok(()));
    }
    assert!(victim.end.unread_datagrams() > IDLE_FRAMES_BURST.into());
    assert!(victim.still_serves());
}

#[test]
fn hello_and_opened_come_once() {
    let mut victim = Victim::new(Side::Pop);
    let bound = [1, 127, 0, 0, 1, 0, 80];
    let opened = victim.message(FrameKind::Opened, Some(victim.session), &bound);
    let outcome = victim.feed(&opened);
    assert_eq!(outcome, Err(Violation::OutOfOrder(FrameKind::Opened)));
    for side in [Side::Pop, Side::Edge] {
        let mut victim = Victim::new(side);
        let hello = victim.message(FrameKind::Hello, None, &[0; 20]);
        let outcome = victim.feed(&hello);
        assert_eq!(outcome, Err(Violation::OutOfOrder(FrameKind::Hello)));
    }
}

#[test]
fn a_pop_that_opens_and_resets_without_end_is_closed() {
    let mut victim = Victim::new(Side::Edge);
    let (open, reset) = (open_payload(), [Reason::ClientGone.code()]);
    let mut outcome = Ok(());
    let mut rounds = 0;
    while outcome.is_ok() {
        rounds += 1;
        let id = Some(session(rounds));
        let pair = [
            victim.message(FrameKind::Open, id, &open),
            victim.message(FrameKind::Reset, id, &reset),
        ];
        outcome = victim.feed(&pair.concat());
    }
    assert_eq!(outcome, Err(Violation::Flood));
    assert_eq!(rounds, LEFT / CANCEL_COST + 1);
}

#[test]
fn a_pop_that_opens_beyond_what_the_edge_takes_is_refused_and_then_closed() {
    let mut victim = Victim::new(Side::Edge);
    let limit = Settings::default().max_sessions;
    let open = |victim: &mut Victim, n| {
        let frame = victim.message(FrameKind::Open, Some(session(n)), &open_payload());
        victim.feed(&frame)
    };
    // One session is open already.
    for n in 1..limit {
        assert_eq!(open(&mut victim, n), Ok(()));
    }
    assert_eq!(victim.end.session_count(), limit as usize);
    let refused = (limit..).find(|n| open(&mut victim, *n).is_err());
    assert_eq!(refused, Some(limit + LEFT));
}

/// 20,000 sessions a second, all of which the PoP resets while the edge ends them too: what crosses
/// comes late, on every session. The burst is used up before, so they live on the rate alone.
#[test]
fn churn_is_no_flood() {
    let mut victim = Victim::new(Side::Pop);
    let ping = victim.frame(true, Opcode::Ping, b"");
    for _ in 0..LEFT {
        assert_eq!(victim.feed(&ping), Ok(()));
    }
    for _ in 0..40 {
        victim.now += Duration::from_millis(50);
        churn(&mut victim, 1000);
    }
    assert!(victim.still_serves());
}

/// Opens so many sessions in one round trip, and ends them from both sides in another.
fn churn(victim: &mut Victim, sessions: usize) {
    let (pop, edge, now) = (&mut victim.end, &mut victim.peer, victim.now);
    let ids: Vec<_> = (0..sessions)
        .map(|_| {
            carry(pop, edge, now);
            pop.open(&request()).expect("room")
        })
        .collect();
    exchange(pop, edge, now);
    for &id in &ids {
        edge.accept(id, bound());
        edge.send(id, Payload::copy_from(b"answer"))
            .expect("granted");
    }
    exchange(pop, edge, now);
    for id in ids {
        pop.reset(id, Reason::ClientGone, "");
        edge.finish(id);
    }
    exchange(pop, edge, now);
}

#[test]
fn an_end_that_sends_and_does_not_read_is_saturated_until_it_answers() {
    let mut victim = Victim::new(Side::Pop);
    let interval = Settings::default().heartbeat_interval;
    let pong = victim.frame(true, Opcode::Pong, b"unasked!");
    assert!(!victim.end.is_saturated());
    for _ in 0..20 {
        victim.now += interval;
        victim.end.handle_timeout(victim.now);
        assert_eq!(victim.feed(&pong), Ok(()), "what it sends keeps it alive");
    }
    assert!(victim.end.is_saturated() && !victim.end.is_over());
    victim.now += interval * 2;
    victim.feed(&pong).expect("alive");
    victim.end.handle_timeout(victim.now);
    exchange(&mut victim.end, &mut victim.peer, victim.now);
    assert!(!victim.end.is_saturated(), "its answer came");
}

#[test]
fn single_bytes_within_the_credit_are_stored_in_no_more_than_they_are() {
    let mut victim = Victim::new(Side::Pop);
    let byte = victim.message(FrameKind::Data, Some(victim.session), b"x");
    let window = Settings::default().start_window;
    for _ in 0..window {
        assert_eq!(victim.feed(&byte), Ok(()));
    }
    let mut pieces = 0;
    while let Some(Received::Data(_)) = victim.end.receive(victim.session) {
        pieces += 1;
    }
    assert_eq!(pieces, 2, "the first byte, and all that waited behind it");
    assert_eq!(victim.feed(&byte), Err(Violation::CreditExceeded));
}

fn exchange(a: &mut Connection, b: &mut Connection, now: Instant) {
    while carry(a, b, now) | carry(b, a, now) {}
}

fn carry(from: &mut Connection, to: &mut Connection, now: Instant) -> bool {
    let mut batch = Vec::new();
    while from.poll_transmit(usize::MAX, &mut batch) > 0 {}
    while from.poll_event().is_some() {}
    let mut input = BytesMut::from(&batch.concat()[..]);
    to.handle_input(&mut input, now).expect("a sound peer");
    !batch.is_empty()
}

fn request() -> OpenRequest {
    OpenRequest::tcp(Target::parse_authority(b"example.com:443").expect("valid"))
}

/// An OPEN's payload as a PoP writes it, read off the wire.
fn open_payload() -> Vec<u8> {
    let now = origin();
    let mut pop = Connection::new(Side::Pop, Settings::default(), [1; 32], now);
    let mut edge = Connection::new(Side::Edge, Settings::default(), [2; 32], now);
    exchange(&mut pop, &mut edge, now);
    pop.open(&request()).expect("ready");
    let mut batch = Vec::new();
    pop.poll_transmit(usize::MAX, &mut batch);
    let wire = batch.concat();
    // A WebSocket header of two bytes and the frame's own.
    wire[2 + FrameHeader::LEN..].to_vec()
}

/// The `n`th session that a PoP of our own making numbers, none of which the real one has used.
fn session(n: u32) -> SessionId {
    let (slot, generation) = (n % 0xfffe + 1, n / 0xfffe + 101);
    let [a, b, c, d] = (generation << 16 | slot).to_be_bytes();
    let header = FrameHeader::decode([FrameKind::Fin as u8, 0, 0, 0, a, b, c, d]);
    header.expect("valid").session.expect("not the tunnel")
}

fn unknown_session() -> SessionId {
    session(70_000)
}

fn bound() -> SocketAddr {
    ([192, 0, 2, 7], 40_000).into()
}

/// The ban on the clock is for the protocol; a test needs one origin.
#[allow(clippy::disallowed_methods)]
fn origin() -> Instant {
    Instant::now()
}
