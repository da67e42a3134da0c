//! Admin tokens: what each opens, for how long, and how often.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Manager, text};

const TOKENS: &str = "/api/v1/admin-tokens";

/// A token with these scopes.
async fn token(manager: &Manager, scopes: &[&str]) -> String {
    let body = json!({"name": format!("{scopes:?}"), "scopes": scopes});
    text(&manager.post(TOKENS, body).await.expect(201), "secret")
}

/// Asks for the route with a body that is no use, so that whoever is let in changes nothing.
async fn ask(manager: &Manager, method: &str, path: &str, token: Option<&str>) -> Answer {
    let path = path.replace("{name}", "x").replace("{id}", "x");
    let method: Method = method.to_uppercase().parse().expect("a method");
    let call = manager.anonymous(method, &path);
    match token {
        Some(token) => call.bearer(token).send().await,
        None => call.send().await,
    }
}

#[tokio::test]
async fn every_route_demands_a_token_with_its_scope() {
    let manager = Manager::start().await;
    let mut tokens = Vec::new();
    for scope in ["read", "users", "nodes", "all"] {
        tokens.push((scope, token(&manager, &[scope]).await));
    }
    let mut asked = 0;
    let paths = manager.document().0["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let of_path = item.as_object().expect("operations").iter();
        of_path.map(move |(method, operation)| (path, method, operation))
    });
    for (path, method, operation) in operations {
        let Some(enough) = operation["security"][0]["admin"].as_array() else {
            continue;
        };
        assert!(enough.contains(&json!("all")), "{method} {path}");
        ask(&manager, method, path, None).await.expect(401);
        for (scope, token) in &tokens {
            let answer = ask(&manager, method, path, Some(token)).await;
            let is_refused = matches!(answer.status, 401 | 403);
            assert_eq!(
                is_refused,
                !enough.contains(&json!(scope)),
                "{scope}: {answer:?}"
            );
            if is_refused {
                let challenge = answer.header("www-authenticate").to_owned();
                let lacking = enough[0].as_str().expect("a scope");
                assert!(challenge.contains("insufficient_scope"), "{challenge}");
                assert!(
                    challenge.contains(&format!("scope=\"{lacking}\"")),
                    "{challenge}"
                );
                let problem = answer.expect(403);
                assert!(text(&problem, "detail").ends_with(lacking), "{problem}");
            }
        }
        asked += 1;
    }
    assert!(asked > 20, "only {asked} routes");
}

#[tokio::test]
async fn the_document_tells_which_scope_each_route_demands() {
    let manager = Manager::start().await;
    let description = text(&manager.document().0["info"], "description");
    for line in [
        "| `GET /api/v1/users` | `read`, `users`, `all` |",
        "| `DELETE /api/v1/nodes/{id}` | `nodes`, `all` |",
        "| `POST /api/v1/admin-tokens` | `all` |",
    ] {
        assert!(description.contains(line), "{line} is not in {description}");
    }
}

#[tokio::test]
async fn a_token_is_shown_once_listed_and_revoked() {
    let manager = Manager::start().await;
    let body = json!({"name": "billing", "scopes": ["users"], "expires_at": 4_000_000_000_u64});
    let made = manager.post(TOKENS, body).await.expect(201);
    let (id, secret) = (text(&made, "id"), text(&made, "secret"));
    assert!(secret.starts_with(&format!("titan_admin_{id}_")));
    assert_eq!(
        (&made["scopes"], &made["last_used_at"]),
        (&json!(["users"]), &Value::Null)
    );
    let call = || {
        manager
            .anonymous(Method::GET, "/api/v1/users")
            .bearer(&secret)
    };
    call().send().await.expect(200);

    let list = manager.get(TOKENS).await.expect(200);
    assert!(!list.to_string().contains("secret"));
    let items = list["items"].as_array().expect("items");
    let listed = items
        .iter()
        .find(|item| item["id"] == id.as_str())
        .expect("listed");
    assert_eq!(
        (&listed["name"], &listed["expires_at"]),
        (&json!("billing"), &json!(4_000_000_000_u64))
    );
    assert!(listed["last_used_at"].as_u64() >= listed["created_at"].as_u64());
    let path = format!("{TOKENS}/{id}");
    manager.delete(&path).await.expect(204);
    manager.delete(&path).await.expect(404);
    call().send().await.expect(401);
}

#[tokio::test]
async fn a_token_that_has_expired_opens_nothing() {
    let manager = Manager::start().await;
    let body = json!({"name": "late", "scopes": ["all"], "expires_at": 1});
    let secret = text(&manager.post(TOKENS, body).await.expect(201), "secret");
    let call = manager.anonymous(Method::GET, TOKENS).bearer(&secret);
    call.send().await.expect(401);
    for body in [
        json!({"name": "x", "scopes": []}),
        json!({"name": "x", "scopes": ["root"]}),
        json!({"name": "", "scopes": ["all"]}),
        json!({"name": "x", "scopes": ["all"], "expires_at": u64::MAX}),
        json!({"scopes": ["all"]}),
    ] {
        manager.post(TOKENS, body).await.expect(422);
    }
}

#[tokio::test]
async fn the_last_token_for_everything_stays() {
    let manager = Manager::start().await;
    let own = manager.admin_token.split('_').nth(2).expect("an id");
    let path = format!("{TOKENS}/{own}");
    let body = json!({"name": "short", "scopes": ["all"], "expires_at": 4_000_000_000_u64});
    manager.post(TOKENS, body).await.expect(201);
    manager.delete(&path).await.expect(409);
    let other = token(&manager, &["all"]).await;
    manager.delete(&path).await.expect(204);
    manager.get(TOKENS).await.expect(401);
    let call = manager.anonymous(Method::GET, TOKENS).bearer(&other);
    call.send().await.expect(200);
}

#[tokio::test]
async fn a_token_used_too_often_is_slowed_down_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::start_with(folder, |config| {
        config.token_requests_per_s = std::num::NonZeroU32::new(3).expect("not zero");
    })
    .await;
    let other = token(&manager, &["read"]).await;
    let mut limited = None;
    // A slow machine may get some more through than three at once.
    for _ in 0..100 {
        let answer = manager.get("/api/v1/users").await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
        answer.expect(200);
    }
    let limited = limited.expect("a limit");
    let wait: u64 = limited.header("retry-after").parse().expect("seconds");
    assert!((1..=2).contains(&wait));
    let call = manager
        .anonymous(Method::GET, "/api/v1/users")
        .bearer(&other);
    call.send().await.expect(200);
}

/// Sends wrong tokens, each time with another made-up address, and counts those not turned away.
async fn wrong_tokens(manager: &Manager, count: u8) -> usize {
    let mut checked = 0;
    for number in 0..count {
        let call = manager
            .anonymous(Method::GET, "/api/v1/users")
            .bearer("wrong");
        let call = call.header("X-Forwarded-For", &format!("192.0.2.{number}"));
        let answer = call.send().await;
        match answer.status {
            401 => checked += 1,
            _ => assert!(!answer.header("retry-after").is_empty()),
        }
    }
    checked
}

#[tokio::test]
async fn a_made_up_address_does_not_help_to_guess() {
    let manager = Manager::start().await;
    let checked = wrong_tokens(&manager, 60).await;
    assert!((20..40).contains(&checked), "{checked}");
    // Who has a token is let in, whatever his neighbours do.
    manager.get("/api/v1/users").await.expect(200);
}

#[tokio::test]
async fn a_trusted_proxy_tells_its_clients_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::start_with(folder, |config| {
        config.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    assert_eq!(wrong_tokens(&manager, 60).await, 60);
}
