//! Sessions whose edge fails before the target has answered: they go on with another edge, and the
//! client sees nothing of it. Once the target has answered, they are cut.

mod common;

use common::{Client, DRIVERS, Edge, Manner, PASSWORD, USER, World};
use titan_pop::{config::IoChoice, limits::KEPT_BYTES};
use titan_proto::reason::Reason;

/// Calls `test` with both drivers, on one shard and on two. With two, the second edge's tunnel is
/// the other shard's, so that the client has to move.
async fn everywhere(test: impl AsyncFn(&World, String)) {
    for io in DRIVERS {
        for shards in [1, 2] {
            let world = start(io, shards).await;
            test(&world, format!("{io:?}, {shards} shard(s)")).await;
            world.metric_becomes("kept_bytes", 0).await;
            world.stop().await;
        }
    }
}

async fn start(io: IoChoice, shards: u16) -> World {
    World::start_with(io, |config| config.shards = shards).await
}

/// Has a second edge come and the first one die.
async fn replace(world: &World, first: &Edge) -> Edge {
    let second = world.edge().await;
    first.die();
    second
}

async fn reopened(world: &World) -> u64 {
    world.metric("sessions_reopened").await
}

#[tokio::test]
async fn a_client_that_was_told_at_once_goes_on_with_another_edge() {
    for manner in [Manner::Holds, Manner::Dials] {
        everywhere(async |world, place| {
            let mut first = world.edge_that(manner).await;
            let mut client = world.client().await;
            assert_eq!(client.socks5("", "echo.test").await, 0);
            first.saw(|news| news.opened == 1).await;
            client.send(b"sent to the first edge").await;
            if manner == Manner::Holds {
                first.saw(|news| news.held == 22).await;
            }
            let second = replace(world, &first).await;
            assert_eq!(client.read(22).await, b"sent to the first edge", "{place}");
            client.echo(b"and this to the second").await;
            client.finish().await;
            assert_eq!(client.rest().await, "");
            assert_eq!((reopened(world).await, second.opened()), (1, 1), "{place}");
            let gone = "sessions_failed{reason=\"edge_gone\"}";
            assert_eq!(world.metric(gone).await, 0, "{place}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_that_waits_is_told_once_and_by_the_edge_that_has_it() {
    everywhere(async |world, place| {
        let mut first = world.edge_that(Manner::Dials).await;
        let mut client = world.client().await;
        let user = format!("{USER}-confirm");
        assert_eq!(client.socks5_login(&user, PASSWORD).await, 0);
        let request = common::client::socks5_request("echo.test");
        client.send([&request[..], b"early"].concat()).await;
        first.saw(|news| news.opened == 1).await;
        replace(world, &first).await;
        assert_eq!(client.socks5_reply().await, 0, "{place}");
        assert_eq!(client.read(5).await, b"early", "{place}");
        client.finish().await;
        assert_eq!(client.rest().await, "", "{place}");
        assert_eq!(reopened(world).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_was_told_after_the_dial_is_not_told_again() {
    everywhere(async |world, place| {
        let mut first = world.edge_that(Manner::Holds).await;
        let mut client = world.client().await;
        let authorization = common::client::proxy_authorization("-confirm");
        let head = "CONNECT echo.test:80 HTTP/1.1\r\nHost: echo.test:80\r\n";
        client.send(format!("{head}{authorization}\r\n")).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "), "{place}");
        client.send(b"question").await;
        first.saw(|news| news.held == 8).await;
        replace(world, &first).await;
        assert_eq!(client.read(8).await, b"question", "{place}");
        client.finish().await;
        assert_eq!(client.rest().await, "", "{place}");
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_clients_direction_is_not_forgotten() {
    everywhere(async |world, place| {
        let mut first = world.edge_that(Manner::Holds).await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        client.send(b"all there is").await;
        client.finish().await;
        first.saw(|news| (news.held, news.ended) == (12, 1)).await;
        replace(world, &first).await;
        assert_eq!(client.rest().await, "all there is", "{place}");
        world.metric_becomes("sessions_active", 0).await;
        assert_eq!(world.metric("bytes_up").await, 12, "counted once: {place}");
        let moved = world.metric("client_handovers").await;
        assert!(moved > 0 || place.contains("1 shard"), "{place}");
    })
    .await;
}

#[tokio::test]
async fn a_forwarded_request_goes_on_in_the_middle_of_its_body() {
    everywhere(async |world, place| {
        let mut first = world.edge_that(Manner::Holds).await;
        let mut client = world.client().await;
        let authorization = common::client::proxy_authorization("");
        let head =
            "POST http://http.test/form HTTP/1.1\r\nHost: http.test\r\nContent-Length: 10\r\n";
        client.send(format!("{head}{authorization}\r\n01")).await;
        first.saw(|news| news.opened == 1).await;
        client.send(b"234").await;
        let sent = "POST /form HTTP/1.1\r\nHost: http.test\r\nContent-Length: 10\r\n";
        first.saw(|news| news.held > sent.len()).await;
        replace(world, &first).await;
        client.send(b"56789").await;
        let (head, seen) = client.response().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{place}: {head}");
        assert_eq!(seen.matches("POST /form").count(), 1, "{place}: {seen}");
        assert!(seen.ends_with("\r\n\r\n0123456789"), "{place}: {seen}");
        assert_eq!(reopened(world).await, 1, "{place}");
        let up = world.metric("bytes_up").await;
        assert_eq!(up, seen.len() as u64, "counted once: {place}");
    })
    .await;
}

#[tokio::test]
async fn a_request_in_a_kept_session_goes_on_with_another_edge_and_never_where_that_is_forbidden() {
    for io in DRIVERS {
        for reopen in [true, false] {
            let world = World::start_with(io, |config| config.reopen = reopen).await;
            let mut first = world.edge().await;
            let mut client = world.client().await;
            let authorization = common::client::proxy_authorization("");
            let get = format!(
                "GET http://quiet.test/ HTTP/1.1\r\nHost: quiet.test\r\n{authorization}\r\n"
            );
            client.send(&get).await;
            client.response().await;
            client.send(&get).await;
            first.saw(|news| news.unanswered == 1).await;
            replace(&world, &first).await;
            let (head, _) = client.response().await;
            assert_eq!(head.starts_with("HTTP/1.1 200 "), reopen, "{head}");
            assert_eq!(
                head.contains("X-Titan-Error: edge_gone\r\n"),
                !reopen,
                "{head}"
            );
            assert_eq!(reopened(&world).await, u64::from(reopen));
            let gone = "sessions_failed{reason=\"edge_gone\"}";
            assert_eq!(world.metric(gone).await, u64::from(!reopen));
            world.stop().await;
        }
    }
}

#[tokio::test]
async fn what_the_edge_itself_cannot_carry_another_one_does() {
    everywhere(async |world, place| {
        let mut full = world.edge_that(Manner::Dials).await;
        let mut client = world.client().await;
        let (code, second) = tokio::join!(client.socks5("-confirm", "echo.test"), async {
            full.saw(|news| news.opened == 1).await;
            let second = world.edge().await;
            full.refuse(Reason::TooManySessions);
            second
        });
        assert_eq!((code, second.opened()), (0, 1), "{place}");
        client.echo(b"here").await;
        assert_eq!(reopened(world).await, 1, "{place}");
    })
    .await;
}

#[tokio::test]
async fn what_the_target_says_is_final() {
    everywhere(async |world, place| {
        let first = world
            .edge_that(Manner::Refuses(Reason::ConnectionRefused))
            .await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("-confirm", "echo.test").await, 5, "{place}");
        assert_eq!((first.opened(), reopened(world).await), (1, 0), "{place}");
    })
    .await;
}

#[tokio::test]
async fn after_the_first_byte_of_the_answer_it_is_a_reset() {
    everywhere(async |world, place| {
        let first = world.edge().await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        client.echo(b"x").await;
        let second = replace(world, &first).await;
        assert!(client.rest_or_error().await.is_err(), "{place}");
        assert_eq!((second.opened(), reopened(world).await), (0, 0), "{place}");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_has_sent_more_than_is_kept_is_cut() {
    everywhere(async |world, place| {
        let mut first = world.edge_that(Manner::Holds).await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        client.send(vec![7; KEPT_BYTES]).await;
        first.saw(|news| news.held == KEPT_BYTES).await;
        assert!(world.metric("kept_bytes").await > KEPT_BYTES as u64);
        client.send([7]).await;
        first.saw(|news| news.held == KEPT_BYTES + 1).await;
        world.metric_becomes("kept_bytes", 0).await;
        let second = replace(world, &first).await;
        assert!(client.rest_or_error().await.is_err(), "{place}");
        assert_eq!((second.opened(), reopened(world).await), (0, 0), "{place}");
    })
    .await;
}

#[tokio::test]
async fn a_full_bound_of_bytes_arrives_whole_and_once() {
    everywhere(async |world, place| {
        let mut first = world.edge_that(Manner::Holds).await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        let words = (0..=u16::MAX).flat_map(u16::to_be_bytes);
        let bytes: Vec<u8> = words.take(KEPT_BYTES).collect();
        client.send(&bytes).await;
        first.saw(|news| news.held == KEPT_BYTES).await;
        replace(world, &first).await;
        assert!(client.read(KEPT_BYTES).await == bytes, "{place}");
        client.finish().await;
        assert_eq!(client.rest().await, "", "{place}");
    })
    .await;
}

#[tokio::test]
async fn nothing_is_kept_once_the_target_has_answered() {
    let world = start(DRIVERS[0], 1).await;
    let mut first = world.edge_that(Manner::Holds).await;
    let mut waiting = world.client().await;
    assert_eq!(waiting.socks5("", "echo.test").await, 0);
    waiting.send(b"a question").await;
    first.saw(|news| news.held == 10).await;
    assert!(world.metric("kept_bytes").await > 10);
    replace(&world, &first).await;
    assert_eq!(waiting.read(10).await, b"a question");
    world.metric_becomes("kept_bytes", 0).await;
    waiting.echo(b"more").await;
    assert_eq!(world.metric("kept_bytes").await, 0);
    world.stop().await;
}

#[tokio::test]
async fn where_no_edge_is_left_the_true_reason_is_told() {
    everywhere(async |world, place| {
        let mut only = world.edge_that(Manner::Dials).await;
        let mut told = world.client().await;
        assert_eq!(told.socks5("", "echo.test").await, 0);
        let mut waiting = world.client().await;
        let user = format!("{USER}-confirm");
        assert_eq!(waiting.socks5_login(&user, PASSWORD).await, 0);
        let request = common::client::socks5_request("echo.test");
        waiting.send(request).await;
        only.saw(|news| news.opened == 2).await;
        only.die();
        // RFC 1928 §6: network unreachable, which is what the edge's end is mapped to.
        assert_eq!(waiting.socks5_reply().await, 3, "{place}");
        assert!(told.rest_or_error().await.is_err(), "{place}");
        let gone = "sessions_failed{reason=\"edge_gone\"}";
        assert_eq!((world.metric(gone).await, reopened(world).await), (2, 0));
    })
    .await;
}

#[tokio::test]
async fn a_session_is_not_passed_on_for_ever() {
    everywhere(async |world, place| {
        let mut edges = Vec::new();
        for _ in 0..6 {
            let manner = Manner::Refuses(Reason::Draining);
            edges.push(world.edge_that(manner).await);
        }
        let mut client = world.client().await;
        assert_eq!(client.socks5("-confirm", "echo.test").await, 1, "{place}");
        let tried: Vec<_> = edges.iter().map(Edge::opened).collect();
        assert_eq!(tried.iter().sum::<usize>(), 4, "{place}: {tried:?}");
        assert!(tried.iter().all(|tries| *tries <= 1), "{place}: {tried:?}");
    })
    .await;
}

#[tokio::test]
async fn an_operator_can_forbid_it() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.reopen = false).await;
        let mut first = world.edge_that(Manner::Holds).await;
        let mut client: Client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        client.send(b"once and no more").await;
        first.saw(|news| news.held == 16).await;
        assert_eq!(world.metric("kept_bytes").await, 0);
        let second = replace(&world, &first).await;
        assert!(client.rest_or_error().await.is_err(), "{io:?}");
        assert_eq!(second.opened(), 0, "{io:?}");
        world.stop().await;
    }
}
