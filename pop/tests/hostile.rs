//! Edges and clients that are slow, gone, greedy or malicious: each is bounded and counted, and the session
//! beside it goes on.

mod common;

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use common::{
    Client, DRIVERS, Edge, PATIENCE, World,
    client::proxy_authorization,
    eventually,
    raw::{RawEdge, frame, message, unknown_session},
    within,
};
use socket2::SockRef;
use titan_proto::{
    limits::{IDLE_FRAMES_BURST, INITIAL_WINDOW, MAX_FRAME},
    mux::{FrameHeader, FrameKind},
    ws::Opcode,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{interval, timeout},
};

/// Longest an echo beside a misbehaving peer may take, on two busy cores and without optimisation.
const UNDISTURBED: Duration = Duration::from_secs(2);

/// A session that does no harm, and its edge.
struct Neighbour {
    client: Client,
    edge: Edge,
}

impl Neighbour {
    async fn new(world: &World) -> Self {
        let edge = world.edge().await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        Self { client, edge }
    }

    /// Makes sure that its echo comes in time.
    async fn echo(&mut self) {
        let started = Instant::now();
        self.client.echo(b"still here").await;
        let took = started.elapsed();
        assert!(took < UNDISTURBED, "an echo took {took:?}");
    }

    /// Goes on until `other` is done.
    async fn beside<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = std::pin::pin!(other);
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.echo().await;
            if let Ok(output) = timeout(Duration::from_millis(1), &mut other).await {
                return output;
            }
            assert!(Instant::now() < deadline, "waited in vain");
        }
    }
}

/// Sends a byte every now and then until the other side has closed.
async fn drip(mut stream: TcpStream, bytes: &[u8]) {
    let mut clock = interval(Duration::from_millis(50));
    for byte in bytes.iter().cycle() {
        clock.tick().await;
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
    }
}

/// Connects from another address of this machine.
async fn client_from(address: [u8; 4], to: SocketAddr) -> Client {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::from((address, 0)))
        .expect("all of 127.0.0.0/8 is ours");
    let stream = socket.connect(to).await.expect("connects");
    Client { stream }
}

/// Whether the other side has closed or reset the connection.
async fn is_closed(client: &mut Client) -> bool {
    let read = within("the end", client.stream.read(&mut [0])).await;
    matches!(read, Ok(0) | Err(_))
}

#[tokio::test]
async fn slow_handshakes_end_in_time_and_are_counted() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.handshake_s = 1).await;
        let mut neighbour = Neighbour::new(&world).await;
        let (proxy, tunnels) = (world.pop.proxy_addr(), world.pop.tunnel_addr());
        let slow =
            async |to, bytes: &'static [u8]| drip(Client::connect(to).await.stream, bytes).await;
        let mut silent = world.client().await;
        let _mute = RawEdge::upgrade(&world).await;
        neighbour
            .beside(async {
                tokio::join!(
                    slow(proxy, b"\x05\xff\x02\x02\x02\x02\x02\x02\x02\x02\x02\x02"),
                    slow(proxy, b"CONNECT"),
                    slow(tunnels, b"GET"),
                    is_closed(&mut silent),
                )
            })
            .await;
        for (metric, count) in [
            ("client_closes{reason=\"timed_out\"}", 3),
            ("tunnel_refusals{reason=\"timed_out\"}", 1),
            ("tunnel_ends{cause=\"no_hello\"}", 1),
            ("handshakes_active", 0),
        ] {
            neighbour.beside(world.metric_becomes(metric, count)).await;
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn when_all_places_are_taken_the_oldest_handshake_gives_way() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.max_handshakes = 4).await;
        let mut neighbour = Neighbour::new(&world).await;
        for (to, counter) in [
            (world.pop.proxy_addr(), "client_closes"),
            (world.pop.tunnel_addr(), "tunnel_refusals"),
        ] {
            let mut silent = Vec::new();
            for _ in 0..5 {
                silent.push(Client::connect(to).await);
            }
            assert!(neighbour.beside(is_closed(&mut silent[0])).await);
            let counter = format!("{counter}{{reason=\"crowded_out\"}}");
            world.metric_becomes(&counter, 1).await;
        }
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        client.echo(b"served though all places were taken").await;
        world.stop().await;
    }
}

