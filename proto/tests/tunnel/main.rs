//! What the two ends of a tunnel promise each other, one promise a test.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use titan_proto::{
    addr::Target,
    limits,
    mux::{
        CloseCause, Connection, Event, FrameHeader, FrameKind, Memory, OpenError, OpenRequest,
        Payload, Received, Reset, SendError, SessionId, Settings, Side, Violation,
    },
    reason::Reason,
    ws::{self, CloseCode},
};

mod windows;

/// A PoP and an edge that said HELLO to each other, and the time.
struct Tunnel {
    pop: Connection,
    edge: Connection,
    memory: Memory,
    now: Instant,
}

impl Tunnel {
    fn new(settings: Settings) -> Self {
        let now = origin();
        let memory = settings.memory.clone();
        let pop = Connection::new(Side::Pop, settings.clone(), [1; 32], now);
        let edge = Connection::new(Side::Edge, settings, [2; 32], now);
        let mut tunnel = Self {
            pop,
            edge,
            memory,
            now,
        };
        tunnel.exchange();
        assert_eq!(events(&mut tunnel.pop), [Event::Ready]);
        assert_eq!(events(&mut tunnel.edge), [Event::Ready]);
        tunnel
    }

    /// Carries all either end has to say, until both are silent.
    fn exchange(&mut self) {
        while carry(&mut self.pop, &mut self.edge, self.now)
            | carry(&mut self.edge, &mut self.pop, self.now)
        {}
    }

    /// Opens a session and has the edge accept it.
    fn open(&mut self) -> SessionId {
        let id = self.pop.open(&request()).expect("the tunnel is ready");
        self.exchange();
        self.edge.accept(id, bound());
        self.exchange();
        assert_eq!(
            events(&mut self.edge),
            [Event::Open {
                id,
                request: request()
            }]
        );
        assert_eq!(
            events(&mut self.pop),
            [Event::Opened { id, bound: bound() }]
        );
        id
    }
}

fn carry(from: &mut Connection, to: &mut Connection, now: Instant) -> bool {
    let mut batch = Vec::new();
    from.poll_transmit(usize::MAX, &mut batch);
    let mut input = BytesMut::from(&batch.concat()[..]);
    to.handle_input(&mut input, now).expect("a sound peer");
    !batch.is_empty()
}

fn events(end: &mut Connection) -> Vec<Event> {
    std::iter::from_fn(|| end.poll_event()).collect()
}

/// All of a session's bytes, and whether its end came.
fn receive_all(end: &mut Connection, id: SessionId) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    while let Some(received) = end.receive(id) {
        match received {
            Received::Data(chunk) => {
                end.consumed(id, chunk.len());
                bytes.extend_from_slice(&chunk);
            }
            Received::End => return (bytes, true),
        }
    }
    (bytes, false)
}

/// Sends as much as may be sent.
fn fill(end: &mut Connection, id: SessionId) -> usize {
    let mut total = 0;
    loop {
        let len = end.send_capacity(id);
        if len == 0 {
            return total;
        }
        end.send(id, Payload::copy_from(&vec![b'x'; len]))
            .expect("capacity was asked for");
        total += len;
    }
}

/// Sends as much towards the PoP as credit allows, over as many ringfuls as it takes.
fn fill_through(tunnel: &mut Tunnel, id: SessionId) -> usize {
    let mut total = 0;
    loop {
        match fill(&mut tunnel.edge, id) {
            0 => return total,
            len => total += len,
        }
        carry(&mut tunnel.edge, &mut tunnel.pop, tunnel.now);
        events(&mut tunnel.edge);
    }
}

/// An unmasked message, as a PoP sends it, with any payload behind any header.
fn forged(kind: FrameKind, id: Option<SessionId>, payload: &[u8]) -> BytesMut {
    let mut message = BytesMut::new();
    let len = (FrameHeader::LEN + payload.len()) as u64;
    ws::encode_frame_header(true, ws::Opcode::Binary, None, len, &mut message);
    message.extend_from_slice(&FrameHeader { kind, session: id }.encode());
    message.extend_from_slice(payload);
    message
}

/// A session that no tunnel here has, read off the wire as a peer would make it.
fn unknown_session(raw: u32) -> SessionId {
    let [a, b, c, d] = (raw | 0x8000_0000).to_be_bytes();
    let header = FrameHeader::decode([FrameKind::Fin as u8, 0, 0, 0, a, b, c, d]);
    header
        .expect("valid")
        .session
        .expect("not the tunnel itself")
}

