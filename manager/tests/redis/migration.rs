//! What was counted and ordered on an embedded store goes on on a Redis.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::{
    process::{Manager, program, run},
    servers::Server,
};

/// The run of a PoP that the tests report for.
const STREAM: &str = "00112233445566778899aabbccddeeff";

/// What operators see of all that is counted, and of whom they block.
const VIEWS: [&str; 5] = [
    "users/alice",
    "users/alice/usage",
    "users/gone/usage",
    "usage/top?resolution=1h",
    "blocks",
];

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

fn batch(sequence: u64) -> Value {
    let user = |name| json!({"name": name, "up_bytes": 10, "down_bytes": 20, "sessions": 1, "connections": 2});
    json!({"sequence": sequence, "at": now(), "users": [user("alice"), user("gone")]})
}

async fn report(manager: &Manager, credential: &str, batches: Value) -> Value {
    let report = json!({"stream": STREAM, "sent_at": now(), "batches": batches});
    let (status, reply) = manager.post("pop/usage", credential, report).await;
    assert_eq!(status, 200, "{reply}");
    reply
}

async fn views(manager: &Manager, token: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    for path in VIEWS {
        let (status, mut view) = manager.get(path, token).await;
        assert_eq!(status, 200, "{path} {view}");
        // When it was asked is not stored.
        let members = view.as_object_mut().expect("an object");
        for asked in ["from", "until"] {
            members.remove(asked);
        }
        seen.push(view);
    }
    seen
}

#[tokio::test]
async fn a_migration_carries_what_was_counted() {
    let data = tempfile::tempdir().expect("a folder");
    let from = format!("embedded:{}/manager.redb", data.path().display());
    let manager = Manager::start(&from);
    let token = manager.made_token().expect("a token");
    let alice = json!({"name": "alice", "package": {"bytes": 100}});
    let block = json!({"target": {"address": "192.0.2.0/24"}});
    for (path, body) in [("users", alice), ("blocks", block)] {
        let (status, made) = manager.post(path, &token, body).await;
        assert_eq!(status, 201, "{path} {made}");
    }
    let (_, pop) = manager.post("pops", &token, json!({"id": "p1"})).await;
    let credential = pop["credential"].as_str().expect("a credential");
    report(&manager, credential, json!([batch(1)])).await;
    let before = views(&manager, &token).await;
    drop(manager);

    let redis = Server::start("appendonly yes\nappendfsync always");
    let mut migrate = program(data.path(), "embedded:unused");
    let (code, out, log) = run(migrate.args(["migrate", "--from", &from, "--to", &redis.url()]));
    assert_eq!(code, Some(0), "{log}");
    let counts = "1 blocks, 0 keyed requests, usage of 2 users, 1 signing key";
    assert!(out.contains(counts), "{out}");

    let manager = Manager::start(&redis.url());
    assert_eq!(views(&manager, &token).await, before);
    let reply = report(&manager, credential, json!([batch(1), batch(2)])).await;
    assert_eq!(reply["applied"], 2);
    let (_, usage) = manager.get("users/alice/usage", &token).await;
    let total = json!({"up_bytes": 20, "down_bytes": 40, "sessions": 2});
    assert_eq!((&usage["total"], &usage["package"]), (&total, &total));
    let (_, alice) = manager.get("users/alice", &token).await;
    assert_eq!(alice["package"]["left"], 40, "{alice}");
}