/// Being answered makes a stranger no less of one, and a request that is let in does.
#[tokio::test]
async fn an_http_client_keeps_its_place_until_a_request_is_let_in() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.max_handshakes = 2).await;
        let mut neighbour = Neighbour::new(&world).await;
        let request = |login: &str| {
            format!("GET http://http.test/ HTTP/1.1\r\nHost: http.test\r\n{login}\r\n")
        };
        let asking = async |login: &str, status: &str| {
            let mut client = world.client().await;
            client.send(request(login)).await;
            let (head, _) = client.response().await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            client
        };
        let mut known = asking(&proxy_authorization(""), "200").await;
        let mut stranger = asking("", "407").await;
        let _others = [world.client().await, world.client().await];
        assert!(neighbour.beside(is_closed(&mut stranger)).await);
        let counter = "client_closes{reason=\"crowded_out\"}";
        world.metric_becomes(counter, 1).await;
        known.send(request(&proxy_authorization(""))).await;
        assert!(known.head().await.starts_with("HTTP/1.1 200 "));
        world.stop().await;
    }
}

#[tokio::test]
async fn one_address_cannot_take_all_places() {
    for io in DRIVERS {
        let limits = |config: &mut titan_pop::Config| config.max_handshakes_per_address = 3;
        let world = World::start_with(io, limits).await;
        let mut neighbour = Neighbour::new(&world).await;
        let greedy = [127, 0, 0, 2];
        for (to, counter) in [
            (world.pop.proxy_addr(), "client_closes"),
            (world.pop.tunnel_addr(), "tunnel_refusals"),
        ] {
            let mut silent = Vec::new();
            for _ in 0..3 {
                silent.push(client_from(greedy, to).await);
            }
            let mut refused = client_from(greedy, to).await;
            assert!(neighbour.beside(is_closed(&mut refused)).await);
            let counter = format!("{counter}{{reason=\"address_limit\"}}");
            world.metric_becomes(&counter, 1).await;
        }
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0, "another address");
        world.stop().await;
    }
}

