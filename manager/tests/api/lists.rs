//! Lists with conditions, in pages and as a table; and what a caller accepts.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Manager, client, text};

/// The values of `field` over all pages of a list.
async fn all(manager: &Manager, path: &str, field: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = manager.get(&format!("{path}{cursor}")).await.expect(200);
        let items = page["items"].as_array().expect("items");
        found.extend(items.iter().map(|item| text(item, field)));
        let Some(next) = page["next"].as_str() else {
            return found;
        };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test]
async fn users_are_found_by_what_is_known_of_them() {
    let manager = Manager::start().await;
    for (name, enabled, labels) in [
        ("ab", true, json!({"plan": "gold"})),
        ("a", false, json!({"plan": "silver"})),
        ("b", true, json!({"city": "Köln=ja"})),
        ("ac", true, json!({"plan": "gold", "city": "Ulm"})),
    ] {
        let body = json!({"name": name, "password": "correct horse", "enabled": enabled,
                          "labels": labels});
        manager.post("/api/v1/users", body).await.expect(201);
    }
    for (query, expected) in [
        ("prefix=a", "a ab ac"),
        ("prefix=ab", "ab"),
        ("prefix=c", ""),
        ("label=plan%3Dgold", "ab ac"),
        ("label=plan", "a ab ac"),
        ("label=city%3DK%C3%B6ln%3Dja", "b"),
        ("enabled=false", "a"),
        ("enabled=true&prefix=a&label=city", "ac"),
        ("label=pla", ""),
    ] {
        for limit in [1, 2, 100] {
            let path = format!("/api/v1/users?limit={limit}&{query}");
            let found = all(&manager, &path, "name").await;
            assert_eq!(found.join(" "), expected, "{path}");
        }
    }
    for query in ["enabled=maybe", "prefix=a-b", "name=a"] {
        manager
            .get(&format!("/api/v1/users?{query}"))
            .await
            .expect(400);
    }
}

#[tokio::test]
async fn nodes_and_pops_are_found_by_where_they_are() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    manager
        .post("/api/v1/pops", json!({"id": "p2", "region": "de"}))
        .await
        .expect(201);
    let (online, offline) = (manager.edge(1).await, manager.edge(2).await);
    let node = json!({"node": online.id, "address": "192.0.2.7"});
    pop.beat(2, json!({"connected": [node]})).await.expect(200);
    let mut both = [online.id.to_string(), offline.id.to_string()];
    both.sort();
    for (query, expected) in [
        ("limit=1&version=0.1.0", both.to_vec()),
        ("online=true", vec![online.id.to_string()]),
        ("online=false", vec![offline.id.to_string()]),
        ("pop=p1", vec![online.id.to_string()]),
        ("region=de", vec![]),
    ] {
        let found = all(&manager, &format!("/api/v1/nodes?{query}"), "id").await;
        assert_eq!(found, expected, "{query}");
    }
    for (query, expected) in [
        ("online=true", "p1"),
        ("region=DE", "p2"),
        ("limit=1", "p1 p2"),
    ] {
        let found = all(&manager, &format!("/api/v1/pops?{query}"), "id").await;
        assert_eq!(found.join(" "), expected, "{query}");
    }
}

#[tokio::test]
async fn nodes_come_as_a_table_to_who_asks_for_one() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let edge = manager.edge(1).await;
    let node = json!({"node": edge.id, "address": "192.0.2.7"});
    pop.beat(2, json!({"connected": [node]})).await.expect(200);
    let table = async |query: &str| {
        let call = manager.admin(Method::GET, &format!("/api/v1/nodes{query}"));
        let table = call.header("Accept", "text/csv").send().await.expect(200);
        table.as_str().expect("text").to_owned()
    };
    let whole = table("").await;
    let lines: Vec<&str> = whole.lines().collect();
    assert_eq!(lines[0], "id,online,region,pop,address,version,enrolled_at");
    let row = format!("{},true,,p1,192.0.2.7,0.1.0,", edge.id);
    assert!(lines.len() == 2 && lines[1].starts_with(&row), "{whole}");
    assert_eq!(table("?online=false").await.lines().count(), 1);
    let call = manager.admin(Method::GET, "/api/v1/nodes");
    let both = call
        .header("Accept", "application/json, text/csv;q=0.9")
        .send()
        .await;
    assert!(both.expect(200)["items"].is_array());
}

#[tokio::test]
async fn what_nobody_accepts_is_not_sent() {
    let manager = Manager::start().await;
    let ask = async |path: &str, accept: &str| {
        manager
            .admin(Method::GET, path)
            .header("Accept", accept)
            .send()
            .await
    };
    ask("/api/v1/users", "text/html").await.expect(406);
    ask("/api/v1/users", "text/csv").await.expect(406);
    ask("/api/v1/nodes", "text/html").await.expect(406);
    ask("/api/v1/users", "text/html, */*;q=0.1")
        .await
        .expect(200);
    ask("/api/v1/nowhere", "text/html").await.expect(404);
    ask("/healthz", "text/html").await.expect(200);
}

#[tokio::test]
async fn head_tells_what_get_would() {
    let manager = Manager::start().await;
    let url = format!("{}/api/v1/users", manager.url);
    let call = client().head(&url).bearer_auth(&manager.admin_token);
    let answer = call.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert!(answer.bytes().await.expect("no body").is_empty());
    let stranger = client().head(&url).send().await.expect("an answer");
    assert_eq!(stranger.status(), 401);
    let post = manager
        .admin(Method::POST, "/api/v1/users")
        .header("Content-Type", "text/plain");
    let problem = post.send().await.expect(415);
    assert_ne!(problem["detail"], Value::Null);
}
