//! Sessions through a real edge, on io_uring and on epoll.

mod support;

use std::io;

use sha2::{Digest, Sha256};
use socket2::SockRef;
use support::{Net, as_target, named, noise, target, until};
use titan_edge::IoChoice;
use titan_proto::{addr::WHOAMI_HOST, reason::Reason};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpSocket},
};

on_both! {
    bulk_arrives_whole_both_ways
    half_closes_are_relayed_both_ways
    early_data_and_its_end_wait_for_the_dial
    a_reset_of_the_client_reaches_the_target
    a_reset_during_the_dial_gives_the_dial_up
    a_reset_ends_a_write_that_is_under_way
    a_reset_of_the_target_reaches_the_client_behind_its_last_bytes
    failures_to_connect_have_their_reasons
    private_addresses_are_denied_by_whatever_name
    a_session_that_does_not_read_stalls_no_other
    many_sessions_share_the_tunnel
    whoami_is_answered_by_the_edge
}

async fn bulk_arrives_whole_both_ways(io: IoChoice) {
    const BYTES: usize = 24 << 20;
    let net = Net::open(io).await;
    let (listener, address) = target().await;
    let echo = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = socket.split();
        copy(&mut read, &mut write).await.unwrap()
    });
    let session = net.tunnel.open(address);
    session.opened().await.unwrap();
    let sent = noise(BYTES, 1);
    let (sending, received) = tokio::join!(
        async {
            session.send(&sent).await.unwrap();
            session.finish();
        },
        session.read_to_end()
    );
    let () = sending;
    assert_eq!(Sha256::digest(received.unwrap()), Sha256::digest(&sent));
    assert_eq!(echo.await.unwrap(), BYTES as u64);
    session.finished().await;
    assert_eq!(net.edge.metrics().bytes_to_targets.get(), BYTES as u64);
    assert_eq!(net.edge.metrics().bytes_from_targets.get(), BYTES as u64);
}

async fn half_closes_are_relayed_both_ways(io: IoChoice) {
    let net = Net::open(io).await;
    let (listener, address) = target().await;

    // The client ends first, and the answer still comes.
    let session = net.tunnel.open(address.clone());
    let (mut socket, _) = listener.accept().await.unwrap();
    session.send(b"question").await.unwrap();
    session.finish();
    let mut question = String::new();
    socket.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    socket.write_all(b"answer").await.unwrap();
    drop(socket);
    assert_eq!(session.read_to_end().await.unwrap(), b"answer");
    session.finished().await;

    // The target ends first, and the client goes on.
    let session = net.tunnel.open(address);
    let (mut socket, _) = listener.accept().await.unwrap();
    socket.write_all(b"greeting").await.unwrap();
    socket.shutdown().await.unwrap();
    assert_eq!(session.read_to_end().await.unwrap(), b"greeting");
    session.send(b"still here").await.unwrap();
    session.finish();
    let mut rest = String::new();
    socket.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "still here");
    session.finished().await;
}

async fn early_data_and_its_end_wait_for_the_dial(io: IoChoice) {
    let net = Net::open(io).await;
    let (listener, address) = target().await;
    let session = net.tunnel.open(address);
    // All of this is under way before the edge has even read OPEN: this task has not yielded.
    let early = noise(100_000, 2);
    assert_eq!(session.send_now(&early), early.len());
    session.finish();
    let (mut socket, peer) = listener.accept().await.unwrap();
    let mut received = Vec::new();
    socket.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, early);
    assert_eq!(session.opened().await.unwrap(), peer);
    drop(socket);
    assert_eq!(session.read_to_end().await.unwrap(), b"");
    session.finished().await;
}

async fn a_reset_of_the_client_reaches_the_target(io: IoChoice) {
    let net = Net::open(io).await;
    let (listener, address) = target().await;
    let session = net.tunnel.open(address);
    let (mut socket, _) = listener.accept().await.unwrap();
    session.opened().await.unwrap();
    session.reset(Reason::ClientGone);
    let error = socket.read(&mut [0; 16]).await.unwrap_err();
    assert_eq!(
        error.kind(),
        io::ErrorKind::ConnectionReset,
        "not a clean end"
    );
}

async fn a_reset_during_the_dial_gives_the_dial_up(io: IoChoice) {
    let net = Net::open(io).await;
    // A listener whose queue is full does not answer a SYN.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _filler = std::net::TcpStream::connect(address).unwrap();
    let session = net.tunnel.open(as_target(address));
    until(|| dials_to(address.port()) == 1).await;
    session.reset(Reason::ClientGone);
    until(|| dials_to(address.port()) == 0).await;
}