#[tokio::test]
async fn endless_heads_are_cut_off_and_counted() {
    let world = World::start(DRIVERS[0]).await;
    let mut neighbour = Neighbour::new(&world).await;
    let line = format!("X-Filler: {}\r\n", "x".repeat(1000));
    let head = |first: &str| format!("{first}\r\nHost: x\r\n{}", line.repeat(40));
    let answer = async |to, first| {
        let mut client = Client::connect(to).await;
        // It may be cut off before all of it has left.
        let _ = client.stream.write_all(head(first).as_bytes()).await;
        client.rest().await
    };
    for (to, first, counter) in [
        (
            world.pop.proxy_addr(),
            "CONNECT x:1 HTTP/1.1",
            "client_closes{reason=\"malformed_http\"}",
        ),
        (
            world.pop.tunnel_addr(),
            "GET /tunnel HTTP/1.1",
            "tunnel_refusals{reason=\"bad_request\"}",
        ),
    ] {
        let answer = neighbour.beside(answer(to, first)).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert_eq!(world.metric(counter).await, 1);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_flooding_edge_is_closed_and_its_neighbour_goes_on() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let mut neighbour = Neighbour::new(&world).await;
        let unknown = Some(unknown_session());
        let start = frame(false, Opcode::Binary, b"");
        let floods = [
            frame(true, Opcode::Ping, b"answer me"),
            frame(true, Opcode::Pong, b""),
            message(FrameKind::Reset, unknown, b"\x01"),
            message(FrameKind::Credit, unknown, &[0, 0, 0, 1]),
            message(FrameKind::GoAway, None, b""),
            frame(false, Opcode::Continuation, b""),
        ];
        for (ends, flood) in (1..).zip(floods) {
            let mut edge = RawEdge::start(&world).await;
            if flood[0] == 0 {
                edge.send(&start).await;
            }
            let burst = flood.repeat(2 * IDLE_FRAMES_BURST as usize);
            let (mut read, mut write) = edge.stream.into_split();
            let flooding = async {
                // It is cut off on the way.
                let _ = write.write_all(&burst).await;
                let mut heard = Vec::new();
                let _ = read.read_to_end(&mut heard).await;
            };
            neighbour.beside(flooding).await;
            let counter = "tunnel_ends{cause=\"flood\"}";
            neighbour.beside(world.metric_becomes(counter, ends)).await;
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn an_edge_that_is_cut_off_is_told_why() {
    let world = World::start(DRIVERS[0]).await;
    let mut edge = RawEdge::start(&world).await;
    let flood = frame(true, Opcode::Ping, b"").repeat(IDLE_FRAMES_BURST as usize + 10_000);
    edge.send(&flood).await;
    assert_eq!(edge.close_code().await, Some(1008), "policy violation");
    world.stop().await;
}

#[tokio::test]
async fn breaches_of_credit_and_framing_close_one_tunnel_only() {
    for io in DRIVERS {
        let world = World::start(io).await;
        for (breach, code, counter, count) in [
            ("credit", 1008, "credit_violation", 1),
            ("frame", 1009, "frame_violation", 1),
            ("fin", 1002, "frame_violation", 2),
        ] {
            let mut edge = RawEdge::start(&world).await;
            let mut client = world.client().await;
            assert_eq!(client.socks5("", "any.test").await, 0);
            let id = Some(edge.connect_next().await);
            edge.go_away(&world).await;
            let mut neighbour = Neighbour::new(&world).await;
            match breach {
                // The client reads nothing, so what its sockets do not take fills the window.
                "credit" => {
                    let data = message(FrameKind::Data, id, &vec![0; INITIAL_WINDOW as usize]);
                    let flood = data.repeat(416);
                    let (mut read, mut write) = edge.stream.into_split();
                    neighbour
                        .beside(async {
                            let _ = write.write_all(&flood).await;
                            let mut heard = Vec::new();
                            let _ = read.read_to_end(&mut heard).await;
                        })
                        .await;
                }
                "frame" => {
                    // In a session that has no credit to exceed before.
                    let (id, long) = (Some(unknown_session()), vec![0; MAX_FRAME as usize + 1]);
                    edge.say(FrameKind::Data, id, &long).await;
                    assert_eq!(neighbour.beside(edge.close_code()).await, Some(code));
                }
                _ => {
                    edge.say(FrameKind::Fin, id, b"").await;
                    edge.say(FrameKind::Fin, id, b"").await;
                    assert_eq!(neighbour.beside(edge.close_code()).await, Some(code));
                }
            }
            let counter = format!("tunnel_ends{{cause=\"{counter}\"}}");
            neighbour
                .beside(world.metric_becomes(&counter, count))
                .await;
            neighbour.edge.die();
            world.tunnels(0).await;
        }
        world.stop().await;
    }
}

/// The number that names the neighbour's session in the neighbour's tunnel names none in this one.
#[tokio::test]
async fn an_edge_cannot_speak_in_a_session_of_another() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let mut neighbour = Neighbour::new(&world).await;
        let mut edge = RawEdge::start(&world).await;
        let first = FrameHeader::decode([FrameKind::Data as u8, 0, 0, 0, 0, 1, 0, 0]);
        let id = first.expect("valid").session;
        edge.say(FrameKind::Data, id, b"not yours").await;
        edge.say(FrameKind::Reset, id, b"\x01").await;
        neighbour.echo().await;
        edge.stream.shutdown().await.expect("connected");
        neighbour.beside(world.tunnels(1)).await;
        neighbour.echo().await;
        assert_eq!(
            world
                .metric("sessions_failed{reason=\"connection_refused\"}")
                .await,
            0
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn an_edge_that_stops_reading_is_given_up_and_its_sessions_with_it() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.heartbeat_s = 1).await;
        let mut edge = RawEdge::start(&world).await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "any.test").await, 0);
        edge.connect_next().await;
        edge.go_away(&world).await;
        let mut neighbour = Neighbour::new(&world).await;
        // From here on the edge neither reads nor writes, and its client has much to say.
        let end = neighbour.beside(send_for_ever(client)).await;
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset, "{io:?}");
        assert_eq!(world.metric("tunnel_ends{cause=\"silence\"}").await, 1);
        assert_eq!(
            world.metric("sessions_failed{reason=\"edge_gone\"}").await,
            1
        );
        world.stop().await;
    }
}

