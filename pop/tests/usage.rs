//! What users relay is reported to the manager: by every way, once, and never lost.

mod common;

use std::net::SocketAddr;

use common::{
    Client, DRIVERS, Manner, PASSWORD, USER, World, client::proxy_authorization, eventually, within,
};
use titan_proto::{control::UsageTotals, socks5::encode_udp_header};
use tokio::net::UdpSocket;

fn totals(up_bytes: u64, down_bytes: u64, sessions: u64) -> UsageTotals {
    UsageTotals {
        up_bytes,
        down_bytes,
        sessions,
    }
}

/// Waits until the manager has heard of exactly this, and of no running session.
async fn is_reported(world: &World, user: &str, expected: UsageTotals) {
    eventually(&format!("{expected:?}"), async || {
        let (usage, running) = (world.manager.usage(user), world.manager.connections(user));
        (usage, running) == (expected, 0)
    })
    .await;
}

/// Waits until all that the PoP has counted is reported, and compares the two.
async fn everything_is_reported(world: &World) {
    world.metric_becomes("sessions_active", 0).await;
    let (up, down) = (
        world.metric("bytes_up").await,
        world.metric("bytes_down").await,
    );
    let sessions = world.metric("sessions_opened").await;
    is_reported(world, USER, totals(up, down, sessions)).await;
}

#[tokio::test]
async fn sessions_of_every_kind_are_charged_to_their_user() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.shards = 2).await;
        world.manager.set_user("bob", PASSWORD, |_| {});
        let _edge = world.edge().await;
        // SOCKS5, of another user.
        let mut client = world.client().await;
        assert_eq!(client.socks5_login("bob", PASSWORD).await, 0);
        assert_eq!(client.socks5_connect("echo.test").await, 0);
        client.echo(b"hello").await;
        drop(client);
        is_reported(&world, "bob", totals(5, 5, 1)).await;
        assert_eq!(world.manager.usage(USER), UsageTotals::default());
        // CONNECT, with bytes behind the head.
        let mut client = world.client().await;
        let authorization = proxy_authorization("");
        let head =
            format!("CONNECT echo.test:80 HTTP/1.1\r\nHost: echo.test:80\r\n{authorization}\r\n");
        client.send(head + "early").await;
        client.head().await;
        assert_eq!(client.read(5).await, b"early");
        client.finish().await;
        client.rest().await;
        is_reported(&world, USER, totals(5, 5, 1)).await;
        // Two requests in one session.
        let mut client = world.client().await;
        let mut down = 0;
        let request =
            format!("GET http://http.test/ HTTP/1.1\r\nHost: http.test\r\n{authorization}\r\n");
        for _ in 0..2 {
            client.send(&request).await;
            let (head, content) = client.response().await;
            down += (head.len() + content.len()) as u64;
        }
        let up = 2 * "GET / HTTP/1.1\r\nHost: http.test\r\n\r\n".len() as u64;
        is_reported(&world, USER, totals(5 + up, 5 + down, 2)).await;
        drop(client);
        datagrams(&world).await;
        is_reported(&world, USER, totals(5 + up + 9, 5 + down + 9, 3)).await;
        world.stop().await;
    }
}

/// One datagram of nine bytes there and back.
async fn datagrams(world: &World) {
    let mut control = Client::connect(world.pop.proxy_addr()).await;
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let (code, relay) = control.socks5_associate("", unknown).await;
    assert_eq!(code, 0);
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let mut datagram = Vec::new();
    let target = "192.0.2.1:7".parse::<SocketAddr>().expect("an address");
    encode_udp_header(&target.into(), &mut datagram);
    datagram.extend_from_slice(b"nine byte");
    socket.send_to(&datagram, relay).await.expect("sends");
    let mut answer = [0; 64];
    within("an echo", socket.recv(&mut answer))
        .await
        .expect("receives");
}

#[tokio::test]
async fn a_session_that_another_edge_carries_on_counts_once() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let mut first = world.edge_that(Manner::Holds).await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        client.send(b"all there is").await;
        client.finish().await;
        first.saw(|news| (news.held, news.ended) == (12, 1)).await;
        let _second = world.edge().await;
        first.die();
        assert_eq!(client.rest().await, "all there is", "{io:?}");
        assert_eq!(world.metric("sessions_reopened").await, 1);
        is_reported(&world, USER, totals(12, 12, 1)).await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_session_that_runs_is_reported_while_it_does() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        for round in 1..=2 {
            client.echo(b"0123456789").await;
            eventually("a report", async || {
                world.manager.usage(USER) == totals(10 * round, 10 * round, 1)
            })
            .await;
            assert_eq!(world.manager.connections(USER), 1);
        }
        drop(client);
        everything_is_reported(&world).await;
        world.metric_becomes("usage_batches_waiting", 0).await;
        let sent = world.metric("usage_batches_sent").await;
        assert!(sent >= 3, "{sent}");
        world.stop().await;
    }
}

