//! Edges: enrolment, challenges, assignment and the token that comes of it.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use reqwest::Method;
use serde_json::{Value, json};
use titan_proto::control::{NodeId, TOKEN_ISSUER, TunnelClaims, assignment_message};

use crate::harness::{Edge, Manager, text};

#[tokio::test]
async fn an_edge_enrols_as_often_as_it_likes() {
    let manager = Manager::start().await;
    let edge = Edge::new(&manager, 1);
    let key = manager.enrolment_key(Some("us")).await;
    let first = edge.enrol(&key).await.expect(200);
    assert_eq!(first, json!({"node_id": edge.id, "region": "US"}));
    assert_eq!(edge.enrol(&key).await.expect(200), first);
    let nodes = manager.get("/api/v1/nodes").await.expect(200);
    assert_eq!(nodes["items"].as_array().map(Vec::len), Some(1));
    let path = format!("/api/v1/nodes/{}", edge.id);
    manager.delete(&path).await.expect(204);
    manager.delete(&path).await.expect(404);
    let challenge = manager.anonymous(Method::POST, &format!("{path}/challenge"));
    challenge.send().await.expect(404);
}

#[tokio::test]
async fn an_enrolment_needs_a_valid_key_and_the_private_key() {
    let manager = Manager::start().await;
    let (edge, other) = (Edge::new(&manager, 1), Edge::new(&manager, 2));
    let key = manager.enrolment_key(None).await;
    let change = |field: &str, value: Value| {
        let mut request = edge.enrolment(&key);
        request[field] = value;
        request
    };
    edge.enrol("titan_enrol_x_y").await.expect(403);
    edge.enrol(&manager.admin_token).await.expect(403);
    let stolen = change("public_key", other.public_key().into());
    edge.enrol_as(&stolen).await.expect(403);
    edge.enrol_as(&change("signature", "00".repeat(64).into()))
        .await
        .expect(403);
    edge.enrol_as(&change("signature", "zz".into()))
        .await
        .expect(403);
    edge.enrol_as(&change("public_key", "zz".into()))
        .await
        .expect(422);
    // The neutral element: under it, a signature of zeros fits every message.
    let weak = format!("01{}", "00".repeat(31));
    edge.enrol_as(&change("public_key", weak.into()))
        .await
        .expect(422);
    edge.enrol_as(&change("version", "\n".into()))
        .await
        .expect(422);
    let nodes = manager.get("/api/v1/nodes").await.expect(200);
    assert_eq!(nodes["items"], json!([]));

    let keys = manager.get("/api/v1/enrolment-keys").await.expect(200);
    let id = text(&keys["items"][0], "id");
    manager
        .delete(&format!("/api/v1/enrolment-keys/{id}"))
        .await
        .expect(204);
    edge.enrol(&key).await.expect(403);
}

#[tokio::test]
async fn a_token_is_for_one_node_at_one_pop() {
    let manager = Manager::start().await;
    let pop = manager.pop("p1").await;
    let edge = Edge::new(&manager, 1);
    edge.enrol(&manager.enrolment_key(Some("us")).await)
        .await
        .expect(200);
    let assignment = edge.assignment(None).await.expect(200);
    assert_eq!(assignment["pop"], "p1");
    assert_eq!(assignment["tunnel_url"], "ws://p1.example:8081/tunnel");
    assert_eq!(assignment["expires_in_s"], 300);
    let token = text(&assignment, "token");
    let reply = pop.beat(2, json!({})).await.expect(200);
    let key = hex::decode(text(&reply, "token_key")).expect("hex");

    let claims = verify(&token, &key, "p1").expect("a valid token");
    assert_eq!((claims.sub, claims.aud.as_str()), (edge.id, "p1"));
    assert_eq!(
        (claims.iss.as_str(), claims.exp - claims.iat),
        (TOKEN_ISSUER, 300)
    );
    assert_eq!(claims.region, "us".parse().ok());
    assert!(verify(&token, &key, "p2").is_none(), "another PoP");
    assert!(verify(&token, &[7; 32], "p1").is_none(), "another manager");
    let (body, signature) = token.rsplit_once('.').expect("three parts");
    let forged = format!("{body}x.{signature}");
    assert!(verify(&forged, &key, "p1").is_none(), "another content");
}

#[tokio::test]
async fn a_challenge_is_good_once() {
    let manager = Manager::start().await;
    manager.pop("p1").await;
    let edge = manager.edge(1).await;
    let request = edge.answer(&edge.challenge().await);
    edge.ask(&request).await.expect(200);
    let again = edge.ask(&request).await.expect(403);
    assert!(text(&again, "detail").contains("challenge"));
    edge.assignment(None).await.expect(200);
}

