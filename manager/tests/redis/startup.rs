//! How the program starts on a Redis, or does not, and how data gets there.

use std::process::Command;

use serde_json::json;

use crate::{
    process::{Manager, program, run},
    servers::Server,
};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn a_bad_url_is_64_and_one_line_without_the_password() {
    let folder = folder();
    let expect = |mut command: Command, text: &str| {
        let (code, _, log) = run(&mut command);
        assert_eq!(code, Some(64), "{log}");
        assert!(log.contains(text) && !log.contains("hunter2"), "{log}");
        assert_eq!(log.trim().lines().count(), 1, "{log}");
    };
    expect(
        program(folder.path(), "redis://u:hunter2@h/zero"),
        "not a number",
    );
    expect(
        program(folder.path(), "redis-sentinel://u:hunter2@h"),
        "master's name",
    );
    let mut flag = program(folder.path(), "embedded:x");
    flag.args(["--store", "reddis://u:hunter2@h"]);
    expect(flag, "redis-cluster://HOST");
    let mut file = program(folder.path(), "redis://u:hunter2@h");
    file.arg("--redis-password-file")
        .arg(folder.path().join("none"));
    expect(file, "holds a password already");
    let mut file = program(folder.path(), "redis://h");
    file.arg("--redis-password-file")
        .arg(folder.path().join("none"));
    expect(file, "cannot read");
    let mut help = program(folder.path(), "redis://u:hunter2@h");
    let (code, text, _) = run(help.arg("--help"));
    assert!(code == Some(0) && !text.contains("hunter2"), "{text}");
}

#[test]
fn the_password_comes_from_a_file_and_stays_out_of_the_log() {
    let redis = Server::start("requirepass correct-horse");
    let folder = folder();
    let file = folder.path().join("password");
    std::fs::write(&file, "correct-horse\n").expect("written");
    let arguments = [
        "--redis-password-file",
        file.to_str().expect("text"),
        "--log-level",
        "trace",
    ];
    let manager = Manager::start_with(&redis.url(), &arguments);
    let log = format!("{:?}", manager.log);
    assert!(
        log.contains(&redis.url()) && !log.contains("correct-horse"),
        "{log}"
    );
}

#[test]
fn a_redis_that_keeps_nothing_is_warned_of_loudly() {
    let redis = Server::start("");
    let log = format!("{:?}", Manager::start(&redis.url()).log);
    assert!(
        log.contains("WARN") && log.contains("GONE WHEN IT STOPS"),
        "{log}"
    );
    let redis = Server::start("appendonly yes\nappendfsync always");
    let log = format!("{:?}", Manager::start(&redis.url()).log);
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn nobody_at_the_address_is_an_error_and_no_secret() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = closed.local_addr().expect("an address").port();
    drop(closed);
    let (code, _, log) = run(&mut program(
        folder().path(),
        &format!("redis://u:hunter2@127.0.0.1:{port}"),
    ));
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("redis does not answer") && !log.contains("hunter2"),
        "{log}"
    );
}

#[tokio::test]
async fn a_migration_carries_everything_and_only_into_an_empty_redis() {
    let data = folder();
    let from = format!("embedded:{}/manager.redb", data.path().display());
    let manager = Manager::start(&from);
    let token = manager.made_token().expect("a token");
    for name in ["alice", "bob"] {
        assert_eq!(
            manager.post("users", &token, json!({"name": name})).await.0,
            201
        );
    }
    let (_, pop) = manager.post("pops", &token, json!({"id": "p1"})).await;
    let edge = crate::edge::Edge::enrol(&manager, &token).await;
    let users = manager.get("users", &token).await;
    let nodes = manager.get("nodes", &token).await;
    let keys = manager.get("enrolment-keys", &token).await;
    drop(manager);

    let redis = Server::start("appendonly yes\nappendfsync always");
    let migrate = |from: &str, to: &str| {
        let mut command = program(data.path(), "embedded:unused");
        run(command.args(["migrate", "--from", from, "--to", to]))
    };
    let (code, out, log) = migrate(&from, &redis.url());
    assert_eq!(code, Some(0), "{log}");
    let records = "2 users, 1 nodes, 1 PoPs, 1 enrolment keys, 1 admin tokens";
    assert!(out.starts_with(&format!("copied {records}, ")), "{out}");

    let manager = Manager::start(&redis.url());
    assert_eq!(manager.made_token(), None, "the old one stays");
    assert_eq!(
        manager.get("users", &token).await,
        users,
        "with their versions"
    );
    assert_eq!(manager.get("nodes", &token).await, nodes);
    assert_eq!(manager.get("enrolment-keys", &token).await, keys);
    let credential = pop["credential"].as_str().expect("a credential");
    assert_eq!(manager.get("pop/users/alice", credential).await.0, 200);
    edge.signed_challenge(&manager).await;
    let change = json!({"enabled": false});
    let (_, changed) = manager
        .call(reqwest::Method::PATCH, "users/bob", &token, Some(change))
        .await;
    let before = users.1["items"][1]["version"].as_u64();
    assert!(changed["version"].as_u64() > before, "{changed} {users:?}");

    let refused = |from: &str, to: &str, why: &str| {
        let (code, _, log) = migrate(from, to);
        assert!(code == Some(1) && log.contains(why), "{code:?} {log}");
    };
    refused(&from, &redis.url(), "not empty");
    let other = Server::start("");
    refused(
        "embedded:/nowhere/manager.redb",
        &other.url(),
        "there is no store at",
    );
    refused(
        &redis.url(),
        &other.url(),
        "migrate copies from embedded:PATH",
    );
    other.ask(&["SET", "titan:format", "99"]);
    refused(&from, &other.url(), "schema 99");
    other.ask(&["SET", "titan:format", "importing"]);
    refused(&from, &other.url(), "left unfinished");
}
