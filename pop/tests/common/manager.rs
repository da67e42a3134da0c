//! A manager of the size of a test: one PoP, one user, and a switch to make it fail.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version,
    password_hash::phc::PasswordHash,
};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
use jsonwebtoken::{EncodingKey, Header, encode};
use titan_proto::control::{
    Change, Event, EventsPage, NodeId, PopHeartbeat, PopHeartbeatReply, Problem, TOKEN_ISSUER,
    TunnelClaims, UsageReply, UsageReport, UsageTotals, UserLimits, UserRecord,
};
use tokio::sync::watch;

pub const CREDENTIAL: &str = "the pop's credential";

/// The manager's handle for a test.
pub struct Manager {
    address: SocketAddr,
    pub state: Arc<Mutex<Records>>,
    key: SigningKey,
}

/// What it holds and what it has heard.
#[derive(Default)]
pub struct Records {
    pub users: HashMap<String, UserRecord>,
    pub heartbeats: Vec<PopHeartbeat>,
    pub lookups: usize,
    /// What each user has relayed, by the reports that were new.
    pub usage: HashMap<String, UsageTotals>,
    /// Sessions of each user, as last reported.
    pub connections: HashMap<String, u64>,
    /// The last sequence that was counted of each stream.
    pub streams: HashMap<String, u64>,
    /// Answer usage reports with 500.
    pub counts_nothing: bool,
    /// Answer everything with 500.
    pub away: bool,
    /// Ask for the whole list once.
    pub resync: bool,
    /// What a PoP that follows them has not heard of is not there yet for it.
    pub events: Vec<Event>,
    /// Answer the next request for events with a gap.
    pub gap: bool,
    /// A PoP waits for events.
    pub followed: bool,
    happened: watch::Sender<usize>,
    token_key: String,
}

