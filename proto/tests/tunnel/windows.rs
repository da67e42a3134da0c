//! Credit, windows that follow the traffic, and the memory they share.

use super::*;

#[test]
fn nobody_sends_more_than_was_granted() {
    let mut tunnel = Tunnel::new(Settings::default());
    let id = tunnel.open();
    assert_eq!(fill(&mut tunnel.pop, id), limits::START_WINDOW as usize);
    assert_eq!(
        tunnel.pop.send(id, Payload::copy_from(b"x")),
        Err(SendError::TooMuch)
    );
    tunnel.exchange();
    assert_eq!(tunnel.pop.send_capacity(id), 0, "arrived, but not consumed");
    receive_all(&mut tunnel.edge, id);
    tunnel.exchange();
    assert_eq!(events(&mut tunnel.pop), [Event::Writable(id)]);
    assert_eq!(fill(&mut tunnel.pop, id), limits::START_WINDOW as usize);
}

#[test]
fn a_peer_that_sends_beyond_its_credit_is_closed() {
    let settings = Settings {
        initial_window: 5000,
        start_window: 0,
        ..Settings::default()
    };
    let mut tunnel = Tunnel::new(settings);
    let id = tunnel.open();
    let mut input = forged(FrameKind::Data, Some(id), &[0; 5001]);
    let outcome = tunnel.edge.handle_input(&mut input, tunnel.now);
    assert_eq!(outcome, Err(Violation::CreditExceeded));
    assert!(tunnel.edge.is_over());
    let gone = Event::Reset {
        id,
        reset: Reset::new(Reason::EdgeGone),
    };
    let closed = Event::Closed(CloseCause::Violation(Violation::CreditExceeded));
    assert_eq!(events(&mut tunnel.edge), [gone, closed]);
    // The PoP is told with a close code before the transport goes.
    tunnel.exchange();
    let Some(Event::Closed(CloseCause::Peer { code, .. })) = events(&mut tunnel.pop).pop() else {
        panic!("the close frame did not arrive");
    };
    assert_eq!(code, Some(CloseCode::POLICY_VIOLATION));
}

#[test]
fn a_session_nobody_reads_does_not_hold_up_another() {
    let mut tunnel = Tunnel::new(Settings::default());
    let (stalled, busy) = (tunnel.open(), tunnel.open());
    fill(&mut tunnel.edge, stalled);
    tunnel.exchange();
    let mut total = 0;
    for _ in 0..100 {
        fill(&mut tunnel.edge, busy);
        tunnel.exchange();
        total += receive_all(&mut tunnel.pop, busy).0.len();
        tunnel.exchange();
    }
    assert!(total >= 100 * limits::START_WINDOW as usize);
    assert_eq!(tunnel.memory.held(), limits::START_WINDOW as usize);
    assert_eq!(tunnel.pop.queued_bytes() + tunnel.edge.queued_bytes(), 0);
}

#[test]
fn a_window_that_holds_its_session_up_grows_and_one_that_does_not_stays() {
    let mut tunnel = Tunnel::new(Settings::default());
    let (limited, slow) = (tunnel.open(), tunnel.open());
    let [grown, same] = after_rounds(&mut tunnel, [limited, slow], limits::WINDOW_LATENCY / 2);
    // There is no round trip here but the time that programs take.
    assert_eq!(grown, limits::LATENCY_WINDOW as usize);
    assert!(same <= limits::START_WINDOW as usize, "{same}");
    let rtt = Duration::from_millis(50);
    measure_round_trip(&mut tunnel, rtt);
    let [grown, _] = after_rounds(&mut tunnel, [limited, slow], rtt);
    assert_eq!(grown, limits::LARGEST_WINDOW as usize);
}

/// Lets 32 rounds pass in which the first session is read to its end and the second but little, and
/// gives what each could send in the last one.
fn after_rounds(tunnel: &mut Tunnel, ids: [SessionId; 2], round: Duration) -> [usize; 2] {
    const SLOW_READ: usize = 16 * 1024;
    let mut filled = [0; 2];
    for _ in 0..32 {
        filled = ids.map(|id| fill_through(tunnel, id));
        tunnel.now += round;
        tunnel.exchange();
        receive_all(&mut tunnel.pop, ids[0]);
        let Some(Received::Data(mut bytes)) = tunnel.pop.receive(ids[1]) else {
            panic!("the slow one has something to read");
        };
        let rest = bytes.split_off(bytes.len().min(SLOW_READ));
        tunnel.pop.consumed(ids[1], bytes.len());
        tunnel.pop.put_back(ids[1], rest);
        tunnel.exchange();
    }
    filled
}

/// Lets heartbeats pass until the smoothed round trip is nearly `rtt`.
fn measure_round_trip(tunnel: &mut Tunnel, rtt: Duration) {
    for _ in 0..40 {
        tunnel.now += Settings::default().heartbeat_interval * 2;
        tunnel.pop.handle_timeout(tunnel.now);
        carry(&mut tunnel.pop, &mut tunnel.edge, tunnel.now);
        tunnel.now += rtt;
        tunnel.edge.handle_timeout(tunnel.now);
        carry(&mut tunnel.edge, &mut tunnel.pop, tunnel.now);
    }
}

#[test]
fn many_sessions_that_nobody_reads_stay_within_the_memory() {
    let memory = Memory::new(8 << 20);
    let settings = Settings {
        memory: memory.clone(),
        initial_window: limits::MIN_WINDOW,
        ..Settings::default()
    };
    let mut tunnel = Tunnel::new(settings);
    let ids: Vec<_> = (0..1000)
        .map(|_| {
            let id = tunnel.open();
            fill(&mut tunnel.edge, id);
            tunnel.exchange();
            assert_eq!(events(&mut tunnel.pop), [Event::Readable(id)], "no reset");
            id
        })
        .collect();
    assert!(
        (4 << 20..8 << 20).contains(&memory.held()),
        "{}",
        memory.held()
    );
    for id in ids {
        receive_all(&mut tunnel.pop, id);
        tunnel.pop.reset(id, Reason::ClientGone, "");
    }
    tunnel.exchange();
    assert_eq!(memory.held(), 0);
}

#[test]
fn where_no_memory_is_left_who_holds_more_than_its_share_is_reset() {
    let settings = Settings {
        memory: Memory::new(1 << 20),
        initial_window: 512 << 10,
        ..Settings::default()
    };
    let memory = settings.memory.clone();
    let mut tunnel = Tunnel::new(settings);
    let (small, first, second) = (tunnel.open(), tunnel.open(), tunnel.open());
    fill(&mut tunnel.edge, first);
    fill(&mut tunnel.edge, second);
    tunnel.exchange();
    tunnel
        .edge
        .send(small, Payload::copy_from(b"x"))
        .expect("granted");
    tunnel.exchange();
    let reset = Reset::new(Reason::Overloaded);
    let events = events(&mut tunnel.pop);
    assert!(
        events.contains(&Event::Reset { id: second, reset }),
        "{events:?}"
    );
    assert!(events.contains(&Event::Readable(small)), "{events:?}");
    assert!(memory.held() <= memory.limit());
}