fn request() -> OpenRequest {
    OpenRequest::tcp(Target::parse_authority(b"example.com:443").expect("valid"))
}

fn bound() -> SocketAddr {
    ([192, 0, 2, 7], 40_000).into()
}

/// The ban on the clock is for the protocol; a test needs one origin.
#[allow(clippy::disallowed_methods)]
fn origin() -> Instant {
    Instant::now()
}

#[test]
fn data_and_fin_sent_before_the_dial_ends_are_honoured() {
    let mut tunnel = Tunnel::new(Settings::default());
    let id = tunnel.pop.open(&request()).expect("the tunnel is ready");
    tunnel
        .pop
        .send(id, Payload::copy_from(b"early"))
        .expect("granted");
    tunnel.pop.finish(id);
    tunnel.exchange();
    let opened = Event::Open {
        id,
        request: request(),
    };
    assert_eq!(events(&mut tunnel.edge), [opened, Event::Readable(id)]);
    tunnel.edge.accept(id, bound());
    assert_eq!(receive_all(&mut tunnel.edge, id), (b"early".to_vec(), true));
}

#[test]
fn the_answer_outlives_a_half_close() {
    let mut tunnel = Tunnel::new(Settings::default());
    let id = tunnel.open();
    tunnel.pop.finish(id);
    tunnel.exchange();
    assert_eq!(receive_all(&mut tunnel.edge, id), (vec![], true));
    tunnel
        .edge
        .send(id, Payload::copy_from(b"answer"))
        .expect("granted");
    tunnel.edge.finish(id);
    tunnel.exchange();
    assert_eq!(receive_all(&mut tunnel.pop, id), (b"answer".to_vec(), true));
    assert_eq!(
        events(&mut tunnel.pop),
        [Event::Readable(id), Event::Finished(id)]
    );
    assert_eq!(tunnel.pop.session_count() + tunnel.edge.session_count(), 0);
}

#[test]
fn a_refusal_reaches_the_pop_with_its_reason() {
    let mut tunnel = Tunnel::new(Settings::default());
    let id = tunnel.pop.open(&request()).expect("the tunnel is ready");
    tunnel.exchange();
    tunnel
        .edge
        .reset(id, Reason::ConnectionRefused, "port closed");
    tunnel.exchange();
    let reset = Reset {
        reason: Reason::ConnectionRefused,
        text: "port closed".into(),
    };
    assert_eq!(events(&mut tunnel.pop), [Event::Reset { id, reset }]);
    assert_eq!(
        tunnel.pop.send(id, Payload::copy_from(b"x")),
        Err(SendError::NoSession)
    );
}

#[test]
fn an_edge_cannot_speak_for_the_pop() {
    let mut tunnel = Tunnel::new(Settings::default());
    for reason in [
        Reason::AuthenticationFailed,
        Reason::QuotaExhausted,
        Reason::UserDisabled,
    ] {
        let id = tunnel.open();
        tunnel.edge.reset(id, reason, "");
        tunnel.exchange();
        let reset = Reset::new(Reason::GeneralFailure);
        assert_eq!(events(&mut tunnel.pop), [Event::Reset { id, reset }]);
    }
}

#[test]
fn a_key_press_waits_for_one_frame_of_a_bulk_session_at_most() {
    let mut tunnel = Tunnel::new(Settings::default());
    let (bulk, shell) = (tunnel.open(), tunnel.open());
    fill(&mut tunnel.pop, bulk);
    tunnel
        .pop
        .send(shell, Payload::copy_from(b"k"))
        .expect("granted");
    let mut batch = Vec::new();
    tunnel.pop.poll_transmit(usize::MAX, &mut batch);
    let position = batch.iter().position(|frame| frame.ends_with(b"k"));
    assert_eq!(position, Some(1), "behind one frame of the bulk session");
}

#[test]
fn control_overtakes_data_and_a_reset_drops_it() {
    let mut tunnel = Tunnel::new(Settings::default());
    let (bulk, other) = (tunnel.open(), tunnel.open());
    fill(&mut tunnel.pop, bulk);
    tunnel.pop.reset(other, Reason::ClientGone, "");
    let mut batch: Vec<Bytes> = Vec::new();
    tunnel.pop.poll_transmit(1, &mut batch);
    assert_eq!(batch.len(), 1);
    assert_eq!(batch[0][2..4], [FrameKind::Reset as u8, 0]);
    tunnel.pop.reset(bulk, Reason::ClientGone, "");
    assert_eq!(tunnel.pop.queued_bytes(), 0);
}

