//! What the gateway does beside relaying: hand-over, tokens, the manager's absence, the drain.

mod common;

use std::collections::HashSet;

use common::{DRIVERS, Edge, PASSWORD, USER, World, eventually, within};
use titan_pop::{
    Config, Pop, StartError, config::IoChoice, limits::MAX_TUNNELS_PER_NODE, net::Driver,
};

#[tokio::test]
async fn clients_move_to_the_shard_of_their_tunnel() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.shards = 2).await;
        let edge = world.edge().await;
        // The kernel spreads connections over both shards by their ports.
        for attempt in 0..200 {
            let mut client = world.client().await;
            assert_eq!(client.socks5("-confirm", "echo.test").await, 0);
            client.echo(b"moved or not").await;
            client.finish().await;
            assert_eq!(client.rest().await, "");
            if attempt >= 20 && world.metric("client_handovers").await > 0 {
                break;
            }
        }
        let moved = world.metric("client_handovers").await;
        let all = edge.opened() as u64;
        assert!(
            moved > 0 && moved < all,
            "{io:?}: {moved} of {all} clients moved"
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn tunnels_are_spread_over_the_shards() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.shards = 3).await;
        let mut edges = Vec::new();
        for _ in 0..9 {
            edges.push(world.edge().await);
        }
        let listing = world.get("/debug/tunnels").await;
        for shard in 0..3 {
            let here = listing.matches(&format!("\"shard\":{shard},")).count();
            assert_eq!(here, 3, "{io:?} {listing}");
        }
        for _ in 0..30 {
            let mut client = world.client().await;
            assert_eq!(client.socks5("", "echo.test").await, 0);
            client.echo(b"any of them").await;
        }
        drop(edges.split_off(1).iter().map(Edge::die).collect::<Vec<_>>());
        world.tunnels(1).await;
        let mut client = world.client().await;
        assert_eq!(
            client.socks5("-confirm", "echo.test").await,
            0,
            "one is left"
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn a_node_has_so_many_tunnels_and_counts_once() {
    let world = World::start_with(DRIVERS[0], |config| config.shards = 2).await;
    let (pop, token) = (world.pop.tunnel_addr(), world.manager.token(1));
    let mut edges = Vec::new();
    for _ in 0..MAX_TUNNELS_PER_NODE {
        edges.push(Edge::connect(pop, &token).await.expect("there is room"));
    }
    world.tunnels(MAX_TUNNELS_PER_NODE as u64).await;
    assert_eq!(Edge::connect(pop, &token).await.err(), Some(429));
    assert_eq!(
        world.metric("tunnel_refusals{reason=\"too_many\"}").await,
        1
    );
    let other = world.manager.token(2);
    assert!(Edge::connect(pop, &other).await.is_ok(), "another node");
    eventually("both nodes, with all their tunnels", async || {
        let records = world.manager.state.lock().expect("not poisoned");
        let nodes: HashSet<_> = records
            .heartbeats
            .iter()
            .flat_map(|heartbeat| &heartbeat.connected)
            .map(|connected| connected.node)
            .collect();
        let tunnels = records.heartbeats.last().map(|last| last.tunnels as usize);
        nodes.len() == 2 && tunnels == Some(MAX_TUNNELS_PER_NODE + 1)
    })
    .await;
    edges.remove(0).die();
    eventually("a place that was given back", async || {
        Edge::connect(pop, &token).await.is_ok()
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn only_a_good_token_opens_a_tunnel() {
    let world = World::start(DRIVERS[0]).await;
    let (pop, manager) = (world.pop.tunnel_addr(), &world.manager);
    let other_pop = manager.token_with(1, |claims| claims.aud = "pop2".parse().expect("an id"));
    let expired = manager.token_with(1, |claims| claims.exp = claims.iat - 3600);
    assert_eq!(Edge::connect(pop, "nonsense").await.err(), Some(401));
    assert_eq!(Edge::connect(pop, &expired).await.err(), Some(401));
    assert_eq!(Edge::connect(pop, &other_pop).await.err(), Some(403));
    assert_eq!(world.metric("tunnel_refusals{reason=\"token\"}").await, 2);
    assert_eq!(
        world.metric("tunnel_refusals{reason=\"other_pop\"}").await,
        1
    );
    assert!(Edge::connect(pop, &manager.token(1)).await.is_ok());
    world.stop().await;
}

#[tokio::test]
async fn the_manager_hears_of_nodes_as_they_come_and_go() {
    let world = World::start(DRIVERS[0]).await;
    let edge = world.edge().await;
    let records = || world.manager.state.lock().expect("not poisoned");
    eventually("the node's coming", async || {
        records()
            .heartbeats
            .iter()
            .any(|heartbeat| heartbeat.connected.len() == 1)
    })
    .await;
    let node = {
        let records = records();
        let first = records.heartbeats.first().expect("heartbeats");
        assert!(first.full && first.sequence == 1);
        assert!(
            first.tunnel_url.starts_with("ws://127.0.0.1:"),
            "{}",
            first.tunnel_url
        );
        let last = records.heartbeats.last().expect("heartbeats");
        assert!(!last.full && last.tunnels == 1);
        last.connected[0].node
    };
    records().resync = true;
    edge.die();
    eventually("the node's leaving", async || {
        records()
            .heartbeats
            .iter()
            .any(|heartbeat| heartbeat.disconnected == [node])
    })
    .await;
    eventually("the whole list", async || {
        records()
            .heartbeats
            .last()
            .is_some_and(|last| last.full && last.connected.is_empty())
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn known_users_outlive_the_manager_and_others_hear_that_it_is_away() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        world.manager.set_away(true);
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        client.echo(b"still served").await;
        // SOCKS5 has no word for it at login, so the request fails instead.
        let mut client = world.client().await;
        assert_eq!(client.socks5_login("bob", PASSWORD).await, 0);
        assert_eq!(client.socks5_connect("echo.test").await, 1);
        let mut client = world.client().await;
        let authorization = common::client::basic("bob", PASSWORD);
        client
            .send(format!(
                "CONNECT a.test:1 HTTP/1.1\r\nHost: a.test:1\r\n{authorization}\r\n"
            ))
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 503 "));
        assert_eq!(world.metric("logins{outcome=\"unavailable\"}").await, 2);
        world.stop().await;
    }
}

#[tokio::test]
async fn a_verified_login_is_asked_for_once() {
    let world = World::start_with(DRIVERS[0], |config| config.shards = 2).await;
    let _edge = world.edge().await;
    for _ in 0..20 {
        let mut client = world.client().await;
        assert_eq!(client.socks5_login(USER, PASSWORD).await, 0);
    }
    let lookups = world.manager.state.lock().expect("not poisoned").lookups;
    assert!(
        (1..=2).contains(&lookups),
        "once for each shard at most, not {lookups} times"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_drain_lets_sessions_finish_and_turns_everybody_else_away() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| (config.shards, config.drain_s) = (2, 60)).await;
        let mut edge = world.edge().await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        client.echo(b"before").await;
        world.pop.drain();
        edge.saw(|news| news.going_away).await;
        eventually("not ready", async || {
            world.get("/readyz").await.contains("draining")
        })
        .await;
        let proxy = world.pop.proxy_addr();
        eventually("closed listeners", async || {
            tokio::net::TcpStream::connect(proxy).await.is_err()
        })
        .await;
        client.echo(b"during").await;
        client.finish().await;
        assert_eq!(client.rest().await, "");
        edge.saw(|news| news.closed).await;
        let pop = world.pop;
        let joined = tokio::task::spawn_blocking(move || pop.join());
        within("the end", joined).await.expect("ends");
        let records = world.manager.state.lock().expect("not poisoned");
        assert!(
            records
                .heartbeats
                .last()
                .is_some_and(|last| !last.accepting)
        );
        let left = records
            .heartbeats
            .iter()
            .flat_map(|heartbeat| &heartbeat.disconnected)
            .count();
        assert_eq!(
            left, 1,
            "the manager knows that the node is to go elsewhere"
        );
    }
}

#[tokio::test]
async fn sessions_that_outlast_the_drain_are_cut_with_a_reset() {
    let world = World::start_with(DRIVERS[0], |config| config.drain_s = 1).await;
    let _edge = world.edge().await;
    let mut client = world.client().await;
    assert_eq!(client.socks5("", "echo.test").await, 0);
    client.echo(b"before").await;
    world.stop().await;
    assert!(client.rest_or_error().await.is_err());
}

#[tokio::test]
async fn a_session_of_which_one_half_has_ended_does_not_stay_for_ever() {
    let world = World::start_with(DRIVERS[0], |config| config.linger_s = 1).await;
    let _edge = world.edge().await;
    let mut client = world.client().await;
    assert_eq!(client.socks5("", "greeter.test").await, 0);
    assert_eq!(client.read(5).await, b"hello");
    // The target has ended; the client never does.
    let error = client.rest_or_error().await;
    assert!(error.is_ok(), "the target's end is relayed first");
    world
        .metric_becomes("sessions_failed{reason=\"idle\"}", 1)
        .await;
    world.metric_becomes("sessions_active", 0).await;
    world.stop().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_holds_nothing_for_long() {
    let world = World::start_with(DRIVERS[0], |config| config.handshake_s = 1).await;
    let _silent = world.client().await;
    world.metric_becomes("handshakes_active", 1).await;
    world
        .metric_becomes("client_closes{reason=\"timed_out\"}", 1)
        .await;
    world.stop().await;
}

#[test]
fn a_pop_that_cannot_run_says_why() {
    let any = "127.0.0.1:0".parse().expect("an address");
    let mut config = Config::new("http://127.0.0.1:1", "c");
    (
        config.proxy_listen,
        config.tunnel_listen,
        config.admin_listen,
    ) = (any, any, any);
    (config.shards, config.io) = (2, IoChoice::Epoll);
    let data = tempfile::tempdir().expect("a folder");
    config.data_dir = data.path().to_owned();
    let pop = Pop::start(config.clone()).expect("it runs without a manager");
    assert_eq!(pop.driver(), Driver::Epoll);
    let error = Pop::start(config.clone()).expect_err("the folder is taken");
    assert!(error.to_string().contains("another PoP"), "{error}");
    config.proxy_listen = pop.proxy_addr();
    let error = Pop::start(config).expect_err("the port is taken");
    assert!(
        matches!(
            error,
            StartError::Listen {
                role: "proxy clients",
                ..
            }
        ),
        "{error}"
    );
    pop.drain();
    pop.join();
}
