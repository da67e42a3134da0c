//! Users: made, read, changed, listed, removed.

use argon2::{Argon2, PasswordVerifier, password_hash::phc::PasswordHash};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Manager, text};

#[tokio::test]
async fn a_user_lives_and_goes() {
    let manager = Manager::start().await;
    let request = json!({"name": "alice", "password": "correct horse", "reply_mode": "confirmed"});
    let created = manager.post("/api/v1/users", request.clone()).await;
    assert_eq!(created.header("location"), "/api/v1/users/alice");
    let created = created.expect(201);
    assert_eq!(created["password"], Value::Null, "the caller knows it");
    assert_eq!(
        (&created["enabled"], &created["reply_mode"]),
        (&json!(true), &json!("confirmed"))
    );
    manager.post("/api/v1/users", request).await.expect(409);

    let shown = manager.get("/api/v1/users/alice").await;
    assert_eq!(shown.header("etag"), format!("\"{}\"", created["version"]));
    let mut without_password = created.clone();
    without_password
        .as_object_mut()
        .expect("an object")
        .remove("password");
    assert_eq!(shown.expect(200), without_password);

    manager.delete("/api/v1/users/alice").await.expect(204);
    manager.delete("/api/v1/users/alice").await.expect(404);
    manager.get("/api/v1/users/alice").await.expect(404);
}

#[tokio::test]
async fn a_made_password_works_and_is_shown_once() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let created = manager
        .post("/api/v1/users", json!({"name": "alice"}))
        .await
        .expect(201);
    let password = text(&created, "password");
    assert!(password.len() >= 20 && password.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let record = pop
        .call(Method::GET, "/api/v1/pop/users/alice")
        .send()
        .await
        .expect(200);
    assert!(fits(&password, &record));
    assert!(!fits("something else", &record));
    let shown = manager.get("/api/v1/users/alice").await.expect(200);
    assert!(!shown.to_string().contains("password") && !shown.to_string().contains("argon2"));
}

#[tokio::test]
async fn a_change_touches_what_it_names_and_raises_the_version() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let record = async || {
        pop.call(Method::GET, "/api/v1/pop/users/alice")
            .send()
            .await
            .expect(200)
    };
    let patch = async |body: Value| {
        manager
            .admin(Method::PATCH, "/api/v1/users/alice")
            .json(&body)
            .send()
            .await
    };
    let request = json!({"name": "alice", "password": "correct horse", "reply_mode": "confirmed"});
    manager.post("/api/v1/users", request).await.expect(201);
    let before = record().await;

    let off = patch(json!({"enabled": false})).await.expect(200);
    let after = record().await;
    assert_eq!(
        (&off["enabled"], &after["enabled"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(off["reply_mode"], "confirmed");
    assert_eq!(after["password_hash"], before["password_hash"]);
    assert!(after["version"].as_u64() > before["version"].as_u64());

    patch(json!({"password": "another one", "reply_mode": null}))
        .await
        .expect(200);
    let last = record().await;
    assert!(fits("another one", &last) && !fits("correct horse", &last));
    assert_eq!(last["reply_mode"], Value::Null);
    assert_eq!(last["enabled"], false);
}

#[tokio::test]
async fn a_change_can_be_bound_to_a_version() {
    let manager = Manager::start().await;
    manager
        .post("/api/v1/users", json!({"name": "alice"}))
        .await
        .expect(201);
    let tag = manager
        .get("/api/v1/users/alice")
        .await
        .header("etag")
        .to_owned();
    let patch = async |tag: &str| {
        let call = manager
            .admin(Method::PATCH, "/api/v1/users/alice")
            .header("If-Match", tag);
        call.json(&json!({"enabled": false})).send().await
    };
    let changed = patch(&tag).await;
    assert_ne!(changed.header("etag"), tag);
    changed.expect(200);
    patch(&tag).await.expect(412);
    patch("*").await.expect(200);
    patch("abc").await.expect(400);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let manager = Manager::start().await;
    for body in [
        json!({"name": "al-ice"}),
        json!({"name": ".."}),
        json!({"name": ""}),
        json!({"name": "a".repeat(65)}),
        json!({"name": "alice", "password": "short"}),
        json!({"name": "alice", "password": "x".repeat(256)}),
        json!({"name": "alice", "password": "with\nnewline"}),
        json!({"name": "alice", "reply_mode": "sometimes"}),
        json!({"name": "alice", "enable": false}),
        json!({"password": "correct horse"}),
    ] {
        let problem = manager.post("/api/v1/users", body).await.expect(422);
        assert!(!text(&problem, "detail").is_empty());
    }
    manager.get("/api/v1/users/al-ice").await.expect(400);
    let patch = manager.admin(Method::PATCH, "/api/v1/users/nobody");
    patch
        .json(&json!({"enabled": true}))
        .send()
        .await
        .expect(404);
    let all = manager.get("/api/v1/users").await.expect(200);
    assert_eq!(all["items"], json!([]), "nothing was created by the way");
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let manager = Manager::start().await;
    for name in ["c", "e", "a", "d", "b"] {
        let request = json!({"name": name, "password": "correct horse"});
        manager.post("/api/v1/users", request).await.expect(201);
    }
    let mut names = Vec::new();
    let mut path = "/api/v1/users?limit=2".to_owned();
    let mut pages = 0;
    loop {
        let page = manager.get(&path).await.expect(200);
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= 2);
        names.extend(items.iter().map(|item| text(item, "name")));
        pages += 1;
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/api/v1/users?limit=2&cursor={next}");
    }
    assert_eq!((names.concat().as_str(), pages), ("abcde", 3));
    let whole = manager.get("/api/v1/users").await.expect(200);
    assert_eq!(whole["items"].as_array().map(Vec::len), Some(5));
    assert!(whole.get("next").is_none());
    let exact = manager.get("/api/v1/users?limit=5").await.expect(200);
    assert!(exact.get("next").is_none(), "no page follows");
}

#[tokio::test]
async fn a_page_has_bounds() {
    let manager = Manager::start().await;
    manager.get("/api/v1/users?limit=1000").await.expect(200);
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "cursor=a-b",
        "size=5",
    ] {
        manager
            .get(&format!("/api/v1/users?{query}"))
            .await
            .expect(400);
    }
}

fn fits(password: &str, record: &Value) -> bool {
    let hash = text(record, "password_hash");
    assert!(hash.starts_with("$argon2id$"));
    let hash = PasswordHash::new(&hash).expect("a PHC string");
    Argon2::default()
        .verify_password(password.as_bytes(), &hash)
        .is_ok()
}
