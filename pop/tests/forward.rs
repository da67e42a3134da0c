//! Plain HTTP requests through the gateway, on both drivers.

mod common;

use std::io::ErrorKind;

use common::{
    Client, DRIVERS, World,
    client::{basic, proxy_authorization},
};

/// A request of the test user's, without content.
fn get(host: &str) -> String {
    request("GET", host, "")
}

/// A request of the test user's with further header lines.
fn request(method: &str, host: &str, lines: &str) -> String {
    let authorization = proxy_authorization("");
    format!("{method} http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{authorization}{lines}\r\n")
}

/// A request to which `script.test` answers with exactly `script`; `then` is what it does next.
fn script(method: &str, script: &str, then: &str) -> String {
    let lines = format!("X-Then: {then}\r\nContent-Length: {}\r\n", script.len());
    request(method, "script.test", &lines) + script
}

async fn ask(client: &mut Client, request: impl AsRef<[u8]>) -> (String, String) {
    client.send(request).await;
    client.response().await
}

fn assert_status(head: &str, status: u16, persistence: &str) {
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    let line = format!("\r\nConnection: {persistence}\r\n");
    assert!(head.contains(&line), "{head}");
}

#[tokio::test]
async fn every_request_goes_to_its_own_host_and_sessions_are_used_again() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let edge = world.edge().await;
        let mut client = world.client().await;
        let mut sessions = Vec::new();
        for host in ["a.http.test", "b.http.test", "b.http.test", "a.http.test"] {
            let (head, seen) = ask(&mut client, get(host)).await;
            assert_status(&head, 200, "keep-alive");
            let expected = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(seen, expected, "nothing of the login, nothing of this hop");
            sessions.push(edge.opened());
        }
        assert_eq!(sessions, [1, 2, 2, 3]);
        assert_eq!(world.metric("sessions_opened").await, 3);
        world.stop().await;
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        let with_content = request("POST", "b.http.test", "Content-Length: 4\r\n") + "body";
        let all = [
            get("a.http.test"),
            with_content,
            "\r\n".into(),
            get("a.http.test"),
        ];
        client.send(all.concat()).await;
        client.finish().await;
        for expected in ["Host: a.http.test", "\r\n\r\nbody", "Host: a.http.test"] {
            let (head, seen) = client.response().await;
            assert_status(&head, 200, "keep-alive");
            assert!(seen.trim_end().ends_with(expected), "{seen}");
        }
        assert_eq!(client.rest().await, "");
        world.metric_becomes("sessions_active", 0).await;
        world.stop().await;
    }
}

