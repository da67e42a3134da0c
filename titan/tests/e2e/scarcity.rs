//! Programs that have run out of descriptors: they go on with what they have, say so, and recover.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::{
    client,
    harness::{metric, wait_for},
    network::{Network, PASSWORD, USER},
    origin,
};

/// Longest an echo of a running session may take meanwhile.
const UNDISTURBED: Duration = Duration::from_secs(2);

/// Descriptors that a program may still open when the shortage begins.
const SPARE: usize = 12;

fn assert_echo(session: &mut TcpStream) {
    let started = Instant::now();
    session.write_all(b"still here").expect("it runs");
    let mut echo = [0; 10];
    session.read_exact(&mut echo).expect("it runs");
    assert_eq!(&echo, b"still here");
    let took = started.elapsed();
    assert!(took < UNDISTURBED, "an echo took {took:?}");
}

#[test]
fn a_pop_without_descriptors_serves_what_it_has_and_recovers() {
    let network = Network::start();
    let echo = origin::echo();
    let mut neighbour = network.open(echo).expect("served");
    network.pop.spare_descriptors(SPARE);
    // The kernel takes them all into its queue.
    let strangers: Vec<_> = (0..4 * SPARE)
        .map(|_| client::connect(network.at.proxy))
        .collect();
    wait_for("the shortage", || {
        assert_echo(&mut neighbour);
        network
            .pop
            .logged()
            .contains("out of descriptors")
            .then_some(())
    });
    for _ in 0..100 {
        assert_echo(&mut neighbour);
    }
    drop(strangers);
    let mut client = wait_for("a place", || network.open(echo));
    assert_echo(&mut client);
    assert!(metric(network.at.admin, "titan_pop_accept_errors_total") > 0);
    let complaints = network.pop.logged().matches("out of descriptors").count();
    assert!(complaints < 30, "{complaints} lines about one shortage");
}

#[test]
fn an_edge_without_descriptors_says_so_and_recovers() {
    let network = Network::start();
    let echo = origin::echo();
    let mut neighbour = network.open(echo).expect("served");
    network.edge.spare_descriptors(SPARE);
    let mut held = Vec::new();
    let refusal = loop {
        match ask(&network, &echo.to_string()) {
            (answer, session) if answer.starts_with("HTTP/1.1 200 ") => held.push(session),
            (answer, _) => break answer,
        }
        assert!(held.len() <= SPARE, "there is no shortage");
    };
    assert_no_room(&refusal);
    let by_name = format!("localhost:{}", echo.port());
    assert_no_room(&ask(&network, &by_name).0);
    assert!(!held.is_empty());
    assert_echo(&mut neighbour);
    drop(held);
    let mut client = wait_for("room", || network.open(echo));
    assert_echo(&mut client);
    let counter = "titan_pop_sessions_failed_total{reason=\"too_many_sessions\"}";
    assert!(metric(network.at.admin, counter) >= 2);
}

/// Asks for a target by CONNECT and gives the answer of the proxy.
fn ask(network: &Network, target: &str) -> (String, TcpStream) {
    let head = client::connect_head(&format!("{USER}-confirm"), PASSWORD, target);
    let proxy: SocketAddr = network.at.proxy;
    client::http(proxy, &head)
}

fn assert_no_room(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("X-Titan-Error: too_many_sessions\r\n"),
        "{answer}"
    );
}