impl Manager {
    pub async fn start() -> Self {
        let key = SigningKey::from_bytes(&[9; 32]);
        let token_key = hex::encode(key.verifying_key().to_bytes());
        let state = Arc::new(Mutex::new(Records {
            token_key,
            ..Records::default()
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("binds");
        let address = listener.local_addr().expect("an address");
        let router = Router::new()
            .route("/api/v1/pop/heartbeat", post(heartbeat))
            .route("/api/v1/pop/usage", post(usage))
            .route("/api/v1/pop/users/{name}", get(user))
            .route("/api/v1/pop/events", get(events))
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let manager = Self {
            address,
            state,
            key,
        };
        manager.set_user(super::USER, super::PASSWORD, |_| {});
        manager
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes or changes a user; every change is a new version, of which the PoP hears.
    pub fn set_user(&self, name: &str, password: &str, adjust: impl FnOnce(&mut UserRecord)) {
        let version = self.set_user_silently(name, password, adjust);
        let name = name.parse().expect("a name");
        self.tell(Change::UserChanged { name, version });
    }

    /// Removes a user.
    pub fn remove_user(&self, name: &str) {
        let mut records = self.state.lock().expect("not poisoned");
        records.users.remove(name).expect("there is one");
        drop(records);
        let name = name.parse().expect("a name");
        self.tell(Change::UserDeleted { name });
    }

    /// Has the PoP hear of something.
    pub fn tell(&self, change: Change) {
        let mut records = self.state.lock().expect("not poisoned");
        let cursor = records.events.len() as u64 + 1;
        let at = unix_s();
        records.events.push(Event { cursor, at, change });
        let events = records.events.len();
        records.happened.send_replace(events);
    }

    /// Has the PoP hear that it has missed something.
    pub fn tell_gap(&self) {
        let mut records = self.state.lock().expect("not poisoned");
        records.gap = true;
        let events = records.events.len();
        records.happened.send_replace(events);
    }

    /// Makes or changes a user of whom the PoP does not hear; gives the new version.
    pub fn set_user_silently(
        &self,
        name: &str,
        password: &str,
        adjust: impl FnOnce(&mut UserRecord),
    ) -> u64 {
        let mut records = self.state.lock().expect("not poisoned");
        let known = records.users.get(name);
        let version = known.map_or(1, |user| user.version + 1);
        // A hash is salted: the same password must stay the same one.
        let hash = known
            .map(|user| user.password_hash.clone())
            .filter(|hash| verifies(hash, password));
        let mut record = UserRecord {
            name: name.parse().expect("a name"),
            version,
            password_hash: hash.unwrap_or_else(|| cheap_hash(password)),
            enabled: true,
            reply_mode: None,
            valid_from: None,
            valid_until: None,
            bytes_left: None,
            limits: UserLimits::default(),
        };
        adjust(&mut record);
        records.users.insert(name.to_owned(), record);
        version
    }

    /// What a user has relayed, by what was reported.
    pub fn usage(&self, name: &str) -> UsageTotals {
        let records = self.state.lock().expect("not poisoned");
        records.usage.get(name).copied().unwrap_or_default()
    }

    /// Sessions that a user has, by what was reported.
    pub fn connections(&self, name: &str) -> u64 {
        let records = self.state.lock().expect("not poisoned");
        records.connections.get(name).copied().unwrap_or(0)
    }

    pub fn set_away(&self, away: bool) {
        self.state.lock().expect("not poisoned").away = away;
    }

    /// A token for node number `node`.
    pub fn token(&self, node: u64) -> String {
        self.token_with(node, |_| {})
    }

    pub fn token_with(&self, node: u64, adjust: impl FnOnce(&mut TunnelClaims)) -> String {
        let now = unix_s();
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&node.to_be_bytes());
        let mut claims = TunnelClaims {
            iss: TOKEN_ISSUER.into(),
            sub: NodeId::from_public_key(&seed),
            aud: "pop1".parse().expect("an id"),
            iat: now,
            exp: now + 60,
            region: None,
        };
        adjust(&mut claims);
        let der = self.key.to_pkcs8_der().expect("a key");
        let header = Header::new(jsonwebtoken::Algorithm::EdDSA);
        encode(&header, &claims, &EncodingKey::from_ed_der(der.as_bytes())).expect("a token")
    }
}

async fn heartbeat(
    State(state): State<Arc<Mutex<Records>>>,
    headers: HeaderMap,
    Json(heartbeat): Json<PopHeartbeat>,
) -> Result<Json<PopHeartbeatReply>, StatusCode> {
    let mut records = state.lock().expect("not poisoned");
    check(&records, &headers)?;
    records.heartbeats.push(heartbeat);
    let resync = std::mem::take(&mut records.resync);
    let pop = "pop1".parse().expect("an id");
    Ok(Json(PopHeartbeatReply {
        pop,
        token_key: records.token_key.clone(),
        resync,
    }))
}

async fn usage(
    State(state): State<Arc<Mutex<Records>>>,
    headers: HeaderMap,
    Json(report): Json<UsageReport>,
) -> Result<Json<UsageReply>, Response> {
    let mut records = state.lock().expect("not poisoned");
    check(&records, &headers).map_err(StatusCode::into_response)?;
    if records.counts_nothing {
        return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response());
    }
    let stream = report.stream.to_string();
    let mut applied = records.streams.get(&stream).copied().unwrap_or(0);
    for batch in report.batches {
        if batch.sequence > applied + 1 {
            return Err(out_of_order(applied + 1));
        }
        if batch.sequence == applied + 1 {
            applied += 1;
            for user in &batch.users {
                let name = user.name.to_string();
                records
                    .usage
                    .entry(name.clone())
                    .or_default()
                    .add(&user.into());
                records.connections.insert(name, user.connections);
            }
        }
    }
    records.streams.insert(stream, applied);
    let users = Vec::new();
    Ok(Json(UsageReply { applied, users }))
}

fn out_of_order(expected: u64) -> Response {
    let problem = Problem {
        kind: "about:blank".into(),
        title: "Conflict".into(),
        status: 409,
        detail: None,
        expected: Some(expected),
    };
    (StatusCode::CONFLICT, Json(problem)).into_response()
}

async fn user(
    State(state): State<Arc<Mutex<Records>>>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<Json<UserRecord>, StatusCode> {
    let mut records = state.lock().expect("not poisoned");
    check(&records, &headers)?;
    records.lookups += 1;
    records
        .users
        .get(&name)
        .cloned()
        .map(Json)
        .ok_or(StatusCode::NOT_FOUND)
}

async fn events(
    State(state): State<Arc<Mutex<Records>>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, u64>>,
) -> Result<Json<EventsPage>, StatusCode> {
    let mut happened = {
        let records = state.lock().expect("not poisoned");
        check(&records, &headers)?;
        records.happened.subscribe()
    };
    loop {
        if let Some(page) = page(&state, query.get("after").copied()) {
            return Ok(Json(page));
        }
        if happened.changed().await.is_err() {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
    }
}

/// What has happened behind a cursor; `None` where it is to be waited for.
fn page(state: &Mutex<Records>, after: Option<u64>) -> Option<EventsPage> {
    let mut records = state.lock().expect("not poisoned");
    let latest = records.events.len() as u64;
    let gap = std::mem::take(&mut records.gap);
    let after = after.unwrap_or_default();
    records.followed = after > 0;
    let seen = usize::try_from(after).expect("few");
    let events = match after {
        0 => Vec::new(),
        _ => records.events.split_at(seen).1.to_vec(),
    };
    (after == 0 || gap || !events.is_empty()).then_some(EventsPage {
        events,
        cursor: latest,
        gap,
    })
}

fn check(records: &Records, headers: &HeaderMap) -> Result<(), StatusCode> {
    if records.away {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let expected = format!("Bearer {CREDENTIAL}");
    match headers.get("authorization") {
        Some(value) if value.as_bytes() == expected.as_bytes() => Ok(()),
        _ => Err(StatusCode::UNAUTHORIZED),
    }
}

/// The time by this machine's clock, in seconds since the Unix epoch.
pub fn unix_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

fn verifies(hash: &str, password: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else {
        return false;
    };
    Argon2::default()
        .verify_password(password.as_bytes(), &hash)
        .is_ok()
}

/// The smallest argon2id there is: tests want its format, not its strength.
fn cheap_hash(password: &str) -> String {
    let params = Params::new(8, 1, 1, None).expect("valid");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2
        .hash_password(password.as_bytes())
        .expect("hashes")
        .to_string()
}
