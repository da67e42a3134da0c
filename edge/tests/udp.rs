//! UDP associations through a real edge, on io_uring and on epoll.

mod support;

use std::net::SocketAddr;

use support::{Net, PATIENCE, as_target, named, noise, pop::PopSession};
use titan_edge::{DatagramDrop, IoChoice};
use titan_proto::{
    addr::Target,
    limits::MAX_DATAGRAM,
    mux::{Datagram, OpenRequest, Received},
    reason::Reason,
};
use tokio::{net::UdpSocket, time::timeout};

on_both! {
    datagrams_of_every_size_come_back_by_both_families_and_by_name
    early_datagrams_wait_for_the_sockets
    any_address_may_answer
    two_targets_share_an_association_and_are_told_apart
    private_addresses_are_denied_both_ways
    a_stream_to_a_name_keeps_its_order
    what_cannot_be_sent_is_counted_and_harms_nothing
    the_clients_end_closes_the_sockets
    a_reset_closes_the_sockets
    a_burst_arrives_whole
}

async fn datagrams_of_every_size_come_back_by_both_families_and_by_name(io: IoChoice) {
    let net = Net::open(io).await;
    let session = associate(&net).await;
    let (_echo4, v4) = echo("127.0.0.1:0").await;
    let (_echo6, v6) = echo("[::1]:0").await;
    // `localhost` is one or the other; an echo on either takes the same port.
    let (_both, port) = echo_on_both_families().await;
    for len in [0, 1, 512, 1472, 9000, MAX_DATAGRAM] {
        let sent = noise(len, 7);
        for target in [
            as_target(v4),
            as_target(v6),
            named(&format!("localhost:{port}")),
        ] {
            session.send_datagram(&target, &sent);
            let Datagram { address, data } = next(&session).await;
            assert!(data == sent, "{len} bytes to {target}");
            if target.host.name().is_none() {
                assert_eq!(address, target);
            }
            assert_eq!(address.port, target.port);
        }
    }
    let metrics = net.edge.metrics();
    let total = 3 * (1 + 512 + 1472 + 9000 + MAX_DATAGRAM as u64);
    assert_eq!(metrics.datagrams_to_targets.get(), 18);
    assert_eq!(metrics.datagrams_from_targets.get(), 18);
    assert_eq!(metrics.bytes_to_targets.get(), total);
    assert_eq!(metrics.bytes_from_targets.get(), total);
}

async fn early_datagrams_wait_for_the_sockets(io: IoChoice) {
    let net = Net::open(io).await;
    let (_echo, address) = echo("127.0.0.1:0").await;
    let session = net.tunnel.open_request(&OpenRequest::udp());
    for n in 0..10 {
        session.send_datagram(&as_target(address), &[n]);
    }
    for n in 0..10 {
        assert_eq!(next(&session).await.data[..], [n]);
    }
    assert!(session.opened().await.unwrap().port() > 0);
}

async fn any_address_may_answer(io: IoChoice) {
    let net = Net::open(io).await;
    let session = associate(&net).await;
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    session.send_datagram(&as_target(target.local_addr().unwrap()), b"hello");
    let (_, edge) = receive(&target).await;
    stranger.send_to(b"from elsewhere", edge).await.unwrap();
    let Datagram { address, data } = next(&session).await;
    assert_eq!(data, "from elsewhere");
    assert_eq!(address, as_target(stranger.local_addr().unwrap()));
}

async fn two_targets_share_an_association_and_are_told_apart(io: IoChoice) {
    let net = Net::open(io).await;
    let session = associate(&net).await;
    let (_one, first) = echo("127.0.0.1:0").await;
    let (_two, second) = echo("[::1]:0").await;
    for target in [first, second, first] {
        let text = target.to_string();
        session.send_datagram(&as_target(target), text.as_bytes());
        let Datagram { address, data } = next(&session).await;
        assert_eq!((address, &data[..]), (as_target(target), text.as_bytes()));
    }
}

async fn private_addresses_are_denied_both_ways(io: IoChoice) {
    let net = Net::start(io, |_| {}).await;
    let session = associate(&net).await;
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    for host in [
        "127.0.0.1",
        "localhost",
        "10.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "224.0.0.1",
    ] {
        session.send_datagram(&named(&format!("{host}:{port}")), b"to the inside");
    }
    dropped(&net, DatagramDrop::Policy, 6).await;
    assert_eq!(net.edge.metrics().datagrams_to_targets.get(), 0);
    // From the inside to the edge's socket: it goes no further.
    let edge = (
        std::net::Ipv4Addr::LOCALHOST,
        session.opened().await.unwrap().port(),
    );
    target.send_to(b"from the inside", edge).await.unwrap();
    dropped(&net, DatagramDrop::Policy, 7).await;
    assert_eq!(net.edge.metrics().datagrams_from_targets.get(), 0);
}

