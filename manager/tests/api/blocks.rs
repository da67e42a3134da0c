//! Blocks: who is turned away, and from what.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Edge, Manager, text};

const BLOCKS: &str = "/api/v1/blocks";

async fn block(manager: &Manager, target: Value) -> String {
    let body = json!({"target": target, "reason": "spam"});
    let made = manager.post(BLOCKS, body).await;
    let location = made.header("location").to_owned();
    let made = made.expect(201);
    assert_eq!(location, format!("{BLOCKS}/{}", text(&made, "id")));
    location
}

/// Whether the edge is turned away from everything it may ask for.
async fn is_blocked(edge: &Edge<'_>, key: &str, challenge: &str) -> bool {
    let enrolment = edge.enrol(key).await.status;
    let assignment = edge.ask(&edge.answer(challenge)).await.status;
    let asked = edge.try_challenge().await.status;
    assert!(
        [enrolment, assignment, asked] == [403; 3] || [enrolment, asked] == [200; 2],
        "{enrolment} {assignment} {asked}"
    );
    enrolment == 403
}

#[tokio::test]
async fn a_blocked_node_gets_nothing_until_the_block_is_lifted() {
    let manager = Manager::start().await;
    manager.pop("p1").await;
    let key = manager.enrolment_key(None).await;
    let (edge, other) = (manager.edge(1).await, manager.edge(2).await);
    let challenge = edge.challenge().await;
    let location = block(&manager, json!({"node": edge.id})).await;
    assert!(is_blocked(&edge, &key, &challenge).await);
    other.assignment(None).await.expect(200);

    let list = manager.get(BLOCKS).await.expect(200);
    assert_eq!(list["items"][0]["target"], json!({"node": edge.id}));
    assert_eq!(list["items"][0]["reason"], "spam");
    manager.delete(&location).await.expect(204);
    manager.delete(&location).await.expect(404);
    assert!(!is_blocked(&edge, &key, &challenge).await);
    edge.assignment(None).await.expect(200);
}

#[tokio::test]
async fn a_blocked_network_gets_nothing() {
    let manager = Manager::start().await;
    let key = manager.enrolment_key(None).await;
    let edge = manager.edge(1).await;
    block(&manager, json!({"address": "192.0.2.0/24"})).await;
    assert!(
        !is_blocked(&edge, &key, "").await,
        "it comes from elsewhere"
    );
    // A header that anybody can write neither blocks nor frees.
    let path = format!("/api/v1/nodes/{}/challenge", edge.id);
    let call = manager.anonymous(Method::POST, &path);
    call.header("X-Forwarded-For", "192.0.2.1")
        .send()
        .await
        .expect(200);
    block(&manager, json!({"address": "127.0.0.0/8"})).await;
    assert!(is_blocked(&edge, &key, "").await);
    let call = manager.anonymous(Method::POST, &path);
    call.header("X-Forwarded-For", "198.51.100.1")
        .send()
        .await
        .expect(403);
    manager.get(BLOCKS).await.expect(200);
}

#[tokio::test]
async fn a_trusted_proxy_says_who_is_blocked() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::start_with(folder, |config| {
        config.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
    })
    .await;
    let edge = manager.edge(1).await;
    block(&manager, json!({"address": "192.0.2.0/24"})).await;
    let path = format!("/api/v1/nodes/{}/challenge", edge.id);
    let from = |addresses: &str| {
        let call = manager.anonymous(Method::POST, &path);
        call.header("X-Forwarded-For", addresses).send()
    };
    from("192.0.2.1").await.expect(403);
    from("198.51.100.1, 192.0.2.1").await.expect(403);
    from("192.0.2.1, 198.51.100.1").await.expect(200);
}

#[tokio::test]
async fn nobody_is_blocked_twice() {
    let manager = Manager::start().await;
    block(&manager, json!({"address": "192.0.2.77/24"})).await;
    let again = json!({"target": {"address": "192.0.2.0/24"}});
    manager.post(BLOCKS, again).await.expect(409);
    for body in [
        json!({}),
        json!({"target": {"address": "192.0.2.0/33"}}),
        json!({"target": {"node": "7"}}),
        json!({"target": {"address": "192.0.2.0/24"}, "reason": "\n"}),
    ] {
        manager.post(BLOCKS, body).await.expect(422);
    }
    // A target of no kind, or of two, is to serde_json no value at all.
    for target in [
        json!({}),
        json!({"node": "0".repeat(32), "address": "192.0.2.0/24"}),
    ] {
        let body = json!({"target": target});
        manager.post(BLOCKS, body).await.expect(400);
    }
}
