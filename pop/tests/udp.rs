//! UDP associations through the gateway, on both drivers.

mod common;

use std::{io::ErrorKind, net::SocketAddr};

use common::{Client, DRIVERS, Edge, Manner, World, edge::NAMED, within};
use titan_proto::{
    addr::Target,
    limits::MAX_DATAGRAM,
    mux::Settings,
    reason::Reason,
    socks5::{decode_udp, encode_udp_header},
};
use tokio::net::UdpSocket;

/// A client's association: its TCP connection, its socket, and where that sends to.
struct Association {
    control: Client,
    socket: UdpSocket,
    relay: SocketAddr,
}

impl Association {
    /// Opens one by a proxy's address; the client does not say where it sends from.
    async fn open(proxy: SocketAddr) -> Self {
        let mut control = Client::connect(proxy).await;
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let (code, relay) = control.socks5_associate("", unknown).await;
        assert_eq!(code, 0);
        let any = if relay.is_ipv6() {
            "[::1]:0"
        } else {
            "127.0.0.1:0"
        };
        let socket = UdpSocket::bind(any).await.expect("a socket");
        Self {
            control,
            socket,
            relay,
        }
    }

    async fn send(&self, target: &Target, data: &[u8]) {
        send(&self.socket, self.relay, target, data).await;
    }

    /// The next datagram: who sent it, as the header says, and what it says.
    async fn receive(&self) -> (Target, Vec<u8>) {
        receive(&self.socket).await
    }

    async fn echo(&self, target: &str, source: &str, data: &[u8]) {
        self.send(&address(target), data).await;
        let (from, echo) = self.receive().await;
        assert_eq!(from, address(source));
        assert!(echo == data, "{} bytes to {target}", data.len());
    }
}

async fn send(socket: &UdpSocket, relay: SocketAddr, target: &Target, data: &[u8]) {
    let mut datagram = Vec::new();
    encode_udp_header(target, &mut datagram);
    datagram.extend_from_slice(data);
    let sent = socket.send_to(&datagram, relay).await.expect("sends");
    assert_eq!(sent, datagram.len());
}

async fn receive(socket: &UdpSocket) -> (Target, Vec<u8>) {
    let mut buffer = vec![0; 1 << 16];
    let received = within("a datagram", socket.recv_from(&mut buffer)).await;
    buffer.truncate(received.expect("receives").0);
    let (source, data_at) = decode_udp(&buffer).expect("a header");
    (source, buffer.split_off(data_at))
}

fn address(text: &str) -> Target {
    text.parse().expect("valid")
}

const TARGET: &str = "192.0.2.1:53";

/// What an IPv4 client can send at most to an IPv4 target: its header of 10 bytes is in the datagram.
const MOST_BY_V4: usize = MAX_DATAGRAM - 10;

#[tokio::test]
async fn datagrams_of_every_size_come_back_with_their_true_source() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let association = Association::open(world.pop.proxy_addr()).await;
        assert_eq!(association.relay.ip(), world.pop.proxy_addr().ip());
        for len in [0, 1, 512, 1472, 9000, 40_000] {
            let data: Vec<u8> = (0..len)
                .map(|n| u8::try_from(n % 251).expect("small"))
                .collect();
            association.echo(TARGET, TARGET, &data).await;
            association
                .echo("[2001:db8::1]:53", "[2001:db8::1]:53", &data)
                .await;
            association.echo("example.com:53", NAMED, &data).await;
        }
        association.echo(TARGET, TARGET, &[7; MOST_BY_V4]).await;
        let bytes = 3 * (1 + 512 + 1472 + 9000 + 40_000) + MOST_BY_V4 as u64;
        for direction in ["up", "down"] {
            assert_eq!(world.metric(&format!("datagrams_{direction}")).await, 19);
            assert_eq!(world.metric(&format!("bytes_{direction}")).await, bytes);
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn what_is_no_datagram_of_the_clients_is_dropped_and_counted() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let association = Association::open(world.pop.proxy_addr()).await;
        let relay = association.relay;
        let stranger = UdpSocket::bind("127.0.0.2:0").await.expect("a socket");
        send(&stranger, relay, &address(TARGET), b"let me in").await;
        dropped(&world, "wrong_source", 1).await;
        association.echo(TARGET, TARGET, b"first").await;
        // The client's own address, and another port than its first datagram's.
        let neighbour = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        send(&neighbour, relay, &address(TARGET), b"me, too").await;
        dropped(&world, "wrong_source", 2).await;
        for (datagram, reason, count) in [
            (&[0, 0, 1, 1, 192, 0, 2, 1, 0, 53][..], "fragment", 1),
            (&[0, 0, 0x81, 1, 192, 0, 2, 1, 0, 53], "fragment", 2),
            (&[0, 0, 0, 1, 192, 0, 2, 1, 0], "malformed", 1),
            (&[0, 0, 0, 9], "malformed", 2),
            (&[], "malformed", 3),
            (&[0, 0, 0, 1, 192, 0, 2, 1, 0, 0], "malformed", 4),
        ] {
            let sent = association.socket.send_to(datagram, relay).await;
            sent.expect("sends");
            dropped(&world, reason, count).await;
        }
        association.echo(TARGET, TARGET, b"still served").await;
        assert_eq!(world.metric("datagrams_up").await, 2);
        world.stop().await;
    }
}

