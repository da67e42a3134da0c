//! What the manager says of a user or a node holds at once, for sessions that run already too.

mod common;

use std::time::{Duration, Instant};

use common::{
    Client, DRIVERS, Edge, PASSWORD, USER, World,
    client::{basic, proxy_authorization},
    eventually,
    manager::unix_s,
    within,
};
use titan_proto::control::{Change, NodeId, UserRecord};

/// Within this time of a change the sessions of its user are over.
const AT_ONCE: Duration = Duration::from_secs(2);

async fn start(io: titan_pop::config::IoChoice) -> (World, [Edge; 2]) {
    let world = World::start_with(io, |config| config.shards = 2).await;
    world.manager.set_user("bob", PASSWORD, |_| {});
    let edges = [world.edge().await, world.edge().await];
    (world, edges)
}

/// A session of the user that has echoed something.
async fn session(world: &World, user: &str) -> Client {
    let mut client = world.client().await;
    assert_eq!(client.socks5_login(user, PASSWORD).await, 0);
    assert_eq!(client.socks5_connect("echo.test").await, 0);
    client.echo(b"running").await;
    client
}

/// Waits for the reset of every client.
async fn assert_reset(clients: &mut [Client], since: Instant) {
    for client in clients {
        let end = client.rest_or_error().await;
        let error = end.expect_err("a cut stream has no clean end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert!(since.elapsed() < AT_ONCE, "after {:?}", since.elapsed());
}

async fn failed(world: &World, reason: &str) -> u64 {
    let name = format!("sessions_failed{{reason=\"{reason}\"}}");
    world.metric(&name).await
}

#[tokio::test]
async fn running_sessions_end_with_the_true_reason_and_those_of_others_go_on() {
    type Case = (&'static str, fn(&mut UserRecord));
    let cases: [Case; 5] = [
        ("user_disabled", |user| user.enabled = false),
        ("package_expired", |user| user.valid_until = Some(unix_s())),
        ("quota_exhausted", |user| user.bytes_left = Some(0)),
        ("password_changed", |user| {
            user.password_hash = "another".into();
        }),
        ("client_address_denied", |user| {
            user.limits.client_addresses = vec!["192.0.2.0/24".parse().expect("a net")];
        }),
    ];
    for io in DRIVERS {
        let (world, _edges) = start(io).await;
        let mut other = session(&world, "bob").await;
        for (reason, adjust) in cases {
            world.manager.set_user(USER, PASSWORD, |_| {});
            eventually("alice is let in", async || {
                let mut client = world.client().await;
                client.socks5_login(USER, PASSWORD).await == 0
                    && client.socks5_connect("echo.test").await == 0
            })
            .await;
            let mut clients = Vec::new();
            for _ in 0..8 {
                clients.push(session(&world, USER).await);
            }
            let before = failed(&world, reason).await;
            let since = Instant::now();
            world.manager.set_user(USER, PASSWORD, adjust);
            assert_reset(&mut clients, since).await;
            let after = failed(&world, reason).await;
            assert!(
                after >= before + 8,
                "{io:?} {reason}: {after} after {before}"
            );
            other.echo(b"not mine").await;
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn a_user_who_is_removed_is_out_until_there_is_one_of_that_name_again() {
    for io in DRIVERS {
        let (world, _edges) = start(io).await;
        let mut clients = [session(&world, USER).await, session(&world, USER).await];
        let since = Instant::now();
        world.manager.remove_user(USER);
        assert_reset(&mut clients, since).await;
        assert_eq!(failed(&world, "user_deleted").await, 2, "{io:?}");
        let refused = world.client().await.socks5_login(USER, PASSWORD).await;
        assert_ne!(refused, 0, "{io:?}");
        world.manager.set_user(USER, PASSWORD, |_| {});
        eventually("the new user", async || {
            world.client().await.socks5_login(USER, PASSWORD).await == 0
        })
        .await;
        world.stop().await;
    }
}

#[tokio::test]
async fn associations_and_forwarded_requests_end_too() {
    for io in DRIVERS {
        let (world, edges) = start(io).await;
        let mut association = world.client().await;
        let unknown = ([0, 0, 0, 0], 0).into();
        assert_eq!(association.socks5_associate("", unknown).await.0, 0);
        let request = |host: &str| {
            let login = proxy_authorization("");
            format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{login}\r\n")
        };
        let (mut asking, mut idle) = (world.client().await, world.client().await);
        idle.send(request("http.test")).await;
        assert!(idle.response().await.0.starts_with("HTTP/1.1 200"));
        asking.send(request("silent.test")).await;
        eventually("all sessions", async || {
            edges.iter().map(Edge::opened).sum::<usize>() == 3
        })
        .await;
        let since = Instant::now();
        world
            .manager
            .set_user(USER, PASSWORD, |user| user.enabled = false);
        let (head, _) = asking.response().await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        assert!(head.contains("X-Titan-Error: user_disabled\r\n"), "{head}");
        assert_reset(&mut [association, idle], since).await;
        world.metric_becomes("sessions_active", 0).await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_package_ends_by_the_pops_own_clock() {
    for io in DRIVERS {
        let (world, _edges) = start(io).await;
        let until = unix_s() + 2;
        world
            .manager
            .set_user(USER, PASSWORD, |user| user.valid_until = Some(until));
        let mut clients = [session(&world, USER).await];
        world.manager.set_away(true);
        assert!(clients[0].rest_or_error().await.is_err(), "a reset");
        assert!((until..until + 2).contains(&unix_s()), "{io:?}: in time");
        assert_eq!(failed(&world, "package_expired").await, 1);
        world.stop().await;
    }
}

#[tokio::test]
async fn a_download_stops_where_the_package_does() {
    const PACKAGE: u64 = 10_000_000;
    for io in DRIVERS {
        let (world, _edges) = start(io).await;
        let set = |user: &mut UserRecord| user.bytes_left = Some(PACKAGE);
        world.manager.set_user(USER, PASSWORD, set);
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "endless.test").await, 0);
        let mut received = 0_u64;
        let mut buffer = vec![0; 1 << 16];
        let end = loop {
            use tokio::io::AsyncReadExt;
            match within("bytes", client.stream.read(&mut buffer)).await {
                Ok(0) => panic!("a clean end"),
                Ok(bytes) => received += bytes as u64,
                Err(error) => break error.kind(),
            }
        };
        assert_eq!(end, std::io::ErrorKind::ConnectionReset, "{io:?}");
        // A reset may overtake what the client has not read; one write is the most that is too much.
        let sent = world.metric("bytes_down").await;
        let most = PACKAGE + 2 * titan_pop::limits::CLIENT_WRITE_BATCH as u64;
        assert!((PACKAGE..most).contains(&sent), "{io:?}: {sent}");
        assert!(received <= most, "{io:?}: {received}");
        assert_eq!(failed(&world, "quota_exhausted").await, 1);
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 2, "{io:?}: used up");
        let refused = world.metric("logins{outcome=\"quota_exhausted\"}").await;
        assert_eq!(refused, 1);
        world
            .manager
            .set_user(USER, PASSWORD, |user| user.bytes_left = Some(1000));
        eventually("more was bought", async || {
            world.client().await.socks5("", "echo.test").await == 0
        })
        .await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_user_has_so_many_connections() {
    for io in DRIVERS {
        let (world, _edges) = start(io).await;
        let set = |user: &mut UserRecord| user.limits.connections = Some(3);
        world.manager.set_user(USER, PASSWORD, set);
        let get = format!(
            "GET http://http.test/ HTTP/1.1\r\nHost: http.test\r\n{}\r\n",
            proxy_authorization("")
        );
        let _two = [session(&world, USER).await, session(&world, USER).await];
        let mut third = world.client().await;
        for _ in 0..3 {
            // Requests of one client are one connection.
            third.send(&get).await;
            assert!(third.response().await.0.starts_with("HTTP/1.1 200"));
        }
        let mut fourth = world.client().await;
        assert_eq!(
            fourth.socks5("", "echo.test").await,
            2,
            "{io:?}: not allowed"
        );
        let mut fifth = world.client().await;
        fifth.send(&get).await;
        let (head, _) = fifth.response().await;
        assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
        assert!(
            head.contains("X-Titan-Error: too_many_connections\r\n"),
            "{head}"
        );
        assert!(head.contains("Proxy-Status: titan; error=connection_limit_reached"));
        let refused = world
            .metric("logins{outcome=\"too_many_connections\"}")
            .await;
        assert_eq!(refused, 2);
        let _other = session(&world, "bob").await;
        drop(third);
        eventually("a place that was given back", async || {
            world.client().await.socks5("", "echo.test").await == 0
        })
        .await;
        world.stop().await;
    }
}

#[tokio::test]
async fn logins_are_refused_for_their_true_reason() {
    type Case = (&'static str, u8, fn(&mut UserRecord));
    let cases: [Case; 5] = [
        ("user_disabled", 1, |user| user.enabled = false),
        ("client_address_denied", 1, |user| {
            user.limits.client_addresses = vec!["192.0.2.0/24".parse().expect("a net")];
        }),
        ("package_expired", 0, |user| {
            user.valid_until = Some(unix_s());
        }),
        ("package_not_started", 0, |user| {
            user.valid_from = Some(unix_s() + 60);
        }),
        ("quota_exhausted", 0, |user| user.bytes_left = Some(0)),
    ];
    for io in DRIVERS {
        let (world, _edges) = start(io).await;
        for (number, (reason, status, adjust)) in cases.into_iter().enumerate() {
            let user = format!("user{number}");
            world.manager.set_user(&user, PASSWORD, adjust);
            let mut client = world.client().await;
            assert_eq!(
                client.socks5_login(&user, PASSWORD).await,
                status,
                "{reason}"
            );
            if status == 0 {
                assert_eq!(client.socks5_connect("echo.test").await, 2, "{reason}");
            }
            let mut client = world.client().await;
            let login = basic(&user, PASSWORD);
            let head =
                format!("CONNECT echo.test:80 HTTP/1.1\r\nHost: echo.test:80\r\n{login}\r\n");
            client.send(head).await;
            let (head, _) = client.response().await;
            assert!(head.starts_with("HTTP/1.1 403 "), "{io:?}: {head}");
            assert!(
                head.contains(&format!("X-Titan-Error: {reason}\r\n")),
                "{head}"
            );
            let outcome = reason.strip_prefix("user_").unwrap_or(reason);
            let refused = world
                .metric(&format!("logins{{outcome=\"{outcome}\"}}"))
                .await;
            assert_eq!(refused, 2, "{reason}");
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn a_kicked_nodes_tunnels_end_and_only_a_newer_token_brings_it_back() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.shards = 2).await;
        let mut edge = world.edge().await;
        let mut client = session(&world, USER).await;
        let node = node(0);
        world.manager.tell(Change::NodeKicked { node });
        within("the tunnel to close", edge.saw(|news| news.closed)).await;
        assert!(client.rest_or_error().await.is_err(), "a reset");
        world.tunnels(0).await;
        let (pop, manager) = (world.pop.tunnel_addr(), &world.manager);
        let old = manager.token_with(0, |claims| claims.iat -= 1);
        assert_eq!(Edge::connect(pop, &old).await.err(), Some(403), "{io:?}");
        let refused = "tunnel_refusals{reason=\"sent_away\"}";
        assert_eq!(world.metric(refused).await, 1);
        assert!(
            Edge::connect(pop, &manager.token(1)).await.is_ok(),
            "another"
        );
        let new = manager.token_with(0, |claims| claims.iat += 2);
        assert!(
            Edge::connect(pop, &new).await.is_ok(),
            "{io:?}: a new assignment"
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn after_a_gap_every_user_with_sessions_is_asked_for_again() {
    for io in DRIVERS {
        let (world, _edges) = start(io).await;
        let mut other = session(&world, "bob").await;
        let mut clients = [session(&world, USER).await];
        let disable = |user: &mut UserRecord| user.enabled = false;
        world.manager.set_user_silently(USER, PASSWORD, disable);
        clients[0].echo(b"nobody has said anything").await;
        world.manager.tell_gap();
        assert_reset(&mut clients, Instant::now()).await;
        other.echo(b"still there").await;
        world.stop().await;
    }
}

#[tokio::test]
async fn events_that_the_manager_told_while_it_was_out_of_reach_are_caught_up_with() {
    let (world, _edges) = start(DRIVERS[0]).await;
    let mut clients = [session(&world, USER).await];
    world.manager.set_away(true);
    world
        .manager
        .set_user(USER, PASSWORD, |user| user.enabled = false);
    clients[0].echo(b"the record cannot be had").await;
    world.manager.set_away(false);
    assert!(clients[0].rest_or_error().await.is_err(), "a reset");
    world.stop().await;
}

/// The node of the test manager's tokens of that number.
fn node(number: u64) -> NodeId {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    NodeId::from_public_key(&key)
}