#[tokio::test]
async fn every_request_says_who_sends_it() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        let anonymous = "GET http://http.test/ HTTP/1.1\r\nHost: http.test\r\n";
        let negotiating = format!("{anonymous}Proxy-Authorization: Negotiate x\r\n\r\n");
        let wrong = format!("{anonymous}{}\r\n", basic("alice", "wrong"));
        let anonymous = format!("{anonymous}\r\n");
        for refused in [&anonymous, &negotiating, &wrong] {
            let (head, _) = ask(&mut client, refused).await;
            assert_status(&head, 407, "keep-alive");
            assert!(head.contains("\r\nProxy-Authenticate: Basic "), "{head}");
            let (head, _) = ask(&mut client, get("http.test")).await;
            assert_status(&head, 200, "keep-alive");
        }
        // Content that nobody reads would be taken for the next request.
        let unread =
            "POST http://http.test/ HTTP/1.1\r\nHost: http.test\r\nContent-Length: 4\r\n\r\n";
        let (head, _) = ask(&mut client, unread).await;
        assert_status(&head, 407, "close");
        assert_eq!(client.rest().await, "");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_tunnel_may_follow_on_the_same_connection() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        let (head, _) = ask(&mut client, "CONNECT echo.test:80 HTTP/1.1\r\n\r\n").await;
        assert_status(&head, 407, "keep-alive");
        ask(&mut client, get("http.test")).await;
        let authorization = proxy_authorization("");
        let connect = format!("CONNECT echo.test:80 HTTP/1.1\r\n{authorization}\r\nearly");
        client.send(connect).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
        assert_eq!(client.read(5).await, b"early");
        client.echo(b"and more").await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_request_that_fails_gets_a_true_answer_and_the_connection_stays() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let mut client = world.client().await;
        let (head, _) = ask(&mut client, get("http.test")).await;
        assert_status(&head, 503, "keep-alive");
        assert!(head.contains("X-Titan-Error: no_edge"), "{head}");
        let _edge = world.edge().await;
        for (host, error) in [
            ("refused.test", "connection_refused"),
            ("cut.test", "target_reset"),
            ("mute.test", "target_reset"),
        ] {
            let (head, _) = ask(&mut client, get(host)).await;
            assert_status(&head, 502, "keep-alive");
            assert!(head.contains("\r\nProxy-Status: titan; error="), "{head}");
            assert!(
                head.contains(&format!("X-Titan-Error: {error}\r\n")),
                "{head}"
            );
            let (head, _) = ask(&mut client, get("http.test")).await;
            assert_status(&head, 200, "keep-alive");
        }
        let upload = request("POST", "refused.test", "Content-Length: 4\r\n");
        let (head, _) = ask(&mut client, upload).await;
        assert_status(&head, 502, "close");
        assert_eq!(client.rest().await, "");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_body_that_comes_in_pieces_arrives_whole() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        let body = "0123456789".repeat(20_000);
        let length = format!("Content-Length: {}\r\n", body.len());
        client.send(request("PUT", "http.test", &length)).await;
        for piece in body.as_bytes().chunks(30_000) {
            client.send(piece).await;
        }
        let (head, seen) = client.response().await;
        assert_status(&head, 200, "keep-alive");
        assert!(seen.ends_with(&format!("\r\n\r\n{body}")), "{io:?}");
        let chunked = request(
            "PUT",
            "http.test",
            "Transfer-Encoding: chunked\r\nTrailer: X\r\n",
        );
        client.send(chunked).await;
        let content = "3;a=b\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
        for piece in content.as_bytes().chunks(3) {
            client.send(piece).await;
        }
        let (head, seen) = client.response().await;
        assert_status(&head, 200, "keep-alive");
        assert!(
            seen.contains("\r\nTransfer-Encoding: chunked\r\n"),
            "{seen}"
        );
        assert!(seen.ends_with(&format!("\r\n\r\n{content}")), "{seen}");
        ask(&mut client, get("http.test")).await;
        world.stop().await;
    }
}

#[tokio::test]
async fn content_waits_for_the_servers_consent_where_the_client_does() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        let lines = "Expect: 100-continue\r\nContent-Length: 4\r\n";
        client.send(request("PUT", "http.test", lines)).await;
        assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
        let (head, seen) = ask(&mut client, "body").await;
        assert_status(&head, 200, "keep-alive");
        assert!(seen.ends_with("\r\n\r\nbody"), "{seen}");
        // Whether the client sends its content after a refusal nobody can know.
        let (head, _) = ask(&mut client, request("PUT", "unwilling.test", lines)).await;
        assert_status(&head, 417, "close");
        assert_eq!(client.rest().await, "");
        world.stop().await;
    }
}

