//! Manager, PoP and edge as three processes, and what happens when one of them dies.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    client,
    harness::{PATIENCE, binary},
    network::{Network, USER},
    origin,
};

/// The longest a session may outlive its edge.
const FAILS_WITHIN: Duration = Duration::from_secs(2);

#[test]
fn a_killed_edge_fails_its_sessions_and_comes_back() {
    let mut network = Network::start();
    let mut download = network.open(origin::endless()).expect("served");
    let mut buffer = vec![0; 64 * 1024];
    download.read_exact(&mut buffer).expect("it runs");
    let killed = Instant::now();
    network.edge.kill();
    let error = loop {
        match download.read(&mut buffer) {
            Ok(0) => panic!("a clean end in the middle of a transfer"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(killed.elapsed() < FAILS_WITHIN, "{:?}", killed.elapsed());
    network.edge = network.start_edge("edge");
    network.wait_until_served();
}

#[test]
fn a_killed_program_cuts_its_connections_and_never_ends_them_cleanly() {
    let (target, ends) = origin::watching();
    let mut network = Network::start();
    let mut client = network.open(target).expect("served");
    client
        .write_all(b"the first half of an upload")
        .expect("the proxy reads");
    network.edge.kill();
    let end = ends.recv_timeout(PATIENCE).expect("the connection ends");
    assert_eq!(
        end.expect_err("not cleanly").kind(),
        ErrorKind::ConnectionReset
    );

    network.edge = network.start_edge("edge");
    network.wait_until_served();
    let mut client = network.open(target).expect("served");
    network.pop.kill();
    let error = client.read(&mut [0]).expect_err("not cleanly");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn edges_return_to_a_restarted_pop_by_themselves() {
    let mut network = Network::start();
    network.pop.kill();
    network.pop = network.start_pop();
    network.wait_until_served();
    // The same by SIGTERM, which drains first.
    assert_eq!(network.pop.terminate(), Some(0));
    network.pop = network.start_pop();
    network.wait_until_served();
}

#[test]
fn known_users_are_served_while_the_manager_is_away() {
    let mut network = Network::start();
    assert_eq!(network.manager.terminate(), Some(0));
    network.wait_until_served();
    let nobody = client::socks5_password_status(network.at.proxy, USER, "wrong password");
    assert_eq!(nobody, 1, "a wrong password stays wrong");
    network.manager = network.start_manager();
    network.titan(&["user", "show", USER]);
}

#[test]
fn every_program_stops_cleanly_when_asked() {
    let mut network = Network::start();
    for process in [&mut network.edge, &mut network.pop, &mut network.manager] {
        assert_eq!(process.terminate(), Some(0), "{}", process.logged());
    }
}

#[test]
fn a_bad_configuration_is_one_clear_line_and_exit_64() {
    let dir = TempDir::new().expect("a temporary directory");
    for program in ["titan-manager", "titan-pop", "titan-edge"] {
        let file = dir.path().join("bad.toml");
        fs::write(&file, "no_such_key = 1\n").expect("a file");
        let output = Command::new(binary(program))
            .arg("--config")
            .arg(&file)
            .output();
        let output = output.expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{program}: {said}");
        assert!(said.contains("no_such_key"), "{program}: {said}");
        assert_eq!(said.lines().count(), 1, "{program}: {said}");
    }
}
