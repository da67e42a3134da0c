//! Entry points of the fuzz targets `mux_input` and `mux_operations`. Each panics when a promise of
//! this module is broken.

use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::{
    Connection, DatagramPayload, Event, OpenRequest, Payload, Received, SessionId, Settings, Side,
};
use crate::{addr::Target, fuzz::segments, reason::Reason};

/// Feeds `data` as a peer's bytes, behind a byte that selects our side and one that selects the
/// segments, to an end with three sessions. Whatever arrives, the bounds hold, and an end that is over
/// has nothing left.
pub fn input(data: &[u8]) {
    let Some((&[side, seed], stream)) = data.split_first_chunk() else {
        return;
    };
    let now = origin();
    let (mut pop, mut edge) = pair(now);
    let mut ids = open_three(&mut pop, &mut edge, now);
    let end = if side & 1 == 0 { &mut pop } else { &mut edge };
    let mut input = BytesMut::new();
    for segment in segments(stream, seed) {
        input.extend_from_slice(segment);
        let outcome = end.handle_input(&mut input, now);
        assert!(outcome.is_ok() || end.is_over());
        drain(end, &mut ids);
        assert!(end.session_count() <= LIMIT as usize);
    }
    assert_over(end, &mut ids);
}

/// Takes `data` as commands to the two ends of a sound tunnel: neither may ever find the other in
/// breach, and after both were told to stop nothing is left.
pub fn operations(data: &[u8]) {
    let mut now = origin();
    let (mut pop, mut edge) = pair(now);
    let mut ids = open_three(&mut pop, &mut edge, now);
    for &[command, argument] in data.as_chunks().0 {
        let end = if command & 0x80 == 0 {
            &mut pop
        } else {
            &mut edge
        };
        let id = ids.get(usize::from(argument) % ids.len().max(1)).copied();
        command_one(end, command & 0x7f, argument, id, &mut ids);
        now += Duration::from_millis(u64::from(argument));
        if command & 1 == 0 {
            exchange(&mut pop, &mut edge, now);
            drain(&mut pop, &mut ids);
            drain(&mut edge, &mut ids);
        }
    }
    for end in [&mut pop, &mut edge] {
        assert_over(end, &mut ids);
    }
}

/// Ends the transport, after which nothing may be left.
fn assert_over(end: &mut Connection, ids: &mut Vec<SessionId>) {
    end.handle_eof();
    drain(end, ids);
    let queued = (end.queued_bytes(), end.queued_datagram_bytes());
    assert_eq!((end.session_count(), queued), (0, (0, 0)));
}

/// Few enough for a fuzzer to reach the limit.
const LIMIT: u32 = 8;

fn pair(now: Instant) -> (Connection, Connection) {
    let settings = Settings {
        initial_window: 8 * 1024,
        max_frame: 2 * 1024,
        max_sessions: LIMIT,
        ring_bytes: 32 * 1024,
        datagram_ring_bytes: 8 * 1024,
        datagram_inbox_bytes: 8 * 1024,
        ..Settings::default()
    };
    let mut pop = Connection::new(Side::Pop, settings.clone(), [1; 32], now);
    let mut edge = Connection::new(Side::Edge, settings, [2; 32], now);
    exchange(&mut pop, &mut edge, now);
    (pop, edge)
}

/// Opens two TCP sessions, of which the edge accepts one, and a UDP session, which it accepts.
fn open_three(pop: &mut Connection, edge: &mut Connection, now: Instant) -> Vec<SessionId> {
    let requests = [request(), request(), OpenRequest::udp()];
    let ids: Vec<_> = requests.iter().flat_map(|r| pop.open(r).ok()).collect();
    exchange(pop, edge, now);
    for &id in ids.iter().step_by(2) {
        edge.accept(id, ([192, 0, 2, 1], 80).into());
    }
    exchange(pop, edge, now);
    while pop.poll_event().is_some() || edge.poll_event().is_some() {}
    assert_eq!(ids.len(), 3);
    ids
}

fn request() -> OpenRequest {
    let host = std::net::IpAddr::from([192, 0, 2, 1]).into();
    OpenRequest::tcp(Target { host, port: 80 })
}

fn command_one(
    end: &mut Connection,
    command: u8,
    argument: u8,
    id: Option<SessionId>,
    ids: &mut Vec<SessionId>,
) {
    match (command % 10, id) {
        (0, _) if argument & 1 == 1 => ids.extend(end.open(&OpenRequest::udp())),
        (0, _) => ids.extend(end.open(&request())),
        (1, Some(id)) => end.accept(id, ([192, 0, 2, 1], 80).into()),
        (2, Some(id)) => {
            let len = end.send_capacity(id).min(usize::from(argument) * 16);
            let sent = end.send(id, Payload::copy_from(&vec![argument; len]));
            assert!(len == 0 || sent.is_ok(), "capacity was asked for");
        }
        (3, Some(id)) => end.finish(id),
        (4, Some(id)) if argument & 7 == 0 => end.reset(id, Reason::GeneralFailure, "fuzz"),
        (5, Some(id)) => {
            if let Some(Received::Data(mut bytes)) = end.receive(id) {
                let rest = bytes.split_off(bytes.len() / 2);
                end.consumed(id, bytes.len());
                end.put_back(id, rest);
            }
        }
        (6, Some(id)) => end.consumed(id, usize::from(argument)),
        (7, _) if argument == 0 => end.go_away(),
        (8, Some(id)) => {
            let data = vec![argument; usize::from(argument) * 16];
            let datagram = DatagramPayload::copy_from(&request().target, &data).expect("short");
            // It may be a session of another kind, or there may be no room.
            let _ = end.send_datagram(id, datagram);
            assert!(end.queued_datagram_bytes() <= 8 * 1024);
        }
        (9, Some(id)) => drop(end.receive_datagram(id)),
        _ => {}
    }
}

/// Carries everything either end has to say to the other, until both are silent.
fn exchange(pop: &mut Connection, edge: &mut Connection, now: Instant) {
    while carry(pop, edge, now) | carry(edge, pop, now) {}
    pop.handle_timeout(now);
    edge.handle_timeout(now);
}

fn carry(from: &mut Connection, to: &mut Connection, now: Instant) -> bool {
    let mut batch = Vec::new();
    let len = from.poll_transmit(usize::MAX, &mut batch);
    let mut input = BytesMut::from(&batch.concat()[..]);
    assert_eq!(input.len(), len);
    to.handle_input(&mut input, now).expect("a sound peer");
    assert!(input.is_empty());
    len > 0
}

/// Takes every event, and a part of what each names.
fn drain(end: &mut Connection, ids: &mut Vec<SessionId>) {
    while let Some(event) = end.poll_event() {
        match event {
            Event::Open { id, .. } => ids.push(id),
            Event::Readable(id) => {
                if let Some(Received::Data(bytes)) = end.receive(id) {
                    end.consumed(id, bytes.len());
                }
                let _ = end.receive_datagram(id);
            }
            Event::Closed(_) => {
                assert!(end.is_over());
                assert_eq!(end.poll_event(), None, "an event after the last");
            }
            _ => {}
        }
    }
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(64);
}

/// The ban on the clock is for the protocol; a test needs one origin.
#[allow(clippy::disallowed_methods)]
fn origin() -> Instant {
    Instant::now()
}
