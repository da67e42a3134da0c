//! Requests that come again: carried out once, answered the same.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Manager, text};

async fn post(manager: &Manager, path: &str, key: &str, body: &Value) -> Answer {
    let call = manager
        .admin(Method::POST, path)
        .header("Idempotency-Key", key);
    call.json(body).send().await
}

#[tokio::test]
async fn a_repeated_creation_gives_the_same_answer() {
    let manager = Manager::start().await;
    let creations = [
        ("/api/v1/users", json!({"name": "alice"}), "password"),
        ("/api/v1/pops", json!({"id": "p1"}), "credential"),
        ("/api/v1/enrolment-keys", json!({}), "secret"),
        (
            "/api/v1/admin-tokens",
            json!({"name": "x", "scopes": ["read"]}),
            "secret",
        ),
    ];
    for (number, (path, body, secret)) in creations.into_iter().enumerate() {
        let key = format!("k{number}");
        let first = post(&manager, path, &format!("\"{key}\""), &body).await;
        let location = first.headers.get("location").cloned();
        let first = first.expect(201);
        let again = post(&manager, path, &key, &body).await;
        assert_eq!(again.headers.get("location").cloned(), location);
        assert_eq!(again.expect(201), first, "{path}");
        let without = manager.post(path, body.clone()).await;
        assert_ne!(
            without.body, first,
            "{path}: without the key it is another request"
        );
        post(&manager, path, &key, &json!({"other": 1}))
            .await
            .expect(422);
        post(&manager, "/api/v1/blocks", &key, &body)
            .await
            .expect(422);

        let shown = text(&first, secret);
        let store = std::fs::read(manager.folder.path().join("manager.redb")).expect("the store");
        let is_there = store
            .windows(shown.len())
            .any(|window| window == shown.as_bytes());
        assert!(!is_there, "{path}: the secret lies in the store");
    }
}

#[tokio::test]
async fn a_renewal_that_comes_twice_counts_once() {
    let manager = Manager::start().await;
    let user = json!({"name": "alice", "package": {"bytes": 100}});
    manager.post("/api/v1/users", user).await.expect(201);
    let path = "/api/v1/users/alice/package";
    let bytes = json!({"bytes": 50});
    let first = post(&manager, path, "order-1", &bytes).await;
    let again = post(&manager, path, "order-1", &bytes).await;
    assert_eq!(first.header("etag"), again.header("etag"));
    assert_eq!(again.expect(200), first.expect(200));
    let next = post(&manager, path, "order-2", &bytes).await.expect(200);
    assert_eq!(next["package"]["bytes"], 200);
}

#[tokio::test]
async fn of_many_at_once_one_is_carried_out() {
    let manager = Manager::start().await;
    let user = json!({"name": "alice", "package": {"bytes": 100}});
    manager.post("/api/v1/users", user).await.expect(201);
    let bytes = json!({"bytes": 50});
    let calls = || post(&manager, "/api/v1/users/alice/package", "order-1", &bytes);
    let answers = tokio::join!(calls(), calls(), calls(), calls());
    for answer in [answers.0, answers.1, answers.2, answers.3] {
        assert!(matches!(answer.status, 200 | 409), "{answer:?}");
    }
    let user = manager.get("/api/v1/users/alice").await.expect(200);
    assert_eq!(user["package"]["bytes"], 150);
}

#[tokio::test]
async fn what_was_refused_may_be_mended() {
    let manager = Manager::start().await;
    let short = json!({"name": "alice", "password": "short"});
    post(&manager, "/api/v1/users", "k1", &short)
        .await
        .expect(422);
    post(&manager, "/api/v1/users", "k1", &json!({"name": "alice"}))
        .await
        .expect(201);
    for bad in ["", "\"", "a b", &"x".repeat(129)] {
        post(&manager, "/api/v1/users", bad, &json!({"name": "b"}))
            .await
            .expect(400);
    }
}

#[tokio::test]
async fn a_key_is_its_operators_own() {
    let manager = Manager::start().await;
    let body = json!({"name": "other", "scopes": ["users"]});
    let other = text(
        &manager.post("/api/v1/admin-tokens", body).await.expect(201),
        "secret",
    );
    let alice = json!({"name": "alice"});
    post(&manager, "/api/v1/users", "k1", &alice)
        .await
        .expect(201);
    let as_other = |token: &str| {
        let call = manager
            .anonymous(Method::POST, "/api/v1/users")
            .bearer(token);
        call.header("Idempotency-Key", "k1").json(&alice).send()
    };
    as_other(&other).await.expect(409);
    as_other("wrong").await.expect(401);
}

#[tokio::test]
async fn a_key_outlives_the_manager() {
    let manager = Manager::start().await;
    let body = json!({"name": "alice"});
    let first = post(&manager, "/api/v1/users", "k1", &body)
        .await
        .expect(201);
    let manager = Manager::start_in(manager.stop().await).await;
    let again = post(&manager, "/api/v1/users", "k1", &body).await;
    assert_eq!(again.expect(201), first);
}
