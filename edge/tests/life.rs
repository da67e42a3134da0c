//! The life of an edge around its sessions: enrolment, reconnects, drains and the stop.

mod support;

use std::time::Duration;

use support::{
    Net, RunningEdge,
    manager::TestManager,
    pop::{PopTunnel, TestPop},
    target,
};
use titan_edge::IoChoice;
use titan_proto::mux::CloseCause;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

on_both! {
    a_cut_tunnel_is_opened_again
    the_token_at_hand_serves_while_the_manager_is_away
    a_refusing_pop_is_avoided
    a_draining_pop_is_left_only_when_another_is_reached
    a_stop_lets_sessions_finish
    a_stop_ends_what_outlasts_its_deadline
    a_stop_is_heard_without_a_tunnel
    a_node_without_a_key_waits_to_be_enrolled
    several_edges_live_in_one_process
    several_tunnels_serve_with_one_assignment_and_live_apart
    a_tunnel_that_fails_alone_returns_to_the_others
    every_tunnel_of_a_draining_pop_moves_before_it_is_left
    a_stop_drains_every_tunnel
}

async fn a_cut_tunnel_is_opened_again(io: IoChoice) {
    let net = Net::open(io).await;
    let (listener, address) = target().await;
    let session = net.tunnel.open(address.clone());
    let (mut socket, _) = listener.accept().await.unwrap();
    session.opened().await.unwrap();
    net.tunnel.cut();
    let error = socket.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(
        error.kind(),
        std::io::ErrorKind::ConnectionReset,
        "the session ended badly"
    );

    let tunnel = net.pop.accept().await;
    let session = tunnel.open(address);
    session.opened().await.unwrap();
    assert_eq!(
        (net.tunnel.bearer.as_str(), tunnel.bearer.as_str()),
        ("token-1", "token-2")
    );
    assert_eq!(net.edge.metrics().tunnels_lost.get(), 1);
    assert_eq!(net.edge.metrics().tunnels_opened.get(), 2);
}

async fn the_token_at_hand_serves_while_the_manager_is_away(io: IoChoice) {
    let net = Net::open(io).await;
    net.manager.go_away();
    net.tunnel.cut();
    assert_eq!(net.pop.accept().await.bearer, "token-1");
}

async fn a_refusing_pop_is_avoided(io: IoChoice) {
    let manager = TestManager::start().await;
    let (full, roomy) = (TestPop::bind().await, TestPop::bind().await);
    manager.add_pop("full", &full.url());
    manager.add_pop("roomy", &roomy.url());
    let _edge = RunningEdge::start(io, &manager, |_| {});
    full.refuse(503).await;
    roomy.accept().await;
    assert_eq!(manager.avoided(), [None, Some("full".parse().unwrap())]);
}

async fn a_draining_pop_is_left_only_when_another_is_reached(io: IoChoice) {
    let net = Net::open(io).await;
    let (listener, address) = target().await;
    let session = net.tunnel.open(address);
    let (mut socket, _) = listener.accept().await.unwrap();
    session.opened().await.unwrap();

    let other = TestPop::bind().await;
    net.manager.add_pop("pop-2", &other.url());
    net.tunnel.go_away();
    let tunnel = other.accept().await;
    assert_eq!(
        net.manager.avoided(),
        [None, Some("pop-1".parse().unwrap())]
    );

    // The session in the old tunnel goes on as if nothing were.
    assert!(!net.tunnel.is_closed());
    session.send(b"to the target").await.unwrap();
    let mut heard = [0; 13];
    socket.read_exact(&mut heard).await.unwrap();
    socket.write_all(b"to the client").await.unwrap();
    drop(socket);
    assert_eq!(session.read_to_end().await.unwrap(), b"to the client");
    assert!(!net.tunnel.is_closed());
    session.finish();
    session.finished().await;

    assert!(matches!(net.tunnel.closed().await, CloseCause::Peer { .. }));
    assert!(!tunnel.is_closed());
    assert_eq!(net.edge.metrics().tunnels_lost.get(), 0);
}

async fn a_stop_lets_sessions_finish(io: IoChoice) {
    let net = Net::open(io).await;
    let (listener, address) = target().await;
    let session = net.tunnel.open(address);
    let (mut socket, _) = listener.accept().await.unwrap();
    session.opened().await.unwrap();
    net.edge.stop();
    net.tunnel.going_away().await;
    socket.write_all(b"the rest").await.unwrap();
    drop(socket);
    assert_eq!(session.read_to_end().await.unwrap(), b"the rest");
    session.finish();
    session.finished().await;
    assert!(matches!(net.tunnel.closed().await, CloseCause::Peer { .. }));
    let metrics = net.edge.metrics();
    net.edge.join().await;
    assert_eq!(metrics.tunnels_lost.get(), 0);
}

async fn a_stop_ends_what_outlasts_its_deadline(io: IoChoice) {
    let net = Net::start(io, |config| {
        config.allow_private = true;
        config.drain_timeout = Duration::from_millis(50);
    })
    .await;
    let (listener, address) = target().await;
    let session = net.tunnel.open(address);
    let (mut socket, _) = listener.accept().await.unwrap();
    session.opened().await.unwrap();
    net.edge.stop();
    let error = socket.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    session.was_reset().await;
    net.edge.join().await;
}

async fn a_stop_is_heard_without_a_tunnel(io: IoChoice) {
    let manager = TestManager::start().await;
    manager.go_away();
    let edge = RunningEdge::start(io, &manager, |_| {});
    edge.stop();
    edge.join().await;
}