#[tokio::test]
async fn an_announced_port_is_the_only_one() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut control = world.client().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let (code, relay) = control
            .socks5_associate("", socket.local_addr().expect("bound"))
            .await;
        assert_eq!(code, 0);
        let neighbour = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        send(&neighbour, relay, &address(TARGET), b"me first").await;
        dropped(&world, "wrong_source", 1).await;
        send(&socket, relay, &address(TARGET), b"as announced").await;
        assert_eq!(receive(&socket).await.1, b"as announced");
        world.stop().await;
    }
}

#[tokio::test]
async fn an_association_ends_with_its_tcp_connection() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let mut edge = world.edge().await;
        let association = Association::open(world.pop.proxy_addr()).await;
        association.echo(TARGET, TARGET, b"hello").await;
        assert_eq!(world.metric("associations_active").await, 1);
        edge.saw(|news| news.associations == 1).await;
        drop(association.control);
        world.metric_becomes("associations_active", 0).await;
        world.metric_becomes("sessions_active", 0).await;
        edge.saw(|news| news.associations == 0).await;
        // Nobody takes datagrams there any more.
        UdpSocket::bind(association.relay)
            .await
            .expect("a free port");
        world.stop().await;
    }
}

#[tokio::test]
async fn an_idle_association_ends() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.udp_idle_s = 1).await;
        let mut edge = world.edge().await;
        let mut association = Association::open(world.pop.proxy_addr()).await;
        association.echo(TARGET, TARGET, b"hello").await;
        ends_badly(&mut association.control).await;
        assert_eq!(world.metric("sessions_failed{reason=\"idle\"}").await, 1);
        assert_eq!(world.metric("associations_active").await, 0);
        edge.saw(|news| news.associations == 0).await;
        world.stop().await;
    }
}

#[tokio::test]
async fn an_association_ends_with_its_tunnel() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let edge = world.edge().await;
        let mut association = Association::open(world.pop.proxy_addr()).await;
        association.echo(TARGET, TARGET, b"hello").await;
        edge.die();
        ends_badly(&mut association.control).await;
        assert_eq!(world.metric("associations_active").await, 0);
        world.stop().await;
    }
}

#[tokio::test]
async fn an_edge_without_the_capability_is_no_way_out() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let settings = Settings {
            datagrams: false,
            ..Settings::default()
        };
        let token = world.manager.token(0);
        let edge =
            Edge::connect_with(Manner::Serves, settings, world.pop.tunnel_addr(), &token).await;
        let _edge = edge.expect("the PoP takes the edge");
        world.tunnels(1).await;
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let (code, _) = world.client().await.socks5_associate("", unknown).await;
        assert_eq!(code, 7, "{io:?}: command not supported");
        let failed = world
            .metric("sessions_failed{reason=\"unsupported\"}")
            .await;
        assert_eq!(failed, 1);
        world.stop().await;
    }
}

#[tokio::test]
async fn a_confirmed_reply_waits_for_the_edge() {
    let world = World::start(DRIVERS[0]).await;
    let mut edge = world.edge().await;
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let mut control = world.client().await;
    let (code, _) = control.socks5_associate("-confirm", unknown).await;
    assert_eq!(code, 0);
    edge.saw(|news| news.associations == 1).await;
    world.stop().await;
}

#[tokio::test]
async fn an_association_goes_on_with_another_edge_until_its_client_was_told() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let mut full = world.edge_that(Manner::Dials).await;
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut control = world.client().await;
        let associate = control.socks5_associate("-confirm", unknown);
        let ((code, _), second) = tokio::join!(associate, async {
            full.saw(|news| news.opened == 1).await;
            let second = world.edge().await;
            full.refuse(Reason::TooManySessions);
            second
        });
        assert_eq!((code, second.opened()), (0, 1), "{io:?}");
        assert_eq!(world.metric("sessions_reopened").await, 1, "{io:?}");
        world.stop().await;
    }
}

#[tokio::test]
async fn an_edge_has_its_time_to_open_an_association() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.open_timeout_s = 1).await;
        let _edge = world.edge_that(Manner::Dials).await;
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut told = world.client().await;
        assert_eq!(told.socks5_associate("", unknown).await.0, 0);
        ends_badly(&mut told).await;
        let mut waits = world.client().await;
        assert_eq!(waits.socks5_associate("-confirm", unknown).await.0, 4);
        let timed_out = "sessions_failed{reason=\"timed_out\"}";
        assert_eq!(world.metric(timed_out).await, 2, "{io:?}");
        world.stop().await;
    }
}

