//! SOCKS5 clients through the gateway, on both drivers.

mod common;

use std::io::ErrorKind;

use common::{DRIVERS, PASSWORD, USER, World, client::socks5_request};

#[tokio::test]
async fn bytes_come_back_and_each_direction_ends_by_itself() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        client.echo(b"hello").await;
        client.finish().await;
        assert_eq!(
            client.rest().await,
            "",
            "{io:?}: a clean end, behind everything"
        );

        // The target ends first; the other direction goes on.
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "greeter.test").await, 0);
        assert_eq!(client.rest().await, "hello");
        client.send([7; 1000]).await;
        client.finish().await;
        world.metric_becomes("sessions_active", 0).await;
        assert_eq!(world.metric("bytes_up").await, 5 + 1000);
        assert_eq!(world.metric("bytes_down").await, 5 + 5);
        world.stop().await;
    }
}

#[tokio::test]
async fn bulk_is_whole_in_both_directions_at_once() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        let sent: Vec<u8> = (0..8_000_000_u32)
            .map(|i| i.to_le_bytes()[1] ^ i.to_le_bytes()[0])
            .collect();
        let (mut reader, mut writer) = client.stream.into_split();
        let expected = sent.clone();
        let upload = tokio::spawn(async move {
            tokio::io::AsyncWriteExt::write_all(&mut writer, &sent)
                .await
                .expect("sends");
            writer
        });
        let mut received = vec![0; expected.len()];
        let read = tokio::io::AsyncReadExt::read_exact(&mut reader, &mut received);
        common::within("the echo", read).await.expect("reads");
        assert!(received == expected, "{io:?}: the echo differs");
        drop(upload.await.expect("uploads"));
        world.stop().await;
    }
}

#[tokio::test]
async fn everything_in_one_segment_is_a_handshake_with_early_data() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        let login = [&[1, 5], USER.as_bytes(), &[13], PASSWORD.as_bytes()].concat();
        let all = [
            &[5, 1, 2][..],
            &login,
            &socks5_request("echo.test"),
            b"early",
        ]
        .concat();
        client.send(all).await;
        assert_eq!(client.read(4).await, [5, 2, 1, 0]);
        assert_eq!(client.socks5_reply().await, 0);
        assert_eq!(client.read(5).await, b"early");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_handshake_byte_by_byte_is_understood() {
    let world = World::start(DRIVERS[0]).await;
    let _edge = world.edge().await;
    let mut client = world.client().await;
    let login = [&[1, 5], USER.as_bytes(), &[13], PASSWORD.as_bytes()].concat();
    for byte in [&[5, 1, 2][..], &login, &socks5_request("echo.test")].concat() {
        client.send([byte]).await;
    }
    assert_eq!(client.read(4).await, [5, 2, 1, 0]);
    assert_eq!(client.socks5_reply().await, 0);
    client.echo(b"x").await;
    world.stop().await;
}

#[tokio::test]
async fn a_login_that_is_wrong_gets_status_one() {
    for io in DRIVERS {
        let world = World::start(io).await;
        for (user, password) in [
            (USER, "wrong"),
            ("nobody", PASSWORD),
            ("alice-colour-red", PASSWORD),
        ] {
            let mut client = world.client().await;
            assert_eq!(client.socks5_login(user, password).await, 1, "{user}");
            assert_eq!(client.rest().await, "");
        }
        assert_eq!(world.metric("logins{outcome=\"refused\"}").await, 3);
        world
            .manager
            .set_user("bob", PASSWORD, |bob| bob.enabled = false);
        let mut client = world.client().await;
        assert_eq!(client.socks5_login("bob", PASSWORD).await, 1);
        assert_eq!(world.metric("logins{outcome=\"disabled\"}").await, 1);
        world.stop().await;
    }
}

#[tokio::test]
async fn confirmed_replies_carry_the_true_code() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let mut client = world.client().await;
        assert_eq!(
            client.socks5("-confirm", "echo.test").await,
            1,
            "there is no edge"
        );
        let _edge = world.edge().await;
        let mut client = world.client().await;
        assert_eq!(client.socks5("-confirm", "refused.test").await, 5);
        assert_eq!(client.rest().await, "");
        let mut client = world.client().await;
        assert_eq!(client.socks5("-confirm", "echo.test").await, 0);
        client.echo(b"after all").await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_failure_after_an_optimistic_reply_is_a_reset() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let edge = world.edge().await;
        for (target, first) in [("refused.test", ""), ("cut.test", "x")] {
            let mut client = world.client().await;
            assert_eq!(client.socks5("", target).await, 0);
            client.send(first).await;
            let error = client.rest_or_error().await.expect_err("no clean end");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{io:?} {target}");
        }
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "echo.test").await, 0);
        client.echo(b"running").await;
        edge.die();
        let error = client.rest_or_error().await.expect_err("no clean end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{io:?}");
        world
            .metric_becomes("sessions_failed{reason=\"edge_gone\"}", 1)
            .await;
        world.stop().await;
    }
}

#[tokio::test]
async fn the_reply_mode_is_the_connections_then_the_users_then_the_operators() {
    use titan_proto::control::ReplyMode::{Confirmed, Optimistic};
    let world = World::start_with(DRIVERS[0], |config| config.reply_mode = Confirmed).await;
    let _edge = world.edge().await;
    let reply = async |user: &str| {
        let mut client = world.client().await;
        assert_eq!(client.socks5_login(user, PASSWORD).await, 0);
        client.socks5_connect("refused.test").await
    };
    assert_eq!(reply("alice").await, 5, "the operator wants the truth");
    world
        .manager
        .set_user("bob", PASSWORD, |bob| bob.reply_mode = Some(Optimistic));
    assert_eq!(reply("bob").await, 0, "bob does not");
    assert_eq!(reply("bob-confirm").await, 5, "but now he does");
    world.stop().await;
}

#[tokio::test]
async fn a_command_that_is_not_served_is_refused_by_name() {
    let world = World::start(DRIVERS[0]).await;
    let _edge = world.edge().await;
    let mut client = world.client().await;
    assert_eq!(client.socks5_login(USER, PASSWORD).await, 0);
    let mut request = socks5_request("echo.test");
    request[1] = BIND;
    client.send(request).await;
    assert_eq!(client.socks5_reply().await, 7);
    assert_eq!(
        world
            .metric("client_closes{reason=\"unsupported_command\"}")
            .await,
        1
    );
    world.stop().await;
}

/// The command of RFC 1928 §4 for a connection from the target.
const BIND: u8 = 2;
