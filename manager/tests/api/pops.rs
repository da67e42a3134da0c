//! PoPs: registration, heartbeats, and what follows for their nodes.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Edge, Manager, text};

#[tokio::test]
async fn a_pop_is_registered_seen_and_removed() {
    let manager = Manager::start().await;
    let request = json!({"id": "p1", "region": "us"});
    let created = manager.post("/api/v1/pops", request.clone()).await;
    assert_eq!(created.header("location"), "/api/v1/pops/p1");
    assert!(text(&created.expect(201), "credential").starts_with("titan_pop_p1_"));
    manager.post("/api/v1/pops", request).await.expect(409);
    let silent = manager.get("/api/v1/pops/p1").await.expect(200);
    assert_eq!(
        (&silent["online"], &silent["region"]),
        (&json!(false), &json!("US"))
    );
    assert_eq!(silent["tunnel_url"], Value::Null);
    assert!(!silent.to_string().contains("credential"));
    manager.delete("/api/v1/pops/p1").await.expect(204);
    manager.delete("/api/v1/pops/p1").await.expect(404);
    manager.get("/api/v1/pops/p1").await.expect(404);
    manager
        .post("/api/v1/pops", json!({"id": "P 1"}))
        .await
        .expect(422);
}

#[tokio::test]
async fn a_heartbeat_shows_the_pop_and_teaches_it_its_id() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let changes = json!({"tunnels": 7, "sessions": 9});
    let reply = pop.beat(2, changes).await.expect(200);
    assert_eq!(
        (&reply["pop"], &reply["resync"]),
        (&json!("p1"), &json!(false))
    );
    assert_eq!(text(&reply, "token_key").len(), 64);
    let seen = manager.get("/api/v1/pops/p1").await.expect(200);
    assert_eq!(seen["online"], true);
    assert_eq!(
        (&seen["tunnels"], &seen["sessions"]),
        (&json!(7), &json!(9))
    );
    assert_eq!(seen["tunnel_url"], "ws://p1.example:8081/tunnel");
    let list = manager.get("/api/v1/pops").await.expect(200);
    assert_eq!(list["items"], json!([seen]));
}

#[tokio::test]
async fn nodes_are_online_where_their_pop_says() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let edge = manager.edge(1).await;
    let shown = async || {
        let node = manager
            .get(&format!("/api/v1/nodes/{}", edge.id))
            .await
            .expect(200);
        (
            node["online"] == true,
            node["pop"].clone(),
            node["address"].clone(),
        )
    };
    assert_eq!(shown().await, (false, Value::Null, Value::Null));
    let at = |address: &str| json!([{"node": edge.id, "address": address}]);
    pop.beat(2, json!({"connected": at("192.0.2.9")}))
        .await
        .expect(200);
    assert_eq!(shown().await, (true, json!("p1"), json!("192.0.2.9")));
    let list = manager.get("/api/v1/nodes").await.expect(200);
    assert_eq!(list["items"][0]["address"], "192.0.2.9");
    pop.beat(3, json!({"disconnected": [edge.id]}))
        .await
        .expect(200);
    assert_eq!(shown().await, (false, Value::Null, Value::Null));
    pop.beat(4, json!({"connected": at("2001:db8::1")}))
        .await
        .expect(200);
    assert_eq!(shown().await, (true, json!("p1"), json!("2001:db8::1")));
    manager.delete("/api/v1/pops/p1").await.expect(204);
    assert!(!shown().await.0, "its PoP is gone");
}

#[tokio::test]
async fn a_pop_is_asked_for_everything_when_the_thread_is_lost() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let resync = |reply: Value| reply["resync"] == true;
    let restarted = json!({"boot_id": "b11f"});
    assert!(
        resync(pop.beat(1, restarted).await.expect(200)),
        "another run"
    );
    let whole = json!({"boot_id": "b11f", "full": true});
    assert!(!resync(pop.beat(2, whole.clone()).await.expect(200)));
    assert!(
        resync(pop.beat(2, whole).await.expect(200)),
        "a number is used once"
    );
    assert!(!resync(
        pop.beat(9, json!({"boot_id": "b11f"})).await.expect(200)
    ));
}

#[tokio::test]
async fn a_pop_speaks_with_its_own_credential_only() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let other = manager.pop("p2").await;
    manager
        .post("/api/v1/users", json!({"name": "alice"}))
        .await
        .expect(201);
    let (_, secret) = other.credential.rsplit_once('_').expect("a secret");
    let forged = format!("titan_pop_p1_{secret}");
    for token in [&forged, &manager.admin_token, "titan_pop_p9_00", ""] {
        let call = manager
            .anonymous(Method::GET, "/api/v1/pop/users/alice")
            .bearer(token);
        call.send().await.expect(401);
        let call = manager
            .anonymous(Method::POST, "/api/v1/pop/heartbeat")
            .bearer(token);
        call.json(&json!({})).send().await.expect(401);
    }
    manager.delete("/api/v1/pops/p1").await.expect(204);
    pop.beat(2, json!({})).await.expect(401);
    let call = other.call(Method::GET, "/api/v1/pop/users/nobody");
    call.send().await.expect(404);
}

#[tokio::test]
async fn a_heartbeat_must_make_sense() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    for changes in [
        json!({"tunnel_url": "http://p1/tunnel"}),
        json!({"tunnel_url": format!("ws://{}", "x".repeat(600))}),
        json!({"version": "\u{1b}[2J"}),
        json!({"boot_id": ""}),
        json!({"sequence": -1}),
        json!({"connected": [{"node": "zz", "address": "192.0.2.1"}]}),
        json!({"connected": [{"node": Edge::new(&manager, 1).id, "address": "somewhere"}]}),
    ] {
        pop.beat(2, changes).await.expect(422);
    }
    let newer = pop.beat(2, json!({"temperature": 20})).await.expect(200);
    assert_eq!(newer["resync"], false, "a newer PoP may say more");
}

#[tokio::test]
async fn a_heartbeat_may_be_large() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let node = |number: u32| json!({"node": format!("{number:032x}"), "address": "2001:db8::1"});
    let nodes: Vec<Value> = (0..50_000).map(node).collect();
    let reply = pop
        .beat(2, json!({"full": true, "connected": nodes}))
        .await
        .expect(200);
    assert_eq!(reply["resync"], false);
}