async fn a_node_without_a_key_waits_to_be_enrolled(io: IoChoice) {
    let manager = TestManager::start().await;
    let pop = TestPop::bind().await;
    manager.add_pop("pop-1", &pop.url());
    let edge = RunningEdge::start(io, &manager, |config| config.enrolment_key = None);
    let metrics = edge.metrics();
    tokio::time::timeout(support::PATIENCE, async {
        while metrics.tunnels_failed.get() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it keeps trying");
    assert_eq!(manager.assignments(), 0);
    edge.stop();
    edge.join().await;
}

async fn several_edges_live_in_one_process(io: IoChoice) {
    let manager = TestManager::start().await;
    let pop = TestPop::bind().await;
    manager.add_pop("pop-1", &pop.url());
    let edges = [(); 3].map(|()| RunningEdge::start(io, &manager, |_| {}));
    for _ in &edges {
        pop.accept().await;
    }
    assert_ne!(edges[0].node_id(), edges[1].node_id());
    for edge in edges {
        edge.stop();
        edge.join().await;
    }
}

/// An edge with so many tunnels to one PoP.
async fn with_tunnels(io: IoChoice, count: u8) -> (TestManager, TestPop, RunningEdge, Tunnels) {
    let manager = TestManager::start().await;
    let pop = TestPop::bind().await;
    manager.add_pop("pop-1", &pop.url());
    let edge = RunningEdge::start(io, &manager, |config| {
        config.allow_private = true;
        config.tunnels = count.try_into().unwrap();
    });
    let tunnels = accept(&pop, count).await;
    (manager, pop, edge, tunnels)
}

type Tunnels = Vec<PopTunnel>;

async fn accept(pop: &TestPop, count: u8) -> Tunnels {
    let mut tunnels = Vec::new();
    for _ in 0..count {
        tunnels.push(pop.accept().await);
    }
    tunnels
}

async fn several_tunnels_serve_with_one_assignment_and_live_apart(io: IoChoice) {
    let (manager, pop, edge, tunnels) = with_tunnels(io, 3).await;
    assert!(tunnels.iter().all(|tunnel| tunnel.bearer == "token-1"));
    assert_eq!(manager.assignments(), 1);
    let (listener, address) = target().await;
    for tunnel in &tunnels {
        let session = tunnel.open(address.clone());
        let _socket = listener.accept().await.unwrap();
        session.opened().await.unwrap();
    }

    let session = tunnels[1].open(address);
    let (mut socket, _) = listener.accept().await.unwrap();
    tunnels[0].cut();
    let fresh = pop.accept().await;
    assert_eq!(fresh.bearer, "token-2", "its own, and asked for anew");
    assert!(tunnels[1..].iter().all(|tunnel| !tunnel.is_closed()));
    session.send(b"as if nothing were").await.unwrap();
    let mut heard = [0; 18];
    socket.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"as if nothing were");
    assert_eq!(edge.metrics().tunnels_lost.get(), 1);

    // The others have not used that answer yet, and need no other.
    tunnels[1].cut();
    tunnels[2].cut();
    for tunnel in accept(&pop, 2).await {
        assert_eq!(tunnel.bearer, "token-2");
    }
    assert_eq!(manager.assignments(), 2);
}

async fn a_tunnel_that_fails_alone_returns_to_the_others(io: IoChoice) {
    let (manager, pop, _edge, tunnels) = with_tunnels(io, 2).await;
    let other = TestPop::bind().await;
    manager.add_pop("pop-2", &other.url());
    tunnels[0].cut();
    pop.refuse(503).await;
    pop.accept().await;
    assert_eq!(manager.avoided(), [None, None, None]);
    assert!(!tunnels[1].is_closed());
}

async fn every_tunnel_of_a_draining_pop_moves_before_it_is_left(io: IoChoice) {
    let (manager, _pop, edge, tunnels) = with_tunnels(io, 2).await;
    let (listener, address) = target().await;
    let session = tunnels[0].open(address);
    let (socket, _) = listener.accept().await.unwrap();
    session.opened().await.unwrap();
    let other = TestPop::bind().await;
    manager.add_pop("pop-2", &other.url());
    tunnels.iter().for_each(PopTunnel::go_away);
    let fresh = accept(&other, 2).await;
    assert!(fresh.iter().all(|tunnel| tunnel.bearer == "token-2"));
    // The one without sessions goes; the other one waits for its last.
    assert!(matches!(tunnels[1].closed().await, CloseCause::Peer { .. }));
    assert!(!tunnels[0].is_closed());
    drop(socket);
    assert_eq!(session.read_to_end().await.unwrap(), b"");
    session.finish();
    assert!(matches!(tunnels[0].closed().await, CloseCause::Peer { .. }));
    assert_eq!(edge.metrics().tunnels_lost.get(), 0);
}

async fn a_stop_drains_every_tunnel(io: IoChoice) {
    let (_manager, _pop, edge, tunnels) = with_tunnels(io, 3).await;
    let (listener, address) = target().await;
    let mut open = Vec::new();
    for tunnel in &tunnels {
        let session = tunnel.open(address.clone());
        let (socket, _) = listener.accept().await.unwrap();
        session.opened().await.unwrap();
        open.push((session, socket));
    }
    edge.stop();
    for tunnel in &tunnels {
        tunnel.going_away().await;
    }
    for (session, mut socket) in open {
        socket.write_all(b"the rest").await.unwrap();
        drop(socket);
        assert_eq!(session.read_to_end().await.unwrap(), b"the rest");
        session.finish();
    }
    for tunnel in &tunnels {
        assert!(matches!(tunnel.closed().await, CloseCause::Peer { .. }));
    }
    edge.join().await;
}