/// Sends until the connection breaks, and gives how.
async fn send_for_ever(mut client: Client) -> io::Error {
    let block = [7; 64 * 1024];
    loop {
        if let Err(error) = client.stream.write_all(&block).await {
            return error;
        }
    }
}

#[tokio::test]
async fn an_edge_that_speaks_and_does_not_read_gets_no_new_sessions() {
    for io in DRIVERS {
        let adjust = |config: &mut titan_pop::Config| {
            (config.heartbeat_s, config.open_timeout_s) = (1, 1);
        };
        let world = World::start_with(io, adjust).await;
        let edge = RawEdge::start(&world).await;
        let (_unread, write) = edge.stream.into_split();
        let speaking = tokio::spawn(speak(write));
        eventually("saturation", async || {
            world
                .get("/debug/tunnels")
                .await
                .contains("\"saturated\":true")
        })
        .await;
        // Alone it is better than nothing, and who waits for it is told the truth.
        let mut client = world.client().await;
        assert_eq!(client.socks5("-confirm", "any.test").await, 4);
        assert_eq!(
            world.metric("sessions_failed{reason=\"timed_out\"}").await,
            1
        );
        let mut neighbour = Neighbour::new(&world).await;
        for _ in 0..20 {
            let mut client = world.client().await;
            assert_eq!(client.socks5("-confirm", "echo.test").await, 0);
        }
        neighbour.echo().await;
        assert_eq!(world.metric("tunnels_active").await, 2, "it lives");
        speaking.abort();
        world.stop().await;
    }
}

/// Sends pongs nobody asked for.
async fn speak(mut write: tokio::net::tcp::OwnedWriteHalf) {
    let mut clock = interval(Duration::from_millis(100));
    loop {
        clock.tick().await;
        if write
            .write_all(&frame(true, Opcode::Pong, b""))
            .await
            .is_err()
        {
            return;
        }
    }
}

#[tokio::test]
async fn a_target_that_does_not_read_holds_no_more_than_its_window() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let mut neighbour = Neighbour::new(&world).await;
        let before = world.metric("bytes_up").await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "deaf.test").await, 0);
        // When it goes, it goes with a reset, which is seen though nobody reads from it.
        let at_once = Some(Duration::ZERO);
        SockRef::from(&client.stream)
            .set_linger(at_once)
            .expect("a socket");
        let sending = tokio::spawn(send_for_ever(client));
        let full = before + u64::from(INITIAL_WINDOW);
        world.metric_becomes("bytes_up", full).await;
        for _ in 0..100 {
            neighbour.echo().await;
        }
        let echoes = 100 * b"still here".len() as u64;
        assert_eq!(world.metric("bytes_up").await, full + echoes);
        sending.abort();
        world.metric_becomes("sessions_active", 1).await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_no_more_than_its_window() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let mut neighbour = Neighbour::new(&world).await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "endless.test").await, 0);
        // What its socket takes varies; that it ends does not.
        let mut last = 0;
        eventually("back-pressure", async || {
            let mut echoed = 0;
            for _ in 0..20 {
                neighbour.echo().await;
                echoed += b"still here".len() as u64;
            }
            let down = world.metric("bytes_down").await;
            std::mem::replace(&mut last, down) + echoed == down
        })
        .await;
        assert!(last < MOST_IN_SOCKETS, "{last} bytes for nobody");
        drop(client);
        world.metric_becomes("sessions_active", 1).await;
        world.stop().await;
    }
}

/// What the kernel may hold for one connection: `tcp_wmem` of one end and `tcp_rmem` of the other.
const MOST_IN_SOCKETS: u64 = 64 << 20;

#[tokio::test]
async fn a_forwarded_request_that_drips_ends_in_time() {
    let world = World::start_with(DRIVERS[0], |config| config.handshake_s = 1).await;
    let mut neighbour = Neighbour::new(&world).await;
    let mut client = world.client().await;
    let authorization = proxy_authorization("");
    client
        .send(format!(
            "GET http://http.test/ HTTP/1.1\r\nHost: http.test\r\n{authorization}X-Slow: "
        ))
        .await;
    neighbour.beside(drip(client.stream, b"x")).await;
    assert_eq!(world.metric("client_closes{reason=\"timed_out\"}").await, 1);
    world.stop().await;
}