#[test]
fn a_full_ring_lets_waiting_sessions_in_as_it_drains() {
    let settings = Settings {
        ring_bytes: 64 * 1024,
        max_frame: 16 * 1024,
        ..Settings::default()
    };
    let mut tunnel = Tunnel::new(settings);
    let ids: Vec<_> = (0..20).map(|_| tunnel.open()).collect();
    for &id in &ids {
        fill(&mut tunnel.pop, id);
    }
    let talk = 20 * limits::TALK_BYTES;
    assert!(tunnel.pop.queued_bytes() <= 64 * 1024 + talk && tunnel.pop.is_saturated());
    assert_eq!(tunnel.pop.send_capacity(ids[19]), 0);
    let mut woken = Vec::new();
    for _ in 0..200 {
        tunnel.pop.poll_transmit(1, &mut Vec::new());
        for event in events(&mut tunnel.pop) {
            if let Event::Writable(id) = event {
                woken.push(id);
                fill(&mut tunnel.pop, id);
            }
        }
    }
    woken.sort_unstable();
    woken.dedup();
    assert_eq!(woken, ids, "every session got its turn");
}

#[test]
fn the_peers_reset_of_what_fills_the_ring_makes_room() {
    let settings = Settings {
        ring_bytes: 32 * 1024,
        ..Settings::default()
    };
    let mut tunnel = Tunnel::new(settings);
    let (hog, waiter) = (tunnel.open(), tunnel.open());
    assert!(fill(&mut tunnel.pop, hog) >= 32 * 1024);
    assert_eq!(fill(&mut tunnel.pop, waiter), limits::TALK_BYTES, "no bulk");
    tunnel.edge.reset(hog, Reason::TargetReset, "");
    carry(&mut tunnel.edge, &mut tunnel.pop, tunnel.now);
    assert!(events(&mut tunnel.pop).contains(&Event::Writable(waiter)));
}

#[test]
fn frames_for_an_unknown_session_get_one_reset() {
    let mut tunnel = Tunnel::new(Settings::default());
    let id = tunnel.open();
    tunnel.pop.reset(id, Reason::ClientGone, "");
    fill(&mut tunnel.edge, id);
    carry(&mut tunnel.edge, &mut tunnel.pop, tunnel.now);
    let mut batch = Vec::new();
    tunnel.pop.poll_transmit(usize::MAX, &mut batch);
    let resets = batch
        .concat()
        .chunks(11)
        .filter(|frame| frame[2] == 6)
        .count();
    assert_eq!(
        (batch.concat().len(), resets),
        (22, 2),
        "ours, and one for all the late frames"
    );
}

#[test]
fn a_draining_tunnel_opens_nothing_and_finishes_what_runs() {
    let mut tunnel = Tunnel::new(Settings::default());
    let running = tunnel.open();
    let raced = tunnel.pop.open(&request()).expect("the tunnel is ready");
    tunnel.edge.go_away();
    tunnel.exchange();
    let reset = Reset::new(Reason::Draining);
    let expected = [Event::GoingAway, Event::Reset { id: raced, reset }];
    assert_eq!(events(&mut tunnel.pop), expected);
    assert_eq!(tunnel.pop.open(&request()), Err(OpenError::GoingAway));
    tunnel
        .edge
        .send(running, Payload::copy_from(b"still here"))
        .expect("granted");
    tunnel.exchange();
    assert_eq!(receive_all(&mut tunnel.pop, running).0, b"still here");
}

#[test]
fn a_full_tunnel_says_so() {
    let mut tunnel = Tunnel::new(Settings {
        max_sessions: 2,
        ..Settings::default()
    });
    let first = tunnel.open();
    tunnel.open();
    assert_eq!(tunnel.pop.open(&request()), Err(OpenError::TooManySessions));
    tunnel.pop.reset(first, Reason::ClientGone, "");
    assert!(tunnel.pop.open(&request()).is_ok());
}

#[test]
fn a_pop_that_opens_faster_than_the_edge_reads_is_told_to_stop() {
    let mut tunnel = Tunnel::new(Settings::default());
    let congested = (0..100_000).find_map(|_| tunnel.pop.open(&request()).err());
    assert_eq!(congested, Some(OpenError::Congested));
}

