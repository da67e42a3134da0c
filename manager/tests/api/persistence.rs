//! What is still true after a restart.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Edge, Manager, text};

#[tokio::test]
async fn a_restart_forgets_nobody() {
    let manager = Manager::start().await;
    let admin_token = manager.admin_token.clone();
    let pop = manager.pop("p1").await;
    let credential = pop.credential.clone();
    let edge = manager.edge(1).await;
    let challenge = edge.challenge().await;
    let reply = pop.beat(2, json!({})).await.expect(200);
    edge.assignment(None).await.expect(200);
    let user = json!({"name": "alice", "password": "correct horse", "enabled": false});
    manager.post("/api/v1/users", user).await.expect(201);
    let users = manager.get("/api/v1/users").await.expect(200);
    let keys = manager.get("/api/v1/enrolment-keys").await.expect(200);
    let folder = manager.stop().await;

    let manager = Manager::start_in(folder).await;
    assert_eq!(manager.admin_token, admin_token);
    assert_eq!(manager.get("/api/v1/users").await.expect(200), users);
    assert_eq!(
        manager.get("/api/v1/enrolment-keys").await.expect(200),
        keys
    );
    let edge = Edge::new(&manager, 1);
    let node = manager
        .get(&format!("/api/v1/nodes/{}", edge.id))
        .await
        .expect(200);
    assert_eq!(
        (&node["pop"], &node["online"]),
        (&json!("p1"), &json!(false))
    );
    edge.ask(&edge.answer(&challenge)).await.expect(403);

    // The PoP goes on where it was, and is asked for its list.
    let beat = json!({
        "boot_id": "b00f", "sequence": 3, "version": "0.1.0", "tunnel_url": "ws://p1/tunnel",
        "proxy_addr": "192.0.2.1:1080", "tunnels": 1, "sessions": 0, "accepting": true,
        "full": false, "connected": [], "disconnected": [],
    });
    let call = manager
        .anonymous(Method::POST, "/api/v1/pop/heartbeat")
        .bearer(&credential);
    let after = call.json(&beat).send().await.expect(200);
    assert_eq!(after["resync"], true);
    assert_eq!(
        after["token_key"], reply["token_key"],
        "tokens signed before stay valid"
    );
    let assignment = edge.assignment(None).await.expect(200);
    assert_eq!(assignment["pop"], "p1", "sticky across the restart");
}

#[tokio::test]
async fn a_version_is_not_used_again_after_a_restart() {
    let manager = Manager::start().await;
    let before = manager
        .post("/api/v1/users", json!({"name": "alice"}))
        .await
        .expect(201);
    manager.delete("/api/v1/users/alice").await.expect(204);
    let manager = Manager::start_in(manager.stop().await).await;
    let after = manager
        .post("/api/v1/users", json!({"name": "alice"}))
        .await
        .expect(201);
    assert!(after["version"].as_u64() > before["version"].as_u64());
}

#[tokio::test]
async fn secrets_are_not_in_the_store() {
    let manager = Manager::start().await;
    let credential = manager.pop("p1").await.credential;
    let key = manager.enrolment_key(None).await;
    let created = manager
        .post("/api/v1/users", json!({"name": "alice"}))
        .await
        .expect(201);
    let password = text(&created, "password");
    let admin_token = manager.admin_token.clone();
    let folder = manager.stop().await;
    let stored = std::fs::read(crate::harness::store_file(&folder)).expect("the store");
    let holds = |text: &str| {
        stored
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    for secret in [&credential, &key, &password, &admin_token] {
        let random = secret.rsplit('_').next().expect("a part");
        assert!(!holds(random));
    }
    assert!(holds("alice") && holds("$argon2id$"), "the search works");
}

#[tokio::test]
async fn what_bootstrap_made_stays() {
    let manager = Manager::start().await;
    let file = |name: &str| manager.folder.path().join(name);
    let (pop, demo) = (
        "local".parse().expect("an id"),
        "demo".parse().expect("a name"),
    );
    let bootstrap = &manager.bootstrap;
    for _ in 0..2 {
        let credential = bootstrap
            .pop(&pop, None, &file("pop"))
            .await
            .expect("a credential");
        assert_eq!(
            std::fs::read_to_string(file("pop")).expect("kept").trim(),
            credential
        );
        let call = manager
            .anonymous(Method::GET, "/api/v1/pop/users/nobody")
            .bearer(&credential);
        call.send().await.expect(404);
        let key = bootstrap
            .enrolment_key(None, &file("key"))
            .await
            .expect("a key");
        Edge::new(&manager, 1).enrol(&key).await.expect(200);
        let password = bootstrap.user(&demo, &file("demo")).await.expect("a user");
        assert_eq!(password.expect("known").len(), 20);
    }
    let pops = manager.get("/api/v1/pops").await.expect(200);
    assert_eq!(pops["items"].as_array().map(Vec::len), Some(1));
    let keys = manager.get("/api/v1/enrolment-keys").await.expect(200);
    assert_eq!(keys["items"].as_array().map(Vec::len), Some(1));

    let former = bootstrap
        .pop(&pop, None, &file("pop"))
        .await
        .expect("a credential");
    std::fs::remove_file(file("pop")).expect("lost");
    let credential = bootstrap
        .pop(&pop, None, &file("pop"))
        .await
        .expect("a credential");
    assert_ne!(credential, former);
    let call = manager
        .anonymous(Method::GET, "/api/v1/pop/users/nobody")
        .bearer(&former);
    call.send().await.expect(401);
}

#[tokio::test]
async fn bootstrap_respects_what_an_operator_did_to_the_user() {
    let manager = Manager::start().await;
    let file = manager.folder.path().join("demo");
    let demo = "demo".parse().expect("a name");
    manager
        .bootstrap
        .user(&demo, &file)
        .await
        .expect("a user")
        .expect("made");
    let patch = manager.admin(Method::PATCH, "/api/v1/users/demo");
    patch
        .json(&json!({"password": "the operator's"}))
        .send()
        .await
        .expect(200);
    assert_eq!(
        manager.bootstrap.user(&demo, &file).await.expect("a user"),
        None
    );
    manager.delete("/api/v1/users/demo").await.expect(204);
    assert_eq!(
        manager.bootstrap.user(&demo, &file).await.expect("no user"),
        None
    );
    manager.get("/api/v1/users/demo").await.expect(404);
}
