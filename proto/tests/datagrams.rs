//! What the two ends of a tunnel promise each other about datagrams, one promise a test.

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use titan_proto::{
    addr::Target,
    limits::{DATAGRAM_OVERHEAD, MAX_DATAGRAM, MAX_FRAME, MIN_DATAGRAM_SHARE},
    mux::{
        Connection, Datagram, DatagramError, DatagramPayload, Event, OpenError, OpenRequest,
        Payload, Received, SendError, SessionId, Settings, Side, Violation,
    },
    reason::Reason,
    ws,
};

/// A PoP and an edge that said HELLO to each other.
struct Tunnel {
    pop: Connection,
    edge: Connection,
    now: Instant,
}

impl Tunnel {
    fn new(pop: Settings, edge: Settings) -> Self {
        // The ban on the clock is for the protocol; a test needs one origin.
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        let pop = Connection::new(Side::Pop, pop, [1; 32], now);
        let edge = Connection::new(Side::Edge, edge, [2; 32], now);
        let mut tunnel = Self { pop, edge, now };
        tunnel.exchange();
        tunnel
    }

    fn with(settings: Settings) -> Self {
        Self::new(settings.clone(), settings)
    }

    fn exchange(&mut self) {
        while carry(&mut self.pop, &mut self.edge, self.now)
            | carry(&mut self.edge, &mut self.pop, self.now)
        {}
    }

    /// Opens a UDP session and has the edge accept it.
    fn open(&mut self) -> SessionId {
        let id = self.pop.open(&OpenRequest::udp()).expect("both carry it");
        self.exchange();
        self.edge.accept(id, bound());
        self.exchange();
        while self.pop.poll_event().is_some() || self.edge.poll_event().is_some() {}
        id
    }
}

fn carry(from: &mut Connection, to: &mut Connection, now: Instant) -> bool {
    let mut batch = Vec::new();
    let len = from.poll_transmit(usize::MAX, &mut batch);
    let mut input = BytesMut::from(&batch.concat()[..]);
    to.handle_input(&mut input, now).expect("a sound peer");
    len > 0
}

fn bound() -> std::net::SocketAddr {
    "192.0.2.9:4242".parse().expect("valid")
}

fn target(text: &str) -> Target {
    text.parse().expect("valid")
}

fn datagram(text: &str, data: &[u8]) -> DatagramPayload {
    DatagramPayload::copy_from(&target(text), data).expect("not too long")
}

fn received(end: &mut Connection, id: SessionId) -> Vec<Received<Datagram>> {
    std::iter::from_fn(|| end.receive_datagram(id)).collect()
}

fn data(address: &str, data: &[u8]) -> Received<Datagram> {
    Received::Data(Datagram {
        address: target(address),
        data: Bytes::copy_from_slice(data),
    })
}

#[test]
fn datagrams_arrive_whole_and_in_order_with_every_kind_of_address() {
    let mut tunnel = Tunnel::with(Settings::default());
    let id = tunnel.open();
    let sent = [
        ("192.0.2.1:53", &b"one"[..]),
        ("[2001:db8::1]:53", b""),
        ("example.com:443", &[7; MAX_DATAGRAM]),
    ];
    for (to, bytes) in sent {
        let queued = tunnel.pop.send_datagram(id, datagram(to, bytes));
        assert_eq!(queued, Ok(()));
    }
    tunnel.exchange();
    assert_eq!(tunnel.edge.poll_event(), Some(Event::Readable(id)));
    let expected = sent.map(|(to, bytes)| data(to, bytes));
    assert_eq!(received(&mut tunnel.edge, id), expected);

    for (from, bytes) in &sent[..2] {
        let queued = tunnel.edge.send_datagram(id, datagram(from, bytes));
        assert_eq!(queued, Ok(()));
    }
    tunnel.exchange();
    assert_eq!(tunnel.pop.poll_event(), Some(Event::Readable(id)));
    assert_eq!(received(&mut tunnel.pop, id), expected[..2]);
    assert_eq!(tunnel.pop.queued_datagram_bytes(), 0);
}