#[tokio::test]
async fn ports_and_the_advertised_address_are_the_operators() {
    for io in DRIVERS {
        // Two ports that were free a moment ago; a third client finds none.
        let range = two_free_ports().await;
        let adjust = |config: &mut titan_pop::Config| {
            config.udp_ports = Some(
                format!("{}-{}", range[0], range[1])
                    .parse()
                    .expect("a range"),
            );
            config.udp_advertise_address = Some([203, 0, 113, 7].into());
        };
        let world = World::start_with(io, adjust).await;
        let _edge = world.edge().await;
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let (mut clients, mut ports) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let mut control = world.client().await;
            let (code, relay) = control.socks5_associate("", unknown).await;
            assert_eq!((code, relay.ip()), (0, [203, 0, 113, 7].into()));
            ports.push(relay.port());
            clients.push(control);
        }
        ports.sort_unstable();
        assert_eq!(ports, range);
        let mut control = world.client().await;
        assert_eq!(control.socks5_associate("", unknown).await.0, 1);
        assert_eq!(world.metric("associations_active").await, 2);
        world.stop().await;
    }
}

#[tokio::test]
async fn a_client_by_ipv6_and_one_by_ipv4_on_a_listener_of_both() {
    for io in DRIVERS {
        let listen = |address: &'static str| {
            move |config: &mut titan_pop::Config| {
                config.proxy_listen = address.parse().expect("an address");
            }
        };
        let world = World::start_with(io, listen("[::]:0")).await;
        let _edge = world.edge().await;
        let port = world.pop.proxy_addr().port();
        for proxy in ["127.0.0.1", "[::1]"] {
            let proxy: SocketAddr = format!("{proxy}:{port}").parse().expect("valid");
            let association = Association::open(proxy).await;
            assert_eq!(association.relay.ip(), proxy.ip());
            association.echo(TARGET, TARGET, b"hello").await;
            if proxy.is_ipv6() {
                // By IPv6 the largest datagram fits, header and all.
                association.echo(TARGET, TARGET, &[7; MAX_DATAGRAM]).await;
            }
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn what_does_not_fit_into_a_datagram_for_the_client_is_dropped() {
    let world = World::start(DRIVERS[0]).await;
    let _edge = world.edge().await;
    let association = Association::open(world.pop.proxy_addr()).await;
    // It goes out with the name, in a header of 11 bytes, and cannot come back with one of 22.
    let name = Target::new("::1".parse().expect("valid"), 53);
    let mut datagram = b"\0\0\0\x03\x03::1\0\x35".to_vec();
    datagram.resize(MAX_DATAGRAM, 7);
    let sent = association
        .socket
        .send_to(&datagram, association.relay)
        .await;
    sent.expect("sends");
    dropped(&world, "too_long", 1).await;
    association.send(&name, b"short").await;
    assert_eq!(association.receive().await, (name, b"short".to_vec()));
    world.stop().await;
}

#[tokio::test]
async fn associations_move_to_the_shard_of_their_tunnel() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.shards = 2).await;
        let _edge = world.edge().await;
        let mut associations = Vec::new();
        for n in 0..20_u8 {
            let association = Association::open(world.pop.proxy_addr()).await;
            association.echo(TARGET, TARGET, &[n]).await;
            associations.push(association);
        }
        let moved = world.metric("client_handovers").await;
        assert!((1..20).contains(&moved), "{io:?}: {moved} of 20 moved");
        for association in &associations {
            association.echo(TARGET, TARGET, b"all at once").await;
        }
        assert_eq!(world.metric("associations_active").await, 20);
        world.stop().await;
    }
}

/// Waits until the gateway has dropped so many datagrams for that reason.
async fn dropped(world: &World, reason: &str, count: u64) {
    let name = format!("datagrams_dropped{{reason=\"{reason}\"}}");
    world.metric_becomes(&name, count).await;
}

/// Waits for a reset: an association that its client did not end has ended.
async fn ends_badly(control: &mut Client) {
    let error = control.rest_or_error().await.expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Two ports in a row that nobody has on loopback, below those that the system gives out: no other
/// test is given one of them meanwhile.
async fn two_free_ports() -> [u16; 2] {
    let start = 20_000 + u16::try_from(std::process::id() % 10_000).expect("cut");
    for port in (start..start + 2_000).step_by(2) {
        let first = UdpSocket::bind(("127.0.0.1", port)).await;
        let second = UdpSocket::bind(("127.0.0.1", port + 1)).await;
        if first.is_ok() && second.is_ok() {
            return [port, port + 1];
        }
    }
    panic!("no two ports of two thousand are free");
}