async fn a_stream_to_a_name_keeps_its_order(io: IoChoice) {
    let net = Net::open(io).await;
    let session = associate(&net).await;
    let (_echo, port) = echo_on_both_families().await;
    let target = named(&format!("localhost:{port}"));
    for n in 0..10 {
        session.send_datagram(&target, &[n]);
    }
    for n in 0..10 {
        assert_eq!(next(&session).await.data[..], [n]);
    }
}

async fn what_cannot_be_sent_is_counted_and_harms_nothing(io: IoChoice) {
    let net = Net::open(io).await;
    let session = associate(&net).await;
    session.send_datagram(&named("name.invalid:53"), b"nowhere");
    dropped(&net, DatagramDrop::Unresolved, 1).await;
    // Port 0 cannot be sent to.
    let nobody: SocketAddr = "127.0.0.1:0".parse().unwrap();
    session.send_datagram(&Target::from(nobody), b"nowhere");
    dropped(&net, DatagramDrop::Unsendable, 1).await;
    // Nobody listens there: an ICMP error comes back, and means nothing to the association.
    let closed = UdpSocket::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    session.send_datagram(&as_target(closed), b"anybody?");
    let (_echo, address) = echo("127.0.0.1:0").await;
    session.send_datagram(&as_target(address), b"still here");
    assert_eq!(next(&session).await.data, "still here");
}

async fn the_clients_end_closes_the_sockets(io: IoChoice) {
    let net = Net::open(io).await;
    let session = associate(&net).await;
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    session.send_datagram(&as_target(target.local_addr().unwrap()), b"last");
    session.finish();
    let (data, edge) = receive(&target).await;
    assert_eq!(data, b"last", "what was sent before the end goes out");
    assert_eq!(session.datagram().await, Received::End);
    session.finished().await;
    closed(edge).await;
}

async fn a_reset_closes_the_sockets(io: IoChoice) {
    let net = Net::open(io).await;
    let session = associate(&net).await;
    let target = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    session.send_datagram(&as_target(target.local_addr().unwrap()), b"hello");
    let (_, edge) = receive(&target).await;
    session.reset(Reason::Idle);
    closed(edge).await;
}

async fn a_burst_arrives_whole(io: IoChoice) {
    // As many as the target's own socket holds by default.
    const BURST: usize = 200;
    let net = Net::open(io).await;
    let session = associate(&net).await;
    let (_echo, address) = echo("127.0.0.1:0").await;
    for n in 0..BURST {
        session.send_datagram(&as_target(address), &noise(1 + n, n as u64));
    }
    for n in 0..BURST {
        assert!(
            next(&session).await.data == noise(1 + n, n as u64),
            "datagram {n}"
        );
    }
}

/// Opens an association and waits for its sockets.
async fn associate(net: &Net) -> PopSession {
    let session = net.tunnel.open_request(&OpenRequest::udp());
    session.opened().await.unwrap();
    session
}

async fn next(session: &PopSession) -> Datagram {
    match session.datagram().await {
        Received::Data(datagram) => datagram,
        Received::End => panic!("the association ended"),
    }
}

/// A target that sends back what it gets, and its address.
async fn echo(address: &str) -> (EchoTask, SocketAddr) {
    let socket = UdpSocket::bind(address).await.unwrap();
    let address = socket.local_addr().unwrap();
    (EchoTask(tokio::spawn(serve_echo(socket))), address)
}

/// An echo on the same port of both families.
async fn echo_on_both_families() -> ([EchoTask; 2], u16) {
    loop {
        let v4 = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = v4.local_addr().unwrap().port();
        if let Ok(v6) = UdpSocket::bind(format!("[::1]:{port}")).await {
            let tasks = [v4, v6].map(|socket| EchoTask(tokio::spawn(serve_echo(socket))));
            return (tasks, port);
        }
    }
}

/// An echo that ends with its handle.
struct EchoTask(tokio::task::JoinHandle<()>);

impl Drop for EchoTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve_echo(socket: UdpSocket) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
        socket.send_to(&buffer[..len], from).await.unwrap();
    }
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 1 << 16];
    let received = timeout(PATIENCE, socket.recv_from(&mut buffer)).await;
    let (len, from) = received.expect("a datagram").unwrap();
    buffer.truncate(len);
    (buffer, from)
}

/// Waits until the edge has dropped so many datagrams for that cause.
async fn dropped(net: &Net, cause: DatagramDrop, count: u64) {
    let metrics = net.edge.metrics();
    support::until(|| metrics.datagrams_dropped(cause) == count).await;
}

/// Waits until nobody holds that UDP port any more.
async fn closed(address: SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], address.port()));
    support::until(|| std::net::UdpSocket::bind(address).is_ok()).await;
}
