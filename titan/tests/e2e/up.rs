//! `titan up`: what a newcomer sees first.

use std::{fs, process::Command};

use serde_json::Value;

use crate::{
    client,
    harness::{Up, binary, curl, run},
};

#[test]
fn the_printed_curl_lines_work_as_they_are() {
    let up = Up::start(&[]);
    for line in [&up.info.curl_socks5, &up.info.curl_http] {
        let output = run(Command::new("sh").args(["-c", line]));
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(answer["node_id"], up.info.nodes[0].as_str(), "{line}");
        assert!(answer["rtt_ms"].is_number(), "{answer}");
    }
}

#[test]
fn a_second_start_finds_the_same_user_and_node() {
    let mut up = Up::start(&[]);
    let (password, nodes) = (up.info.password.clone(), up.info.nodes.clone());
    assert_eq!(up.process.terminate(), Some(0));
    let up = Up::start_in(up.dir, &[]);
    assert_eq!((&up.info.password, &up.info.nodes), (&password, &nodes));
    run(&mut curl(&[
        "-x",
        &up.socks5("demo"),
        "http://whoami.titan.internal/",
    ]));
}

#[test]
fn every_edge_is_a_node_of_its_own_and_online() {
    let up = Up::start(&["--edges", "3"]);
    assert_eq!(up.info.nodes.len(), 3);
    let nodes = titan(&up, &["node", "list", "--json"]);
    let online = nodes
        .as_array()
        .expect("a list")
        .iter()
        .filter(|node| node["online"] == true);
    assert_eq!(online.count(), 3, "{nodes}");
    let pops = titan(&up, &["pop", "list", "--json"]);
    assert_eq!(
        (&pops[0]["online"], &pops[0]["tunnels"]),
        (&true.into(), &3.into()),
        "{pops}"
    );
}

#[test]
fn users_are_added_changed_and_removed_by_command() {
    let up = Up::start(&[]);
    let proxy = up.info.proxy;
    titan(
        &up,
        &[
            "user",
            "add",
            "alice",
            "--password",
            "correct horse",
            "--json",
        ],
    );
    assert_eq!(
        client::socks5_password_status(proxy, "alice", "correct horse"),
        0
    );
    assert_eq!(
        client::socks5_password_status(proxy, "alice", "wrong horse"),
        1
    );
    let users = titan(&up, &["user", "list", "--json"]);
    let names: Vec<_> = users
        .as_array()
        .expect("a list")
        .iter()
        .map(|user| &user["name"])
        .collect();
    assert_eq!(names, ["alice", "demo"]);
    let shown = titan(&up, &["user", "show", "alice", "--json"]);
    assert_eq!(shown["enabled"], true);
    titan(&up, &["user", "remove", "alice", "--json"]);
    let users = titan(&up, &["user", "list", "--json"]);
    assert_eq!(users.as_array().map(Vec::len), Some(1));
}

#[test]
fn a_wrong_password_is_refused_by_both_protocols() {
    let up = Up::start(&[]);
    assert_eq!(
        client::socks5_password_status(up.info.proxy, &up.info.user, "wrong"),
        1
    );
    let head = client::connect_head(&up.info.user, "wrong", "example.com:443");
    let (answer, _) = client::http(up.info.proxy, &head);
    assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
    assert!(
        answer.contains("\r\nProxy-Authenticate: Basic "),
        "{answer}"
    );
    let (answer, _) = client::http(up.info.proxy, "CONNECT example.com:443 HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
}

#[test]
fn secrets_lie_in_files_that_only_the_owner_reads() {
    use std::os::unix::fs::PermissionsExt;
    let up = Up::start(&[]);
    let mode = |path| fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode(&up.info.admin_token_file), 0o600);
    let without_token = curl(&["-o", "/dev/null", "-w", "%{http_code}", &users_url(&up)]).output();
    assert_eq!(without_token.expect("curl").stdout, b"401");
    let token = fs::read_to_string(&up.info.admin_token_file).expect("a token");
    let bearer = format!("Authorization: Bearer {}", token.trim());
    run(&mut curl(&["--fail", "-H", &bearer, &users_url(&up)]));
}

fn users_url(up: &Up) -> String {
    format!("{}/api/v1/users", up.info.manager)
}

/// Runs a `titan` command against the manager and gives what it prints.
fn titan(up: &Up, args: &[&str]) -> Value {
    let mut command = Command::new(binary("titan"));
    command
        .args(args)
        .args(["--manager", &up.info.manager, "--token-file"]);
    let output = run(command.arg(&up.info.admin_token_file));
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}