#[tokio::test]
async fn responses_end_where_they_say_and_the_next_one_follows() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let edge = world.edge().await;
        let mut client = world.client().await;
        let chunks = "2;x\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n";
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (method, response, content) in [
            ("GET", format!("{chunked}{chunks}"), chunks),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n".into(), ""),
            (
                "GET",
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n".into(),
                "",
            ),
            (
                "HEAD",
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".into(),
                "",
            ),
            ("HEAD", "HTTP/1.1 200 OK\r\n\r\n".into(), ""),
            (
                "GET",
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab".into(),
                "ab",
            ),
        ] {
            client.send(script(method, &response, "wait")).await;
            let head = client.head().await;
            let status = response[9..12].parse().expect("a status");
            assert_status(&head, status, "keep-alive");
            assert_eq!(client.read(content.len()).await, content.as_bytes());
        }
        assert_eq!(edge.opened(), 1);
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let last = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        client
            .send(script("GET", &format!("{early}{last}"), "wait"))
            .await;
        assert_eq!(client.head().await, early);
        assert_status(&client.head().await, 200, "keep-alive");
        // A server's surplus is nobody's answer.
        let surplus = format!("{last}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
        ask(&mut client, script("GET", &surplus, "wait")).await;
        let (_, seen) = ask(&mut client, get("http.test")).await;
        assert!(seen.starts_with("GET / HTTP/1.1\r\n"), "{seen}");
        // Content that ends with its connection ends the client's.
        let endless = "HTTP/1.0 200 OK\r\n\r\nall of it";
        client.send(script("GET", endless, "end")).await;
        assert_status(&client.head().await, 200, "close");
        assert_eq!(client.rest().await, "all of it");
        world.stop().await;
    }
}

#[tokio::test]
async fn http_1_0_clients_get_what_they_understand() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let chunked = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\
            Transfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n3\r\ncde\r\n0\r\nX-Sum: 1\r\n\r\n";
        let mut client = world.client().await;
        let old = script("GET", chunked, "wait").replace("HTTP/1.1\r\nHost", "HTTP/1.0\r\nHost");
        client.send(old).await;
        let answer = client.rest().await;
        assert_eq!(answer, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcde");
        world.stop().await;
    }
}

