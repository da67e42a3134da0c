//! Usage from a PoP's report to what operators see of it.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Manager, Pop};

/// The run of a PoP that the tests report for.
const STREAM: &str = "00112233445566778899aabbccddeeff";

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

fn user(name: &str, up: u64, down: u64) -> Value {
    json!({"name": name, "up_bytes": up, "down_bytes": down, "sessions": 1, "connections": 2})
}

/// One batch that ended just now.
fn batch(sequence: u64, users: &[Value]) -> Value {
    json!({"sequence": sequence, "at": now(), "users": users})
}

async fn report(pop: &Pop<'_>, batches: &[Value]) -> Answer {
    let report = json!({"stream": STREAM, "sent_at": now(), "batches": batches});
    let call = pop.call(Method::POST, "/api/v1/pop/usage");
    call.json(&report).send().await
}

#[tokio::test]
async fn what_a_pop_reports_is_what_operators_see() {
    let manager = Manager::start().await;
    let alice = json!({"name": "alice"});
    manager.post("/api/v1/users", alice).await.expect(201);
    let nothing = manager.get("/api/v1/users/alice/usage").await.expect(200);
    assert_eq!(nothing["total"]["up_bytes"], 0);
    let pop = manager.pop("p1").await;
    let first = batch(1, &[user("alice", 10, 20), user("gone", 1, 1)]);
    let reply = report(&pop, std::slice::from_ref(&first)).await.expect(200);
    let standings = json!([
        {"name": "alice", "state": "active", "bytes_left": null},
        {"name": "gone", "state": "gone", "bytes_left": null},
    ]);
    assert_eq!(reply, json!({"applied": 1, "users": standings}));
    let second = batch(2, &[user("alice", 5, 5)]);
    report(&pop, &[first, second]).await.expect(200);
    let usage = manager.get("/api/v1/users/alice/usage").await.expect(200);
    let total = json!({"up_bytes": 15, "down_bytes": 25, "sessions": 2});
    assert_eq!((&usage["total"], &usage["package"]), (&total, &total));
    assert_eq!(usage["connections"], 2);
    assert_eq!(usage["up_bytes_per_second"], 5, "of the last interval");
    let gone = manager.get("/api/v1/users/gone/usage").await.expect(200);
    assert_eq!(gone["total"]["down_bytes"], 1);
    manager.get("/api/v1/users/nobody/usage").await.expect(404);
}

#[tokio::test]
async fn a_gap_is_refused_with_the_sequence_that_would_be_taken() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    report(&pop, &[batch(1, &[user("a", 1, 1)])])
        .await
        .expect(200);
    let gap = report(&pop, &[batch(3, &[user("a", 1, 1)])])
        .await
        .expect(409);
    assert_eq!(gap["expected"], 2);
    let usage = manager.get("/api/v1/users/a/usage").await.expect(200);
    assert_eq!(usage["total"]["up_bytes"], 1);
}

#[tokio::test]
async fn a_report_that_makes_no_sense_counts_nothing() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let many: Vec<Value> = (1..=65).map(|n| batch(n, &[])).collect();
    for batches in [
        vec![],
        many,
        vec![batch(0, &[])],
        vec![batch(1, &[]), batch(3, &[])],
        vec![batch(1, &[user("b", 1, 1), user("a", 1, 1)])],
        vec![batch(1, &[user("a", 1, 1), user("a", 1, 1)])],
        vec![batch(1, &[user("a-b", 1, 1)])],
    ] {
        report(&pop, &batches).await.expect(422);
    }
    manager.get("/api/v1/users/a/usage").await.expect(404);
    let call = manager.admin(Method::POST, "/api/v1/pop/usage");
    let body = json!({"stream": STREAM, "sent_at": now(), "batches": [batch(1, &[])]});
    call.json(&body).send().await.expect(401);
}