#[test]
fn an_edge_whose_answers_are_not_read_closes_the_tunnel() {
    let mut tunnel = Tunnel::new(Settings::default());
    let mut outcome = Ok(());
    for raw in 1..40_000u32 {
        let mut input = forged(FrameKind::Fin, Some(unknown_session(raw)), b"");
        outcome = tunnel.edge.handle_input(&mut input, tunnel.now);
        if outcome.is_err() {
            break;
        }
    }
    assert_eq!(outcome, Err(Violation::AnswersUnread));
}

#[test]
fn breaches_close_the_tunnel_with_their_code() {
    let cases = [
        (
            forged(FrameKind::Datagram, None, b""),
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            forged(FrameKind::Hello, None, b""),
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            forged(FrameKind::Credit, None, b""),
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            BytesMut::from(&b"\x81\x02hi"[..]),
            CloseCode::UNSUPPORTED_DATA,
        ),
        (
            BytesMut::from(&b"\x82\x82\x00\x00\x00\x00hi"[..]),
            CloseCode::PROTOCOL_ERROR,
        ),
        (
            BytesMut::from(&b"\xf2\x02hi"[..]),
            CloseCode::PROTOCOL_ERROR,
        ),
    ];
    for (mut input, code) in cases {
        let mut tunnel = Tunnel::new(Settings::default());
        let violation = tunnel
            .edge
            .handle_input(&mut input, tunnel.now)
            .expect_err("a breach");
        assert_eq!(violation.close_code(), code, "{violation}");
    }
}

#[test]
fn only_the_pop_opens_and_only_the_edge_accepts() {
    let mut tunnel = Tunnel::new(Settings::default());
    let id = tunnel.open();
    assert_eq!(tunnel.edge.open(&request()), Err(OpenError::WrongSide));
    let mut opened = forged(FrameKind::Opened, Some(id), &[1, 0, 0, 0, 0, 0, 0]);
    let outcome = tunnel.edge.handle_input(&mut opened, tunnel.now);
    assert_eq!(outcome, Err(Violation::WrongSide(FrameKind::Opened)));
}

#[test]
fn silence_and_a_missing_hello_end_the_tunnel() {
    let mut tunnel = Tunnel::new(Settings::default());
    let later = tunnel.now + limits::HEARTBEAT_TIMEOUT;
    tunnel.pop.handle_timeout(later);
    let closed = Event::Closed(CloseCause::HeartbeatTimeout);
    assert_eq!(events(&mut tunnel.pop), [closed]);

    let mut alone = Connection::new(Side::Pop, Settings::default(), [0; 32], tunnel.now);
    assert_eq!(
        alone.poll_timeout(),
        Some(tunnel.now + limits::HELLO_TIMEOUT)
    );
    alone.handle_timeout(tunnel.now + limits::HELLO_TIMEOUT);
    assert_eq!(
        events(&mut alone),
        [Event::Closed(CloseCause::HelloTimeout)]
    );
}

#[test]
fn both_ends_measure_the_round_trip() {
    let mut tunnel = Tunnel::new(Settings::default());
    assert_eq!(
        tunnel.pop.rtt(),
        Some(Duration::ZERO),
        "the first ping follows HELLO"
    );
    tunnel.now += limits::HEARTBEAT_INTERVAL * 2;
    tunnel.pop.handle_timeout(tunnel.now);
    carry(&mut tunnel.pop, &mut tunnel.edge, tunnel.now);
    tunnel.now += Duration::from_millis(80);
    carry(&mut tunnel.edge, &mut tunnel.pop, tunnel.now);
    assert_eq!(
        tunnel.pop.rtt(),
        Some(Duration::from_millis(10)),
        "an eighth of 80 ms"
    );
}

#[test]
fn a_whole_session_means_the_same_byte_by_byte() {
    let mut tunnel = Tunnel::new(Settings::default());
    let id = tunnel.pop.open(&request()).expect("the tunnel is ready");
    tunnel
        .pop
        .send(id, Payload::copy_from(b"hello"))
        .expect("granted");
    tunnel.pop.finish(id);
    let mut batch = Vec::new();
    tunnel.pop.poll_transmit(usize::MAX, &mut batch);
    let mut input = BytesMut::new();
    for byte in batch.concat() {
        input.extend_from_slice(&[byte]);
        tunnel
            .edge
            .handle_input(&mut input, tunnel.now)
            .expect("sound");
    }
    assert!(input.is_empty());
    let opened = Event::Open {
        id,
        request: request(),
    };
    assert_eq!(events(&mut tunnel.edge), [opened, Event::Readable(id)]);
    assert_eq!(receive_all(&mut tunnel.edge, id), (b"hello".to_vec(), true));
}