#[tokio::test]
async fn what_the_manager_has_not_counted_waits_on_disk_for_the_next_run() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        client.echo(b"before").await;
        world.manager.set_away(true);
        client.echo(b"while it is away").await;
        world.metric_becomes("usage_batches_waiting", 1).await;
        client.echo(b"last words").await;
        drop(client);
        let (manager, data) = world.stop().await;
        assert!(manager.usage(USER).bytes() <= 2 * 6);
        manager.set_away(false);
        let world = World::start_again(manager, data, io, |_| {}).await;
        is_reported(&world, USER, totals(32, 32, 1)).await;
        assert_eq!(world.metric("usage_spool_bytes").await, 0);
        world.stop().await;
    }
}

#[tokio::test]
async fn a_manager_that_has_lost_what_it_counted_gets_all_that_follows() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        client.echo(b"counted and lost").await;
        everything_is_reported_of_a_session(&world, 16).await;
        // A backup is restored that knows nothing of this run.
        world
            .manager
            .state
            .lock()
            .expect("not poisoned")
            .streams
            .clear();
        client.echo(b"then").await;
        everything_is_reported_of_a_session(&world, 20).await;
        client.echo(b"and on").await;
        everything_is_reported_of_a_session(&world, 26).await;
        world.stop().await;
    }
}

/// Waits until so many bytes of one running session are reported, in each direction.
async fn everything_is_reported_of_a_session(world: &World, bytes: u64) {
    eventually("a report", async || {
        world.manager.usage(USER) == totals(bytes, bytes, 1)
    })
    .await;
    world.metric_becomes("usage_batches_waiting", 0).await;
}

#[tokio::test]
async fn who_cannot_be_counted_is_not_let_in() {
    for io in DRIVERS {
        let (manager, data) = World::start(io).await.stop().await;
        manager.state.lock().expect("not poisoned").counts_nothing = true;
        std::fs::write(data.path().join("usage.spool"), full_spool()).expect("written");
        let world = World::start_again(manager, data, io, |config| config.spool_mib = 1).await;
        let _edge = world.edge().await;
        world.metric_becomes("usage_paused", 1).await;
        eventually("no new session", async || {
            world.client().await.socks5("", "echo.test").await == 1
        })
        .await;
        let mut client = world.client().await;
        let authorization = proxy_authorization("");
        client
            .send(format!(
                "GET http://http.test/ HTTP/1.1\r\nHost: http.test\r\n{authorization}\r\n"
            ))
            .await;
        let (head, _) = client.response().await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");

        world
            .manager
            .state
            .lock()
            .expect("not poisoned")
            .counts_nothing = false;
        world.metric_becomes("usage_paused", 0).await;
        eventually("a new session", async || {
            world.client().await.socks5("", "echo.test").await == 0
        })
        .await;
        assert_eq!(
            world.manager.usage("u9999"),
            totals(1, 2, 3),
            "what waited is counted"
        );
        world.stop().await;
    }
}

/// What a PoP has left that was killed with the manager away: one batch of more than a MiB.
fn full_spool() -> Vec<u8> {
    let user = |n: u32| {
        format!(r#"{{"name":"u{n:04}","up_bytes":1,"down_bytes":2,"sessions":3,"connections":0}}"#)
    };
    let users = (0..10_000).map(user).collect::<Vec<_>>().join(",");
    let spare = " ".repeat(400_000);
    let batch = format!(r#"{{"sequence":1,"at":5,"users":[{users}]{spare}}}"#);
    let text = format!(r#"{{"stream":"00112233445566778899aabbccddeeff","batch":{batch}}}"#);
    let length = u32::try_from(text.len()).expect("short").to_le_bytes();
    let checksum = crc32fast::hash(text.as_bytes()).to_le_bytes();
    [
        b"titan usage 1\n\0\0",
        &length[..],
        &checksum,
        text.as_bytes(),
    ]
    .concat()
}