#[tokio::test]
async fn malformed_responses_are_answered_in_their_place() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        let ok = "HTTP/1.1 200 OK\r\n";
        for response in [
            "<html>\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\n\n".into(),
            format!("{ok}A : b\r\n\r\n"),
            format!("{ok}A: b\r\n c\r\n\r\n"),
            format!("{ok}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            format!("{ok}Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
            format!("{ok}Transfer-Encoding: gzip\r\n\r\n"),
            format!("{ok}Transfer-Encoding: chunked\r\n\r\nx\r\n"),
            format!("{ok}X: {}\r\n\r\n", "x".repeat(70_000)),
            "HTTP/1.1 101 Switching Protocols\r\n\r\n".into(),
            "HTTP/1.1 407 Log in\r\nProxy-Authenticate: Basic\r\n\r\n".into(),
        ] {
            let (head, _) = ask(&mut client, script("GET", &response, "wait")).await;
            assert_status(&head, 502, "keep-alive");
            assert!(head.contains("error=http_protocol_error;"), "{head}");
            assert!(head.contains("X-Titan-Error: bad_response\r\n"), "{head}");
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn a_response_that_is_cut_is_never_taken_for_a_whole_one() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        let until_close = "HTTP/1.1 200 OK\r\n\r\nhalf";
        for response in [length, chunked, until_close] {
            let edge = world.edge().await;
            let mut client = world.client().await;
            client.send(script("GET", response, "wait")).await;
            assert!(client.head().await.starts_with("HTTP/1.1 200 "));
            let (_, half) = response.split_once("\r\n\r\n").expect("a head");
            assert_eq!(client.read(half.len()).await, half.as_bytes());
            edge.die();
            let error = client.rest_or_error().await.expect_err("no clean end");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{response}");
            world.tunnels(0).await;
        }
        // Where the client has got nothing yet, it gets the truth.
        let _edge = world.edge().await;
        let mut client = world.client().await;
        for (response, then) in [("HTTP/1.1 200 OK\r\nX-He", "end"), (length, "end")] {
            let (head, _) = ask(&mut client, script("GET", response, then)).await;
            assert_status(&head, 502, "keep-alive");
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn shapes_used_for_smuggling_are_refused_and_end_the_connection() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let edge = world.edge().await;
        let with = |lines: &str| request("POST", "http.test", lines);
        for text in [
            with("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
            with("Content-Length: 3\r\nContent-Length: 3\r\n"),
            with("Content-Length: +3\r\n"),
            with("Content-Length: 3, 3\r\n"),
            with("Transfer-Encoding: gzip, chunked\r\n"),
            with("Transfer-Encoding: xchunked\r\n"),
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
            with("Transfer-Encoding : chunked\r\n"),
            with("X: a\r\n b\r\n"),
            with("X: a\n"),
            with("X: a\0\r\n"),
            with("Host: other.test\r\n"),
        ] {
            let mut client = world.client().await;
            client.send(text.clone() + &get("http.test")).await;
            let (head, _) = client.response().await;
            assert_status(&head, 400, "close");
            assert_eq!(client.rest().await, "", "{text}");
        }
        assert_eq!(edge.opened(), 0);
        for chunks in [
            "x\r\n",
            "1 \r\na\r\n",
            "1\r\nab\r\n",
            "1\na\r\n",
            "0\r\nHost: a\r\n\r\n",
        ] {
            let mut client = world.client().await;
            client
                .send(with("Transfer-Encoding: chunked\r\n") + chunks)
                .await;
            let (head, _) = client.response().await;
            assert_status(&head, 400, "close");
            assert_eq!(client.rest().await, "", "{chunks}");
        }
        world.metric_becomes("sessions_active", 0).await;
        world.stop().await;
    }
}

#[tokio::test]
async fn a_websocket_is_a_relay_of_bytes() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        ask(&mut client, get("http.test")).await;
        let lines = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
        client.send(request("GET", "ws.test", lines)).await;
        let head = client.head().await;
        let expected = "HTTP/1.1 101 Switching Protocols\r\n\
            Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(head, expected);
        client.echo(b"\x81\x05hello").await;
        assert_eq!(world.metric("sessions_active").await, 1);
        client.finish().await;
        assert_eq!(client.rest().await, "");
        world.metric_becomes("sessions_active", 0).await;
        assert_eq!(world.metric("sessions_opened").await, 2);
        world.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_closes_its_idle_connection_costs_no_request_that_may_be_repeated() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let edge = world.edge().await;
        let mut client = world.client().await;
        for sessions in 1..=3 {
            ask(&mut client, get("http.test")).await;
            let once = |method| request(method, "once.test", "Content-Length: 0\r\n");
            // The session of `http.test` and one more, then one more in place of the stale one.
            let before = edge.opened();
            for _ in 0..2 {
                client.send(once("GET")).await;
                let (head, _) = client.response().await;
                assert_status(&head, 200, "keep-alive");
            }
            assert_eq!(edge.opened(), before + 2, "{sessions}");
            let (head, _) = ask(&mut client, once("POST")).await;
            assert_status(&head, 502, "keep-alive");
            assert_eq!(edge.opened(), before + 2, "a POST is sent once");
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn a_connection_that_waits_in_vain_is_closed() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.http_idle_s = 1).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        ask(&mut client, get("http.test")).await;
        assert_eq!(client.rest().await, "");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_drain_does_not_wait_for_idle_connections() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.drain_s = 600).await;
        let _edge = world.edge().await;
        let mut client = world.client().await;
        ask(&mut client, get("http.test")).await;
        world.stop().await;
        assert_eq!(client.rest().await, "");
    }
}

#[tokio::test]
async fn clients_move_to_the_shard_of_their_requests_tunnel() {
    for io in DRIVERS {
        let world = World::start_with(io, |config| config.shards = 2).await;
        let edge = world.edge().await;
        // The kernel spreads them over the shards' listeners by their ports.
        for _ in 0..24 {
            let mut client = world.client().await;
            for host in ["a.http.test", "b.http.test"] {
                let upload = request("POST", host, "Content-Length: 4\r\n") + "body";
                client.send(upload + &get(host)).await;
                let (head, seen) = client.response().await;
                assert_status(&head, 200, "keep-alive");
                assert!(seen.ends_with("\r\n\r\nbody"), "{seen}");
                let (_, seen) = client.response().await;
                assert!(seen.contains(&format!("Host: {host}\r\n")), "{seen}");
            }
        }
        assert_eq!(edge.opened(), 48);
        let moved = world.metric("client_handovers").await;
        assert!(moved > 0 && moved < 24, "{moved}");
        world.stop().await;
    }
}
