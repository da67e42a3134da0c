//! The event stream: what PoPs hear, and when.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Manager, Pop};

/// A change is told this soon, on a busy machine too: far sooner than the wait for nothing ends.
const SOON: Duration = Duration::from_secs(5);

async fn events(pop: &Pop<'_>, after: u64) -> Value {
    ask(pop, &format!("?after={after}")).await.expect(200)
}

async fn ask(pop: &Pop<'_>, query: &str) -> Answer {
    let path = format!("/api/v1/pop/events{query}");
    pop.call(Method::GET, &path).send().await
}

async fn cursor(pop: &Pop<'_>) -> u64 {
    let start = ask(pop, "").await.expect(200);
    assert_eq!(
        (&start["events"], &start["gap"]),
        (&json!([]), &json!(false))
    );
    start["cursor"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_pop_that_waits_hears_of_changes_at_once() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let edge = manager.edge(1).await;
    let user = json!({"name": "alice"});
    manager.post("/api/v1/users", user).await.expect(201);
    let mut after = cursor(&pop).await;
    let node = format!("/api/v1/nodes/{}", edge.id);
    let kick = format!("{node}/kick");
    let changes = [
        (Method::PATCH, "/api/v1/users/alice", "user_changed"),
        (Method::POST, &kick, "node_kicked"),
        (Method::DELETE, &node, "node_deleted"),
        (Method::DELETE, "/api/v1/users/alice", "user_deleted"),
    ];
    for (method, path, kind) in changes {
        let change = async {
            let call = manager.admin(method.clone(), path);
            let answer = match method {
                Method::PATCH => call.json(&json!({"enabled": false})).send().await,
                _ => call.send().await,
            };
            assert!(answer.status < 300, "{kind}: {}", answer.status);
        };
        let start = Instant::now();
        let (page, ()) = tokio::join!(events(&pop, after), change);
        assert!(start.elapsed() < SOON, "{kind}");
        let events = page["events"].as_array().expect("a list");
        assert_eq!(events.len(), 1, "{page}");
        assert_eq!(events[0]["change"]["kind"], kind);
        after = page["cursor"].as_u64().expect("a number");
        assert_eq!(events[0]["cursor"], after);
    }
    manager.admin(Method::POST, &kick).send().await.expect(404);
}

#[tokio::test]
async fn a_pop_that_was_away_catches_up_or_hears_of_a_gap() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let user = json!({"name": "alice"});
    manager.post("/api/v1/users", user).await.expect(201);
    let after = cursor(&pop).await;
    for enabled in [false, true] {
        let call = manager.admin(Method::PATCH, "/api/v1/users/alice");
        let answer = call.json(&json!({"enabled": enabled})).send().await;
        answer.expect(200);
    }
    let page = events(&pop, after).await;
    assert_eq!(page["events"].as_array().expect("a list").len(), 2);
    let versions = [0, 1].map(|place| page["events"][place]["change"]["version"].as_u64());
    assert!(versions[0] < versions[1], "{page}");
    let ahead = events(&pop, u64::MAX - 1).await;
    assert_eq!(
        (&ahead["gap"], &ahead["cursor"]),
        (&json!(true), &page["cursor"])
    );
    ask(&pop, "?after=yesterday").await.expect(400);
}