#[tokio::test]
async fn an_old_batch_counts_when_it_was_relayed_whatever_the_pops_clock_says() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    // The PoP's clock is ten days late, and the batch two days old.
    let sent_at = now() - 10 * 86_400;
    let batch = json!({"sequence": 1, "at": sent_at - 2 * 86_400, "users": [user("a", 7, 0)]});
    let body = json!({"stream": STREAM, "sent_at": sent_at, "batches": [batch]});
    let call = pop.call(Method::POST, "/api/v1/pop/usage").json(&body);
    call.send().await.expect(200);
    let url = format!(
        "/api/v1/users/a/usage/series?resolution=1d&from={}",
        now() - 3 * 86_400
    );
    let series = manager.get(&url).await.expect(200);
    let days: Vec<_> = series["points"]
        .as_array()
        .expect("points")
        .iter()
        .collect();
    let day = days.iter().rev().nth(2).expect("three days and today");
    assert_eq!((days.len(), &day["up_bytes"]), (4, &json!(7)), "{series}");
    let usage = manager.get("/api/v1/users/a/usage").await.expect(200);
    assert_eq!(usage["up_bytes_per_second"], 0, "that was long ago");
}

#[tokio::test]
async fn a_series_comes_as_json_and_as_csv() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    report(&pop, &[batch(1, &[user("a", 7, 3)])])
        .await
        .expect(200);
    for (resolution, kept) in [("5m", 576), ("1h", 1440), ("1d", 732)] {
        let url = format!("/api/v1/users/a/usage/series?resolution={resolution}");
        let series = manager.get(&url).await.expect(200);
        let points = series["points"].as_array().expect("points");
        assert_eq!(points.len(), kept + 1, "{resolution}");
        let up: u64 = points.iter().filter_map(|p| p["up_bytes"].as_u64()).sum();
        assert_eq!(up, 7);
        // Not through the harness, which expects JSON.
        let get = || {
            let request = crate::harness::client().get(format!("{}{url}", manager.url));
            request.bearer_auth(&manager.admin_token)
        };
        for request in [
            get().header("Accept", "text/csv"),
            get().query(&[("format", "csv")]),
        ] {
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.headers()["content-type"], "text/csv");
            let text = answer.text().await.expect("text");
            let mut lines = text.lines();
            assert_eq!(lines.next(), Some("start,up_bytes,down_bytes,sessions"));
            assert_eq!(lines.clone().count(), kept + 1);
            assert_eq!(lines.filter(|line| line.ends_with(",7,3,1")).count(), 1);
        }
    }
    for wrong in [
        "",
        "?resolution=2h",
        "?resolution=1h&from=9&until=9",
        "?resolution=1h&to=1",
    ] {
        let url = format!("/api/v1/users/a/usage/series{wrong}");
        manager.get(&url).await.expect(400);
    }
}

#[tokio::test]
async fn the_greatest_users_are_listed_by_their_bytes() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let users = [user("a", 1, 1), user("b", 900_000, 0), user("c", 5, 5)];
    report(&pop, &[batch(1, &users)]).await.expect(200);
    let top = manager.get("/api/v1/usage/top?limit=2").await.expect(200);
    let names: Vec<_> = top["users"]
        .as_array()
        .expect("users")
        .iter()
        .map(|u| &u["name"])
        .collect();
    assert_eq!(names, ["b", "c"]);
    assert!(
        top["users"][0]["bytes_per_second"].as_u64() >= Some(900_000 / 600),
        "{top}"
    );
    manager.get("/api/v1/usage/top?limit=0").await.expect(400);
    manager
        .get("/api/v1/usage/top?resolution=1d")
        .await
        .expect(200);
}

#[tokio::test]
async fn usage_is_taken_from_the_package_until_it_is_reset() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let created = json!({"name": "a", "package": {"bytes": 100}});
    manager.post("/api/v1/users", created).await.expect(201);
    report(&pop, &[batch(1, &[user("a", 7, 3)])])
        .await
        .expect(200);
    let package = async || manager.get("/api/v1/users/a").await.expect(200)["package"].clone();
    let (used, left) = (json!(10), json!(90));
    assert_eq!(
        (&package().await["used"], &package().await["left"]),
        (&used, &left)
    );
    let record = pop
        .call(Method::GET, "/api/v1/pop/users/a")
        .send()
        .await
        .expect(200);
    assert_eq!(record["bytes_left"], left);
    manager
        .post("/api/v1/users/a/package/reset", json!({}))
        .await
        .expect(200);
    assert_eq!(package().await["left"], json!(100));
    let usage = manager.get("/api/v1/users/a/usage").await.expect(200);
    assert_eq!(
        (&usage["package"]["up_bytes"], &usage["total"]["up_bytes"]),
        (&json!(0), &json!(7))
    );
}
