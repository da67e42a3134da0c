//! HTTP proxy clients through the gateway, on both drivers.

mod common;

use std::io::ErrorKind;

use common::{
    DRIVERS, PASSWORD, World,
    client::{Client, basic, proxy_authorization},
};

/// A CONNECT request head.
fn connect(target: &str, authorization: &str) -> String {
    format!("CONNECT {target}:80 HTTP/1.1\r\nHost: {target}:80\r\n{authorization}\r\n")
}

/// Sends all a client has to say and reads until the end.
async fn ask(world: &World, request: impl AsRef<[u8]>) -> String {
    let mut client = world.client().await;
    client.send(request).await;
    client.finish().await;
    client.rest().await
}

async fn connected(world: &World, target: &str, parameters: &str) -> Client {
    let mut client = world.client().await;
    client
        .send(connect(target, &proxy_authorization(parameters)))
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    client
}

#[tokio::test]
async fn connect_carries_bytes_both_ways() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = connected(&world, "echo.test", "").await;
        client.echo(b"hello").await;
        client.finish().await;
        assert_eq!(client.rest().await, "");
        // The first bytes may come with the request.
        let mut client = world.client().await;
        client
            .send(connect("echo.test", &proxy_authorization("")) + "early")
            .await;
        client.head().await;
        assert_eq!(client.read(5).await, b"early");
        world.stop().await;
    }
}

#[tokio::test]
async fn who_does_not_log_in_gets_a_challenge() {
    for io in DRIVERS {
        let world = World::start(io).await;
        for authorization in [
            "".to_owned(),
            basic("alice", "wrong"),
            basic("nobody", PASSWORD),
        ] {
            let answer = ask(&world, connect("echo.test", &authorization)).await;
            assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
            assert!(answer.contains("Proxy-Authenticate: Basic"), "{answer}");
        }
        let answer = ask(
            &world,
            connect("echo.test", &proxy_authorization("-colour-red")),
        )
        .await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("colour"),
            "{answer}"
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn confirmed_failures_say_what_failed() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let refused = connect("refused.test", &proxy_authorization("-confirm"));
        let answer = ask(&world, &refused).await;
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("no_edge"),
            "{answer}"
        );
        let _edge = world.edge().await;
        let answer = ask(&world, &refused).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(
            answer.contains("Proxy-Status: titan; error=connection_refused"),
            "{answer}"
        );
        assert!(
            answer.contains("X-Titan-Error: connection_refused"),
            "{answer}"
        );
        connected(&world, "echo.test", "-confirm")
            .await
            .echo(b"after all")
            .await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_connect_that_breaks_after_success_is_a_reset() {
    let world = World::start(DRIVERS[0]).await;
    let _edge = world.edge().await;
    let mut client = connected(&world, "cut.test", "").await;
    client.send("x").await;
    let error = client.rest_or_error().await.expect_err("no clean end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    world.stop().await;
}

#[tokio::test]
async fn malformed_clients_are_closed_and_counted() {
    for io in DRIVERS {
        let world = World::start(io).await;
        assert_eq!(
            ask(&world, [0x16, 3, 1]).await,
            "",
            "TLS where it is not expected"
        );
        assert_eq!(
            world
                .metric("client_closes{reason=\"unknown_protocol\"}")
                .await,
            1
        );
        let answer = ask(&world, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let answer = ask(&world, "GET http://x/ HTTP/3.0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 505 ") || answer.starts_with("HTTP/1.1 400 "));
        let answer = ask(
            &world,
            format!("GET http://x/ HTTP/1.1\r\nA: {}", "x".repeat(20_000)),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        assert_eq!(
            world
                .metric("client_closes{reason=\"malformed_http\"}")
                .await,
            3
        );
        let mut client = world.client().await;
        client.send([5, 0, 9, 9]).await;
        assert_eq!(client.read(2).await, [5, 255]);
        assert_eq!(
            world
                .metric("client_closes{reason=\"malformed_socks5\"}")
                .await,
            1
        );
        drop(client);
        world.metric_becomes("handshakes_active", 0).await;
        world.stop().await;
    }
}
