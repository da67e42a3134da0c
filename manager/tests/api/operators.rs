//! Who may do what, and what proves nothing.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Manager, text};

const ADMIN_READS: [&str; 8] = [
    "/api/v1/users",
    "/api/v1/users/alice",
    "/api/v1/nodes",
    "/api/v1/nodes/00000000000000000000000000000000",
    "/api/v1/pops",
    "/api/v1/pops/p1",
    "/api/v1/enrolment-keys",
    "/api/v1/users?limit=0",
];

#[tokio::test]
async fn without_a_token_nothing_is_told() {
    let manager = Manager::start().await;
    for path in ADMIN_READS {
        let answer = manager.anonymous(Method::GET, path).send().await;
        assert_eq!(
            answer.header("www-authenticate"),
            "Bearer realm=\"titan-manager\""
        );
        answer.expect(401);
    }
}

#[tokio::test]
async fn no_other_token_opens_the_operators_door() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let enrolment_key = manager.enrolment_key(None).await;
    let (head, last) = manager.admin_token.split_at(manager.admin_token.len() - 1);
    let almost = format!("{head}{}", if last == "0" { "1" } else { "0" });
    let zeros = format!("titan_admin_00_{}", "0".repeat(64));
    for token in [&pop.credential, &enrolment_key, &almost, &zeros, "x", ""] {
        let answer = manager
            .anonymous(Method::GET, "/api/v1/users")
            .bearer(token)
            .send()
            .await;
        assert!(
            answer.header("www-authenticate").starts_with("Bearer"),
            "{token}"
        );
        answer.expect(401);
    }
    let basic = manager.anonymous(Method::GET, "/api/v1/users");
    let basic = basic.header("Authorization", &format!("Basic {}", manager.admin_token));
    basic.send().await.expect(401);
    manager.get("/api/v1/users").await.expect(200);
}

/// In the system this one replaces, such a header yielded the admin token.
#[tokio::test]
async fn an_address_proves_nothing() {
    let manager = Manager::start().await;
    for name in [
        "X-Forwarded-For",
        "X-Real-IP",
        "Forwarded",
        "X-Client-IP",
        "True-Client-IP",
    ] {
        let value = if name == "Forwarded" {
            "for=127.0.0.1"
        } else {
            "127.0.0.1"
        };
        for path in ADMIN_READS {
            let call = manager.anonymous(Method::GET, path).header(name, value);
            let answer = call.send().await;
            assert!(!answer.body.to_string().contains("titan_admin_"));
            answer.expect(401);
        }
    }
}

#[tokio::test]
async fn an_enrolment_key_is_shown_once_and_can_be_withdrawn() {
    let manager = Manager::start().await;
    let key = manager
        .post("/api/v1/enrolment-keys", json!({"region": "de"}))
        .await
        .expect(201);
    assert_eq!(key["region"], "DE");
    let (id, secret) = (text(&key, "id"), text(&key, "secret"));
    assert!(secret.starts_with(&format!("titan_enrol_{id}_")));
    let list = manager.get("/api/v1/enrolment-keys").await.expect(200);
    assert_eq!(list["items"][0]["id"], id.as_str());
    assert!(!list.to_string().contains("secret"));
    let path = format!("/api/v1/enrolment-keys/{id}");
    manager.delete(&path).await.expect(204);
    manager.delete(&path).await.expect(404);
    let body = json!({"region": "Germany"});
    manager
        .post("/api/v1/enrolment-keys", body)
        .await
        .expect(422);
}

#[tokio::test]
async fn a_new_admin_token_voids_the_former() {
    let manager = Manager::start().await;
    let former = manager.admin_token.clone();
    let file = manager.folder.path().join("admin-token");
    let same = manager.bootstrap.admin_token(&file).await.expect("a token");
    assert_eq!(same, former, "a valid token stays");
    std::fs::remove_file(&file).expect("the file");
    let token = manager.bootstrap.admin_token(&file).await.expect("a token");
    assert_ne!(token, former);
    assert_eq!(
        std::fs::read_to_string(&file).expect("the file").trim(),
        token
    );
    manager.get("/api/v1/users").await.expect(401);
    let call = manager
        .anonymous(Method::GET, "/api/v1/users")
        .bearer(&token);
    call.send().await.expect(200);
}
