//! Several managers on one Redis are one.

use reqwest::Method;
use serde_json::json;

use crate::{edge::Edge, process::Manager, servers::Server};

fn heartbeat() -> serde_json::Value {
    json!({
        "boot_id": "run", "sequence": 1, "version": "1", "tunnel_url": "ws://p1.example/tunnel",
        "proxy_addr": "192.0.2.1:1080", "tunnels": 0, "sessions": 0, "accepting": true,
        "full": true, "connected": [], "disconnected": [],
    })
}

#[tokio::test]
async fn two_managers_serve_the_same_users_nodes_and_pops() {
    let redis = Server::start("appendonly yes\nappendfsync always");
    let (first, second) = (Manager::start(&redis.url()), Manager::start(&redis.url()));
    let token = first.made_token().expect("made at the first start of all");
    assert_eq!(second.made_token(), None, "made once");

    let (status, alice) = first.post("users", &token, json!({"name": "alice"})).await;
    assert_eq!(status, 201, "{alice}");
    let (status, seen) = second.get("users/alice", &token).await;
    assert_eq!(
        (status, &seen["version"]),
        (200, &alice["version"]),
        "{alice} {seen}"
    );
    let off = json!({"enabled": false});
    let (status, changed) = second
        .call(Method::PATCH, "users/alice", &token, Some(off))
        .await;
    assert_eq!(status, 200, "{changed}");
    assert_eq!(first.get("users/alice", &token).await, (200, changed));

    let (status, pop) = first.post("pops", &token, json!({"id": "p1"})).await;
    assert_eq!(status, 201, "{pop}");
    let credential = pop["credential"].as_str().expect("a credential");
    let (status, reply) = second.post("pop/heartbeat", credential, heartbeat()).await;
    assert_eq!((status, &reply["resync"]), (200, &json!(false)), "{reply}");
    assert_eq!(first.get("pops/p1", &token).await.1["online"], true);

    // A challenge of one is answered at the other, once; the token fits the key that PoPs know.
    let edge = Edge::enrol(&first, &token).await;
    let signed = edge.signed_challenge(&first).await;
    let (status, assignment) = edge.assignment(&second, &signed).await;
    assert_eq!(
        (status, &assignment["pop"]),
        (200, &json!("p1")),
        "{assignment}"
    );
    assert_eq!(
        edge.assignment(&first, &signed).await.0,
        403,
        "used at the other"
    );
    let mut beat = heartbeat();
    beat["sequence"] = json!(2);
    let (_, other) = first.post("pop/heartbeat", credential, beat).await;
    assert_eq!(other["token_key"], reply["token_key"], "one signing key");
}

#[tokio::test]
async fn what_one_manager_changes_is_heard_at_the_other() {
    let redis = Server::start("appendonly yes\nappendfsync always");
    let (first, second) = (Manager::start(&redis.url()), Manager::start(&redis.url()));
    let token = first.made_token().expect("made at the first start of all");
    first.post("users", &token, json!({"name": "alice"})).await;
    let (_, pop) = first.post("pops", &token, json!({"id": "p1"})).await;
    let credential = pop["credential"].as_str().expect("a credential");
    let (status, start) = second.get("pop/events", credential).await;
    assert_eq!(status, 200, "{start}");

    let off = json!({"enabled": false});
    let change = first.call(Method::PATCH, "users/alice", &token, Some(off));
    let behind = format!("pop/events?after={}", start["cursor"]);
    let (page, (_, changed)) = tokio::join!(second.get(&behind, credential), change);
    let change = json!({"kind": "user_changed", "name": "alice", "version": changed["version"]});
    assert_eq!(page.1["events"][0]["change"], change, "{page:?}");
    assert_eq!(page.1["gap"], false);
    assert_eq!(
        first.get(&behind, credential).await,
        page,
        "the same stream"
    );
    let elsewhere = format!("pop/events?after={}", u64::MAX);
    let (_, page) = second.get(&elsewhere, credential).await;
    assert_eq!(page["gap"], true, "{page}");
}
