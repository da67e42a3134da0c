//! A manager with the edge's three routes, which checks every signature.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::post,
};
use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use titan_proto::control::{
    Assignment, AssignmentRequest, Challenge, EnrolRequest, EnrolResponse, NodeId, PopId,
    assignment_message, enrolment_message,
};

pub const ENROLMENT_KEY: &str = "a key to enrol with";
pub const REGION: &str = "DE";

#[derive(Clone)]
pub struct TestManager {
    address: std::net::SocketAddr,
    state: Arc<Mutex<Records>>,
}

struct Records {
    pops: Vec<(PopId, String)>,
    nodes: HashMap<NodeId, VerifyingKey>,
    away: bool,
    token_lifetime_s: u64,
    assignments: u32,
    avoided: Vec<Option<PopId>>,
}

type Shared = State<TestManager>;
type Answer<T> = Result<Json<T>, StatusCode>;

impl TestManager {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let records = Records {
            pops: Vec::new(),
            nodes: HashMap::new(),
            away: false,
            token_lifetime_s: 3600,
            assignments: 0,
            avoided: Vec::new(),
        };
        let manager = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(records)),
        };
        let routes = Router::new()
            .route("/api/v1/nodes/enrol", post(enrol))
            .route("/api/v1/nodes/{id}/challenge", post(challenge))
            .route("/api/v1/nodes/{id}/assignment", post(assignment))
            .with_state(manager.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        manager
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn add_pop(&self, id: &str, url: &str) {
        self.records()
            .pops
            .push((id.parse().unwrap(), url.to_owned()));
    }

    /// From now on every answer is 503.
    pub fn go_away(&self) {
        self.records().away = true;
    }

    pub fn set_token_lifetime(&self, seconds: u64) {
        self.records().token_lifetime_s = seconds;
    }

    /// Tokens given out so far.
    pub fn assignments(&self) -> u32 {
        self.records().assignments
    }

    /// What each request for an assignment wanted to avoid.
    pub fn avoided(&self) -> Vec<Option<PopId>> {
        self.records().avoided.clone()
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.state.lock().unwrap()
    }

    fn present(&self) -> Result<MutexGuard<'_, Records>, StatusCode> {
        let records = self.records();
        if records.away {
            Err(StatusCode::SERVICE_UNAVAILABLE)
        } else {
            Ok(records)
        }
    }
}

async fn enrol(manager: Shared, Json(request): Json<EnrolRequest>) -> Answer<EnrolResponse> {
    let mut records = manager.present()?;
    if request.enrolment_key != ENROLMENT_KEY {
        return Err(StatusCode::FORBIDDEN);
    }
    let public = hex::decode(&request.public_key)
        .unwrap()
        .try_into()
        .unwrap();
    let key = VerifyingKey::from_bytes(&public).unwrap();
    check(&key, &enrolment_message(ENROLMENT_KEY), &request.signature)?;
    let node_id = NodeId::from_public_key(&public);
    records.nodes.insert(node_id, key);
    Ok(Json(EnrolResponse {
        node_id,
        region: Some(REGION.parse().unwrap()),
    }))
}

async fn challenge(manager: Shared, Path(node): Path<NodeId>) -> Answer<Challenge> {
    let records = manager.present()?;
    if !records.nodes.contains_key(&node) {
        return Err(StatusCode::NOT_FOUND);
    }
    Ok(Json(Challenge {
        challenge: format!("challenge of {node}"),
    }))
}

async fn assignment(
    manager: Shared,
    Path(node): Path<NodeId>,
    Json(request): Json<AssignmentRequest>,
) -> Answer<Assignment> {
    let mut records = manager.present()?;
    let key = *records.nodes.get(&node).ok_or(StatusCode::NOT_FOUND)?;
    let message = assignment_message(node, &format!("challenge of {node}"));
    check(&key, &message, &request.signature)?;
    let wanted = records
        .pops
        .iter()
        .find(|(id, _)| Some(id) != request.avoid.as_ref());
    let (pop, url) = wanted.or(records.pops.first()).unwrap().clone();
    records.assignments += 1;
    records.avoided.push(request.avoid);
    Ok(Json(Assignment {
        pop,
        tunnel_url: url,
        token: format!("token-{}", records.assignments),
        expires_in_s: records.token_lifetime_s,
        region: Some(REGION.parse().unwrap()),
    }))
}

fn check(key: &VerifyingKey, message: &[u8], signature: &str) -> Result<(), StatusCode> {
    let signature = Signature::from_slice(&hex::decode(signature).unwrap()).unwrap();
    key.verify(message, &signature)
        .map_err(|_| StatusCode::UNAUTHORIZED)
}