async fn a_reset_ends_a_write_that_is_under_way(io: IoChoice) {
    let net = Net::open(io).await;
    let (deaf, address) = target().await;
    let session = net.tunnel.open(address);
    let (mut socket, _) = deaf.accept().await.unwrap();
    let flood = noise(32 << 20, 4);
    tokio::select! {
        _ = session.send(&flood) => panic!("32 MiB fitted into a target that reads nothing"),
        () = standstill(&net) => {}
    }
    session.reset(Reason::ClientGone);
    let error = copy(&mut socket, &mut tokio::io::sink()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    // A session that hung would hold the stop up for the grace of its tunnel, seconds.
    let stopping = std::time::Instant::now();
    net.edge.stop();
    net.edge.join().await;
    assert!(stopping.elapsed() < std::time::Duration::from_secs(3));
}

async fn a_reset_of_the_target_reaches_the_client_behind_its_last_bytes(io: IoChoice) {
    let net = Net::open(io).await;
    let (listener, address) = target().await;
    let session = net.tunnel.open(address);
    let (mut socket, _) = listener.accept().await.unwrap();
    session.opened().await.unwrap();
    socket.write_all(b"last words").await.unwrap();
    assert_eq!(session.read_exactly(10).await.unwrap(), b"last words");
    SockRef::from(&socket)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(socket);
    assert_eq!(session.was_reset().await.reason, Reason::TargetReset);
    assert_eq!(net.edge.metrics().sessions_failed(Reason::TargetReset), 1);
}

async fn failures_to_connect_have_their_reasons(io: IoChoice) {
    let net = Net::open(io).await;
    let (listener, closed) = target().await;
    drop(listener);
    for (target, reason) in [
        (closed, Reason::ConnectionRefused),
        (named("name.invalid:80"), Reason::NameNotFound),
    ] {
        let session = net.tunnel.open(target);
        assert_eq!(session.opened().await.unwrap_err().reason, reason);
        assert_eq!(net.edge.metrics().sessions_failed(reason), 1);
    }
    assert_eq!(net.edge.metrics().sessions_connected.get(), 0);
}

async fn private_addresses_are_denied_by_whatever_name(io: IoChoice) {
    let net = Net::start(io, |_| {}).await;
    let (listener, _) = target().await;
    let port = listener.local_addr().unwrap().port();
    for host in [
        "127.0.0.1",
        "localhost",
        "10.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ] {
        let session = net.tunnel.open(named(&format!("{host}:{port}")));
        let reset = session.opened().await.unwrap_err();
        assert_eq!(reset.reason, Reason::DeniedByPolicy, "{host}");
    }
    assert_eq!(
        net.edge.metrics().sessions_failed(Reason::DeniedByPolicy),
        5
    );
    drop(listener);
}

async fn a_session_that_does_not_read_stalls_no_other(io: IoChoice) {
    let net = Net::open(io).await;
    let (deaf, deaf_address) = target().await;
    let stalled = net.tunnel.open(deaf_address);
    let (_never_read, _) = deaf.accept().await.unwrap();
    stalled.opened().await.unwrap();
    let flood = noise(32 << 20, 3);
    let flooding = stalled.send(&flood);
    let talking = async {
        let (listener, address) = target().await;
        let session = net.tunnel.open(address);
        let (mut socket, _) = listener.accept().await.unwrap();
        for round in 0..50_u8 {
            session.send(&[round; 100]).await.unwrap();
            let mut heard = [0; 100];
            socket.read_exact(&mut heard).await.unwrap();
            socket.write_all(&heard).await.unwrap();
            assert_eq!(session.read_exactly(100).await.unwrap(), [round; 100]);
        }
    };
    tokio::select! {
        _ = flooding => panic!("32 MiB fitted into a target that reads nothing"),
        () = talking => {}
    }
}

async fn many_sessions_share_the_tunnel(io: IoChoice) {
    let net = Net::open(io).await;
    let (listener, address) = target().await;
    tokio::spawn(serve_echo(listener));
    let sessions = (0..200_u64).map(|number| {
        let session = net.tunnel.open(address.clone());
        tokio::spawn(async move {
            let sent = noise(1000 + 97 * usize::try_from(number).unwrap(), number);
            session.send(&sent).await.unwrap();
            session.finish();
            assert_eq!(session.read_to_end().await.unwrap(), sent);
            session.finished().await;
        })
    });
    for session in sessions.collect::<Vec<_>>() {
        session.await.unwrap();
    }
    assert_eq!(net.edge.metrics().sessions_connected.get(), 200);
}

async fn whoami_is_answered_by_the_edge(io: IoChoice) {
    let net = Net::open(io).await;
    net.tunnel.measured().await;
    let ask = async |request: &[u8]| {
        let session = net.tunnel.open(named(&format!("{WHOAMI_HOST}:80")));
        // One byte at a time, to be put together again.
        for byte in request {
            session.send(&[*byte]).await.unwrap();
        }
        let answer = String::from_utf8(session.read_to_end().await.unwrap()).unwrap();
        session.finish();
        session.finished().await;
        answer
    };
    let answer = ask(b"GET / HTTP/1.1\r\nHost: whoami.titan.internal\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let facts: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(facts["node_id"], net.edge.node_id().to_string());
    assert_eq!(facts["region"], support::manager::REGION);
    assert_eq!(facts["pop"], "pop-1");
    assert_eq!(facts["address"], "127.0.0.1");
    assert!(facts["version"].is_string());
    assert!(
        ask(b"HEAD /x HTTP/1.1\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 404 ")
    );
    assert!(
        ask(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 405 ")
    );
    assert!(ask(b"\r\n\x00\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
}

async fn serve_echo(listener: TcpListener) {
    while let Ok((mut socket, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut read, mut write) = socket.split();
            copy(&mut read, &mut write).await.unwrap();
        });
    }
}

/// Waits until nothing more goes to the edge's targets.
async fn standstill(net: &Net) {
    let metrics = net.edge.metrics();
    let mut before = u64::MAX;
    while before != metrics.bytes_to_targets.get() {
        before = metrics.bytes_to_targets.get();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// Connections to a local port that are in SYN_SENT (state 02), by this process's network.
fn dials_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let remote = format!("0100007F:{port:04X}");
    table
        .lines()
        .filter(|line| {
            let mut fields = line.split_whitespace().skip(2);
            fields.next() == Some(&remote) && fields.next() == Some("02")
        })
        .count()
}