#[test]
fn a_buffer_with_room_in_front_is_sent_as_it_is() {
    let mut tunnel = Tunnel::with(Settings::default());
    let id = tunnel.open();
    let mut buffer = BytesMut::zeroed(DatagramPayload::HEADROOM + 10);
    buffer.put_slice(b"payload");
    let data_at = DatagramPayload::HEADROOM + 10;
    let payload = DatagramPayload::from_buffer(&target("a.test:53"), buffer, data_at);
    assert_eq!(
        tunnel.pop.send_datagram(id, payload.expect("short")),
        Ok(())
    );
    tunnel.exchange();
    assert_eq!(
        received(&mut tunnel.edge, id),
        [data("a.test:53", b"payload")]
    );
    let overlong = vec![0; MAX_DATAGRAM + 1];
    let refused = DatagramPayload::copy_from(&target("a.test:53"), &overlong);
    assert_eq!(refused.err(), Some(DatagramError::TooLong));
}

#[test]
fn a_pop_sends_at_once_and_an_edge_when_it_has_accepted() {
    let mut tunnel = Tunnel::with(Settings::default());
    let id = tunnel.pop.open(&OpenRequest::udp()).expect("both carry it");
    let early = tunnel.pop.send_datagram(id, datagram("a.test:1", b"early"));
    assert_eq!(early, Ok(()));
    tunnel.exchange();
    let refused = tunnel.edge.send_datagram(id, datagram("192.0.2.1:1", b"x"));
    assert_eq!(refused, Err(DatagramError::NoSession));
    tunnel.edge.accept(id, bound());
    assert_eq!(received(&mut tunnel.edge, id), [data("a.test:1", b"early")]);
}

