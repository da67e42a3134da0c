//! Failures are told as they are: with the true code where the client waits for it, and by a reset,
//! never a clean end, where it was told "connected" before.

use std::{
    io::{ErrorKind, Read},
    net::SocketAddr,
};

use crate::{
    client,
    harness::{Up, free_addr},
};

/// Asks for a target by SOCKS5 in `confirmed` mode, and gives the reply.
fn reply(up: &Up, target: SocketAddr) -> u8 {
    client::socks5(up.info.proxy, "demo-confirm", &up.info.password, target).reply
}

/// Asks for a target by CONNECT in `confirmed` mode, and gives the answer's head.
fn answer(up: &Up, authority: &str) -> String {
    let head = client::connect_head("demo-confirm", &up.info.password, authority);
    client::http(up.info.proxy, &head).0
}

fn assert_answer(answer: &str, status: u16, proxy_error: &str) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{answer}"
    );
    assert!(
        answer.contains("\r\nProxy-Status: titan; error="),
        "{answer}"
    );
    assert!(answer.contains(&format!("error={proxy_error}")), "{answer}");
    assert!(answer.contains("\r\nX-Titan-Error: "), "{answer}");
}

#[test]
fn a_refused_port_has_its_code() {
    let up = Up::start(&["--allow-private"]);
    let nobody = free_addr();
    assert_eq!(reply(&up, nobody), 5);
    assert_answer(&answer(&up, &nobody.to_string()), 502, "connection_refused");
}

#[test]
fn an_unknown_name_has_its_code() {
    let up = Up::start(&["--allow-private"]);
    let (proxy, password) = (up.info.proxy, &up.info.password);
    let asked = client::socks5_name(proxy, "demo-confirm", password, "name.invalid", 80);
    assert_eq!(asked.reply, 4);
    assert_answer(&answer(&up, "name.invalid:80"), 502, "dns_error");
}

#[test]
fn the_edges_own_network_is_denied() {
    let up = Up::start(&[]);
    for target in [
        "127.0.0.1:80",
        "10.0.0.1:80",
        "169.254.169.254:80",
        "[::1]:80",
    ] {
        assert_eq!(reply(&up, target.parse().expect("valid")), 2, "{target}");
    }
    assert_answer(
        &answer(&up, "127.0.0.1:80"),
        403,
        "destination_ip_prohibited",
    );
    // A name is judged by what it stands for.
    assert!(answer(&up, "localhost:80").starts_with("HTTP/1.1 403 "));
}

#[test]
fn an_optimistic_failure_is_a_reset() {
    let up = Up::start(&["--allow-private"]);
    let nobody = free_addr();
    let asked = client::socks5(up.info.proxy, "demo-optimistic", &up.info.password, nobody);
    assert_eq!(asked.reply, 0, "told so before it is known");
    assert_reset(asked.stream);
    let head = client::connect_head("demo", &up.info.password, &nobody.to_string());
    let (answer, stream) = client::http(up.info.proxy, &head);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_reset(stream);
}

#[test]
fn an_unknown_parameter_is_named() {
    let up = Up::start(&[]);
    let head = client::connect_head("demo-colour-blue", &up.info.password, "example.com:443");
    let (answer, _) = client::http(up.info.proxy, &head);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(
        client::socks5_password_status(up.info.proxy, "demo-colour-blue", "x"),
        1
    );
}

fn assert_reset(mut stream: impl Read) {
    let error = stream.read(&mut [0]).expect_err("a reset, not an end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}
