//! An edge that is killed before its target has answered: the session goes on through another one.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::mpsc::Receiver,
};

use sha2::{Digest, Sha256};

use crate::{
    client,
    harness::PATIENCE,
    network::{Network, PASSWORD, USER},
    origin,
};

#[test]
fn a_killed_edge_is_not_noticed_before_the_target_has_answered() {
    for mode in ["optimistic", "confirm"] {
        let (target, heard) = origin::silent_at_first();
        let mut network = Network::start();
        let user = format!("{USER}-{mode}");
        let asked = client::socks5(network.at.proxy, &user, PASSWORD, target);
        assert_eq!(asked.reply, 0, "{mode}");
        let request = request();
        let mut client = asked.stream;
        client.write_all(&request).expect("the proxy reads");
        client.shutdown(Shutdown::Write).expect("connected");
        assert_eq!(
            digest(&wait(&heard)),
            digest(&request),
            "{mode}: first edge"
        );
        replace_edge(&mut network);
        let answer = read_to_end(&mut client);
        assert_eq!(digest(&answer), digest(&request), "{mode}: the answer");
        assert_eq!(
            digest(&wait(&heard)),
            digest(&request),
            "{mode}: second edge"
        );
        assert_eq!(network.metric("titan_pop_sessions_reopened_total"), 1);
    }
}

#[test]
fn once_the_target_has_answered_a_killed_edge_is_a_reset() {
    for mode in ["optimistic", "confirm"] {
        let echo = origin::echo();
        let mut network = Network::start();
        let user = format!("{USER}-{mode}");
        let mut client = client::socks5(network.at.proxy, &user, PASSWORD, echo).stream;
        client.write_all(b"x").expect("the proxy reads");
        client.read_exact(&mut [0]).expect("the first byte");
        replace_edge(&mut network);
        let error = client.read(&mut [0]).expect_err("no clean end");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{mode}");
        assert_eq!(network.metric("titan_pop_sessions_reopened_total"), 0);
    }
}

/// Starts a second edge and kills the first one as a crash would.
fn replace_edge(network: &mut Network) {
    let second = network.start_edge("second-edge");
    network.wait_for_tunnels(2);
    network.edge.kill();
    network.edge = second;
}

/// 60,000 bytes that do not repeat: less than a PoP keeps, more than comes in one read at first.
fn request() -> Vec<u8> {
    (0..30_000_u16).flat_map(u16::to_be_bytes).collect()
}

fn wait(heard: &Receiver<Vec<u8>>) -> Vec<u8> {
    heard.recv_timeout(PATIENCE).expect("the target is reached")
}

fn read_to_end(client: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("a clean end");
    answer
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