#[tokio::test]
async fn no_node_can_claim_anothers_id() {
    let manager = Manager::start().await;
    manager.pop("p1").await;
    let (victim, thief) = (manager.edge(1).await, manager.edge(2).await);

    // The thief signs the victim's challenge with its own key.
    let challenge = victim.challenge().await;
    let signature = thief.sign(&assignment_message(victim.id, &challenge));
    let request = json!({"challenge": challenge, "signature": signature, "version": "1"});
    victim.ask(&request).await.expect(403);
    // The thief answers, in the victim's name, a challenge made for the thief.
    let own = thief.challenge().await;
    let signature = thief.sign(&assignment_message(victim.id, &own));
    let request = json!({"challenge": own, "signature": signature, "version": "1"});
    victim.ask(&request).await.expect(403);
    // The thief repeats what the victim once signed.
    let recorded = victim.answer(&challenge);
    thief.ask(&recorded).await.expect(403);
    // A failed attempt does not use the victim's challenge up.
    victim.ask(&recorded).await.expect(200);
}

#[tokio::test]
async fn a_forged_challenge_is_refused() {
    let manager = Manager::start().await;
    manager.pop("p1").await;
    let edge = manager.edge(1).await;
    for challenge in [
        "",
        "AAAA",
        "no base64",
        &"A".repeat(75),
        &"A".repeat(10_000),
    ] {
        edge.ask(&edge.answer(challenge)).await.expect(403);
    }
    let stranger = Edge::new(&manager, 9);
    stranger.ask(&stranger.answer("AAAA")).await.expect(404);
    let bad_id = manager.anonymous(Method::POST, "/api/v1/nodes/zz/challenge");
    bad_id.send().await.expect(400);
}

#[tokio::test]
async fn an_edge_goes_where_there_is_room_and_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::start_with(folder, |config| config.max_tunnels_per_pop = 3).await;
    let edge = manager.edge(1).await;
    let nowhere = edge.assignment(None).await;
    assert_eq!(nowhere.header("retry-after"), "5");
    nowhere.expect(503);

    let (p1, p2) = (manager.pop("p1").await, manager.pop("p2").await);
    p1.beat(2, json!({"tunnels": 2})).await.expect(200);
    p2.beat(2, json!({"tunnels": 1})).await.expect(200);
    let goes_to = async |avoid| edge.assignment(avoid).await.expect(200)["pop"].clone();
    assert_eq!(goes_to(None).await, "p2", "the emptier one");
    p2.beat(3, json!({"tunnels": 2})).await.expect(200);
    p1.beat(3, json!({"tunnels": 0})).await.expect(200);
    assert_eq!(goes_to(None).await, "p2", "where it was");
    assert_eq!(
        goes_to(Some("p2")).await,
        "p1",
        "not where it could not get"
    );
    assert_eq!(goes_to(None).await, "p1", "where it was");
    p1.beat(4, json!({"tunnels": 3})).await.expect(200);
    p2.beat(4, json!({"tunnels": 2})).await.expect(200);
    assert_eq!(goes_to(None).await, "p2", "where there is room");
    p2.beat(5, json!({"accepting": false})).await.expect(200);
    edge.assignment(None).await.expect(503);
    p1.beat(6, json!({"tunnels": 2})).await.expect(200);
    assert_eq!(goes_to(Some("p1")).await, "p1", "better than nothing");
    let node = manager
        .get(&format!("/api/v1/nodes/{}", edge.id))
        .await
        .expect(200);
    assert_eq!(
        (&node["pop"], &node["version"]),
        (&json!("p1"), &json!("0.2.0"))
    );
}

#[tokio::test]
async fn a_crowd_is_spread_between_two_heartbeats() {
    let manager = Manager::start().await;
    let (p1, p2) = (manager.pop("p1").await, manager.pop("p2").await);
    let mut counts = [0; 2];
    for seed in 1..=6 {
        let assignment = manager.edge(seed).await.assignment(None).await.expect(200);
        counts[usize::from(assignment["pop"] == p2.id.as_str())] += 1;
    }
    assert_eq!(counts, [3, 3], "{} {}", p1.id, p2.id);
}

#[tokio::test]
async fn nodes_come_in_pages() {
    let manager = Manager::start().await;
    let mut ids: Vec<NodeId> = Vec::new();
    for seed in 1..=3 {
        ids.push(manager.edge(seed).await.id);
    }
    ids.sort();
    let first = manager.get("/api/v1/nodes?limit=2").await.expect(200);
    assert_eq!(first["items"][1]["id"], json!(ids[1]));
    let next = text(&first, "next");
    let second = manager
        .get(&format!("/api/v1/nodes?limit=2&cursor={next}"))
        .await
        .expect(200);
    assert_eq!(second["items"][0]["id"], json!(ids[2]));
    assert!(second.get("next").is_none());
}

fn verify(token: &str, public_key: &[u8], pop: &str) -> Option<TunnelClaims> {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&[pop]);
    validation.set_issuer(&[TOKEN_ISSUER]);
    validation.leeway = 0;
    let key = DecodingKey::from_ed_der(public_key);
    decode::<TunnelClaims>(token, &key, &validation)
        .ok()
        .map(|token| token.claims)
}
