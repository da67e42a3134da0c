//! What an operator says about a user: limits, labels, and the package of traffic.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Manager, Pop};

/// A manager with a user of this body beside name and password, and a PoP to ask.
async fn alice(manager: &Manager, mut body: Value) -> Value {
    body["name"] = "alice".into();
    body["password"] = "correct horse".into();
    manager.post("/api/v1/users", body).await.expect(201)
}

async fn patch(manager: &Manager, body: Value) -> Answer {
    let call = manager.admin(Method::PATCH, "/api/v1/users/alice");
    call.json(&body).send().await
}

async fn record(pop: &Pop<'_>) -> Value {
    let call = pop.call(Method::GET, "/api/v1/pop/users/alice");
    call.send().await.expect(200)
}

#[tokio::test]
async fn pops_are_told_what_the_operator_said() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let created = alice(
        &manager,
        json!({
            "limits": {"up_bytes_per_second": 1000, "connections": 3,
                       "client_addresses": ["192.0.2.9/24", "2001:db8::/32"]},
            "package": {"from": 1000, "until": 2000, "bytes": 5_000_000},
            "labels": {"plan": "gold", "city": "Köln"},
        }),
    )
    .await;
    let limits = json!({"up_bytes_per_second": 1000, "connections": 3,
                        "client_addresses": ["192.0.2.0/24", "2001:db8::/32"]});
    assert_eq!(created["limits"], limits);
    assert_eq!(created["labels"], json!({"plan": "gold", "city": "Köln"}));
    let told = record(&pop).await;
    assert_eq!(told["limits"], limits);
    assert_eq!(
        (
            &told["valid_from"],
            &told["valid_until"],
            &told["bytes_left"]
        ),
        (&json!(1000), &json!(2000), &json!(5_000_000))
    );

    let patched = patch(&manager, json!({"limits": null, "package": null})).await;
    assert_eq!(patched.expect(200)["package"], Value::Null);
    let untold = record(&pop).await;
    assert_eq!(untold["limits"], json!({}));
    assert_eq!(
        (&untold["valid_until"], &untold["bytes_left"]),
        (&Value::Null, &Value::Null)
    );
    assert!(untold["version"].as_u64() > told["version"].as_u64());
}

/// The cases of RFC 7396, appendix A, that bear on nested members.
#[tokio::test]
async fn a_patch_is_merged_into_what_there_is() {
    let manager = Manager::start().await;
    alice(
        &manager,
        json!({"limits": {"connections": 3, "down_bytes_per_second": 9},
               "package": {"until": 2000}, "labels": {"plan": "gold", "city": "Köln"}}),
    )
    .await;
    let patched = patch(
        &manager,
        json!({"limits": {"connections": null}, "package": {"bytes": 7, "from": 5},
               "labels": {"plan": "silver", "city": null, "never": null}}),
    )
    .await
    .expect(200);
    assert_eq!(patched["limits"], json!({"down_bytes_per_second": 9}));
    assert_eq!(
        patched["package"],
        json!({"from": 5, "until": 2000, "bytes": 7, "used": 0, "left": 7})
    );
    assert_eq!(patched["labels"], json!({"plan": "silver"}));
    assert_eq!(
        patch(&manager, json!({"labels": null})).await.expect(200)["labels"],
        json!({})
    );
}

#[tokio::test]
async fn what_makes_no_sense_changes_nothing() {
    let manager = Manager::start().await;
    alice(&manager, json!({"package": {"from": 5, "until": 9}})).await;
    let before = manager.get("/api/v1/users/alice").await.expect(200);
    let many = |value: Value, count: usize| vec![value; count];
    let labels: serde_json::Map<_, _> = (0..33).map(|n| (format!("l{n}"), "x".into())).collect();
    for body in [
        json!({"limits": {"connections": 0}}),
        json!({"limits": {"up_bytes_per_second": 0}}),
        json!({"limits": {"up_bytes_per_second": -1}}),
        json!({"limits": {"client_addresses": ["192.0.2.1/33"]}}),
        json!({"limits": {"client_addresses": many(json!("192.0.2.0/24"), 65)}}),
        json!({"limits": {"upload": 5}}),
        json!({"package": {"from": 9}}),
        json!({"package": {"until": 253_402_300_800_u64}}),
        json!({"package": {"bytes": 9_007_199_254_740_992_u64}}),
        json!({"package": {"used": 0}}),
        json!({"labels": {"Plan": "gold"}}),
        json!({"labels": {"plan": ""}}),
        json!({"labels": {"plan": "\u{1b}[2J"}}),
        json!({"labels": labels}),
    ] {
        patch(&manager, body).await.expect(422);
    }
    assert_eq!(manager.get("/api/v1/users/alice").await.expect(200), before);
}

#[tokio::test]
async fn a_package_is_renewed_reset_and_removed() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    alice(&manager, json!({"package": {"until": 2000, "bytes": 100}})).await;
    let path = "/api/v1/users/alice/package";
    let tag = manager
        .get("/api/v1/users/alice")
        .await
        .header("etag")
        .to_owned();
    let renew = async |tag: Option<&str>, body: Value| {
        let call = manager.admin(Method::POST, path);
        let call = match tag {
            Some(tag) => call.header("If-Match", tag),
            None => call,
        };
        call.json(&body).send().await
    };
    let bought = json!({"bytes": 50, "until": 3000});
    renew(None, bought.clone()).await.expect(428);
    renew(Some("*"), bought.clone()).await.expect(428);
    let renewed = renew(Some(&tag), bought.clone()).await;
    assert_ne!(renewed.header("etag"), tag);
    assert_eq!(
        renewed.expect(200)["package"],
        json!({"from": null, "until": 3000, "bytes": 150, "used": 0, "left": 150})
    );
    renew(Some(&tag), bought).await.expect(412);
    assert_eq!(record(&pop).await["bytes_left"], 150);

    let tag = manager
        .get("/api/v1/users/alice")
        .await
        .header("etag")
        .to_owned();
    for nothing in [
        json!({}),
        json!({"bytes": 0}),
        json!({"until": 3000}),
        json!({"byte": 1}),
    ] {
        renew(Some(&tag), nothing).await.expect(422);
    }
    manager
        .post(&format!("{path}/reset"), json!(null))
        .await
        .expect(200);
    manager.delete(path).await.expect(204);
    manager.delete(path).await.expect(204);
    manager
        .post(&format!("{path}/reset"), json!(null))
        .await
        .expect(409);
    assert_eq!(record(&pop).await["valid_until"], Value::Null);
    manager
        .delete("/api/v1/users/nobody/package")
        .await
        .expect(404);
}