#[test]
fn both_ends_must_have_the_capability() {
    let without = Settings {
        datagrams: false,
        ..Settings::default()
    };
    for (pop, edge) in [
        (Settings::default(), without.clone()),
        (without.clone(), Settings::default()),
    ] {
        let mut tunnel = Tunnel::new(pop, edge);
        let refused = tunnel.pop.open(&OpenRequest::udp());
        assert_eq!(refused, Err(OpenError::Unsupported));
        assert!(!tunnel.pop.carries_datagrams() && !tunnel.edge.carries_datagrams());
    }
    // A PoP that asks all the same is told so.
    let mut tunnel = Tunnel::new(Settings::default(), without);
    let open = [0x82, 16, 2, 0, 0, 0, 0, 1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
    let mut input = BytesMut::from(&open[..]);
    let taken = tunnel.edge.handle_input(&mut input, tunnel.now);
    assert_eq!(taken, Ok(()));
    let mut answer = Vec::new();
    tunnel.edge.poll_transmit(usize::MAX, &mut answer);
    let answer = answer.concat();
    let (key, frame) = (&answer[2..6], &answer[6..]);
    let code = frame[8] ^ key[0];
    assert_eq!(Reason::from_code(code), Reason::Unsupported);
}

#[test]
fn a_full_ring_drops_and_never_waits() {
    let limit = 10_000;
    let mut tunnel = Tunnel::with(Settings {
        datagram_ring_bytes: limit,
        ..Settings::default()
    });
    let id = tunnel.open();
    let fits = limit / (1000 + 7 + DATAGRAM_OVERHEAD);
    for n in 0..fits + 3 {
        let queued = tunnel
            .pop
            .send_datagram(id, datagram("192.0.2.1:1", &[1; 1000]));
        let expected = if n < fits {
            Ok(())
        } else {
            Err(DatagramError::BufferFull)
        };
        assert_eq!(queued, expected, "datagram {n}");
    }
    assert!(tunnel.pop.queued_datagram_bytes() <= limit);
    assert_eq!(tunnel.pop.poll_event(), None, "nobody is told to wait");
    tunnel.exchange();
    assert_eq!(received(&mut tunnel.edge, id).len(), fits);
    let queued = tunnel
        .pop
        .send_datagram(id, datagram("192.0.2.1:1", b"room again"));
    assert_eq!(queued, Ok(()));
}

#[test]
fn an_association_has_its_share_and_leaves_the_rest_to_others() {
    let limit = 4 * MIN_DATAGRAM_SHARE;
    let mut tunnel = Tunnel::with(Settings {
        datagram_ring_bytes: limit,
        ..Settings::default()
    });
    let (greedy, modest) = (tunnel.open(), tunnel.open());
    let small = || datagram("192.0.2.1:1", &[0; 100]);
    assert_eq!(tunnel.pop.send_datagram(modest, small()), Ok(()));
    while tunnel.pop.send_datagram(greedy, small()).is_ok() {}
    let queued = tunnel.pop.queued_datagram_bytes();
    assert!((limit / 2..=limit / 2 + 1000).contains(&queued), "{queued}");
    assert_eq!(tunnel.pop.send_datagram(modest, small()), Ok(()));
    // A reset gives the room back.
    tunnel.pop.reset(greedy, Reason::Idle, "");
    while tunnel.pop.send_datagram(modest, small()).is_ok() {}
    assert!(tunnel.pop.queued_datagram_bytes() > limit - 1000);
}

#[test]
fn datagrams_and_bulk_data_do_not_crowd_each_other_out() {
    let mut tunnel = Tunnel::with(Settings::default());
    let udp = tunnel.open();
    let tcp = tunnel
        .pop
        .open(&OpenRequest::tcp(target("a.test:80")))
        .expect("ready");
    loop {
        let capacity = tunnel.pop.send_capacity(tcp);
        if capacity == 0 {
            break;
        }
        let payload = Payload::copy_from(&vec![0; capacity]);
        tunnel.pop.send(tcp, payload).expect("capacity");
    }
    assert_eq!(
        tunnel.pop.send_datagram(udp, datagram("a.test:1", b"call")),
        Ok(())
    );
    // It leaves behind one frame of the bulk session, not behind its backlog.
    let mut batch = Vec::new();
    tunnel
        .pop
        .poll_transmit(MAX_FRAME as usize + 1024, &mut batch);
    let mut input = BytesMut::from(&batch.concat()[..]);
    tunnel
        .edge
        .handle_input(&mut input, tunnel.now)
        .expect("sound");
    assert_eq!(received(&mut tunnel.edge, udp), [data("a.test:1", b"call")]);
}

#[test]
fn an_unread_inbox_is_bounded_and_what_is_lost_is_counted() {
    let limit = 5_000;
    let mut tunnel = Tunnel::with(Settings {
        datagram_inbox_bytes: limit,
        ..Settings::default()
    });
    let id = tunnel.open();
    for _ in 0..100 {
        let queued = tunnel
            .pop
            .send_datagram(id, datagram("192.0.2.1:1", &[0; 500]));
        assert_eq!(queued, Ok(()));
    }
    tunnel.exchange();
    let fits = limit / (500 + DATAGRAM_OVERHEAD);
    assert_eq!(tunnel.edge.unread_datagrams(), 100 - fits as u64);
    assert_eq!(received(&mut tunnel.edge, id).len(), fits);
    assert_eq!(tunnel.pop.unread_datagrams(), 0);
}

#[test]
fn empty_datagrams_do_not_queue_without_bound() {
    let mut tunnel = Tunnel::with(Settings::default());
    let id = tunnel.open();
    let mut queued = 0;
    while tunnel
        .pop
        .send_datagram(id, datagram("192.0.2.1:1", b""))
        .is_ok()
    {
        queued += 1;
    }
    assert_eq!(
        queued,
        Settings::default().datagram_ring_bytes / (7 + DATAGRAM_OVERHEAD)
    );
}

#[test]
fn the_end_comes_once_and_behind_every_datagram() {
    let mut tunnel = Tunnel::with(Settings::default());
    let id = tunnel.open();
    let queued = tunnel.pop.send_datagram(id, datagram("a.test:1", b"last"));
    assert_eq!(queued, Ok(()));
    tunnel.pop.finish(id);
    let refused = tunnel.pop.send_datagram(id, datagram("a.test:1", b"late"));
    assert_eq!(refused, Err(DatagramError::NoSession));
    tunnel.exchange();
    let expected = [data("a.test:1", b"last"), Received::End];
    assert_eq!(received(&mut tunnel.edge, id), expected);
    tunnel.edge.finish(id);
    tunnel.exchange();
    assert_eq!(received(&mut tunnel.pop, id), [Received::End]);
    assert_eq!(
        (tunnel.pop.session_count(), tunnel.edge.session_count()),
        (0, 0)
    );
}

#[test]
fn a_datagram_under_way_at_a_reset_harms_nobody() {
    let mut tunnel = Tunnel::with(Settings::default());
    let (id, other) = (tunnel.open(), tunnel.open());
    for _ in 0..3 {
        let queued = tunnel
            .edge
            .send_datagram(id, datagram("192.0.2.1:1", b"late"));
        assert_eq!(queued, Ok(()));
    }
    tunnel.pop.reset(id, Reason::ClientGone, "");
    assert_eq!(tunnel.pop.receive_datagram(id), None);
    tunnel.exchange();
    let queued = tunnel
        .edge
        .send_datagram(other, datagram("192.0.2.1:1", b"on"));
    assert_eq!(queued, Ok(()));
    tunnel.exchange();
    assert_eq!(
        received(&mut tunnel.pop, other),
        [data("192.0.2.1:1", b"on")]
    );
    assert_eq!(tunnel.edge.queued_datagram_bytes(), 0);
}

#[test]
fn the_two_kinds_of_session_do_not_mix() {
    let mut tunnel = Tunnel::with(Settings::default());
    let udp = tunnel.open();
    assert_eq!(tunnel.pop.send_capacity(udp), 0);
    let sent = tunnel.pop.send(udp, Payload::copy_from(b"bytes"));
    assert_eq!(sent, Err(SendError::TooMuch));
    let tcp = tunnel
        .pop
        .open(&OpenRequest::tcp(target("a.test:80")))
        .expect("ready");
    let refused = tunnel.pop.send_datagram(tcp, datagram("a.test:1", b"x"));
    assert_eq!(refused, Err(DatagramError::NoSession));
    assert_eq!(tunnel.pop.receive_datagram(tcp), None);
}

#[test]
fn breaches_end_the_tunnel() {
    let address = [1, 192, 0, 2, 1, 0, 53];
    let overlong = [&address[..], &[0; MAX_DATAGRAM + 1]].concat();
    for (kind, payload, violation) in [
        (8, &address[..3], Violation::Malformed("DATAGRAM")),
        (8, &[9, 0, 0][..], Violation::Malformed("DATAGRAM")),
        (8, &overlong[..], Violation::Malformed("DATAGRAM")),
        (4, b"DATA", Violation::CreditExceeded),
    ] {
        let mut tunnel = Tunnel::with(Settings::default());
        let id = tunnel.open();
        let outcome = feed(&mut tunnel.edge, kind, id, payload, tunnel.now);
        assert_eq!(outcome, Err(violation));
        assert!(tunnel.edge.is_over());
    }
    let mut tunnel = Tunnel::with(Settings::default());
    let tcp = tunnel
        .pop
        .open(&OpenRequest::tcp(target("a.test:80")))
        .expect("ready");
    tunnel.exchange();
    let outcome = feed(&mut tunnel.edge, 8, tcp, &address, tunnel.now);
    assert!(
        matches!(outcome, Err(Violation::WrongSession(_))),
        "{outcome:?}"
    );
}

#[test]
fn an_edge_names_no_source() {
    let mut tunnel = Tunnel::with(Settings::default());
    let id = tunnel.open();
    let queued = tunnel.edge.send_datagram(id, datagram("a.test:1", b"x"));
    assert_eq!(queued, Ok(()));
    let mut batch = Vec::new();
    tunnel.edge.poll_transmit(usize::MAX, &mut batch);
    let mut input = BytesMut::from(&batch.concat()[..]);
    let outcome = tunnel.pop.handle_input(&mut input, tunnel.now);
    assert_eq!(outcome, Err(Violation::Malformed("DATAGRAM")));
}

/// Hands a frame to an edge as its PoP would send it: a whole, unmasked message.
fn feed(
    edge: &mut Connection,
    kind: u8,
    id: SessionId,
    payload: &[u8],
    now: Instant,
) -> Result<(), Violation> {
    let mut message = BytesMut::new();
    let len = 8 + payload.len() as u64;
    ws::encode_frame_header(true, ws::Opcode::Binary, None, len, &mut message);
    message.put_slice(&[kind, 0, 0, 0]);
    message.put_u32(id.to_wire());
    message.put_slice(payload);
    edge.handle_input(&mut message, now)
}
