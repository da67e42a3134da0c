//! What cannot be seen from outside: behaviour over time, and under more load than a test can make.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{sync::OwnedSemaphorePermit, time::advance};

use super::*;
use crate::{config::StoreUrl, identity, store};

struct Fixture {
    app: App,
    credential: String,
    _folder: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = StoreUrl::Embedded(folder.path().join("manager.redb"));
        let store = store::open(&url).await.expect("a store");
        let id = "p1".parse().expect("an id");
        let (pop, credential) = identity::make_pop_credential(id, None);
        store.create_pop(pop).await.expect("written");
        let signer = TokenSigner::load(&*store).await.expect("a key");
        let app = App::new(store, Passwords::new(), signer, 100);
        Self {
            app,
            credential,
            _folder: folder,
        }
    }

    async fn call(&self, request: Request<Body>) -> (StatusCode, Option<String>, Value) {
        let service = TowerToHyperService::new(router(self.app.clone()));
        let response = service.call(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        let retry_after = parts.headers.get(header::RETRY_AFTER);
        let retry_after = retry_after
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        (
            parts.status,
            retry_after,
            serde_json::from_slice(&body).expect("JSON"),
        )
    }

    async fn beat(&self, sequence: u64) -> bool {
        let body = json!({
            "boot_id": "1", "sequence": sequence, "version": "1", "tunnel_url": "ws://p1/tunnel",
            "proxy_addr": "p1:1080", "tunnels": 0, "sessions": 0, "accepting": true,
            "full": sequence == 1, "connected": [], "disconnected": [],
        });
        let request = Request::post("/api/v1/pop/heartbeat")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.credential))
            .header(header::CONTENT_TYPE, "application/json");
        let (status, _, reply) = self
            .call(request.body(body.to_string().into()).expect("a request"))
            .await;
        assert_eq!(status, StatusCode::OK, "{reply}");
        reply["resync"] == true
    }
}

async fn take_all(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let count = places
        .available_permits()
        .try_into()
        .expect("a small number");
    places
        .clone()
        .acquire_many_owned(count)
        .await
        .expect("all places")
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a request")
}

#[tokio::test(start_paused = true)]
async fn a_pop_is_gone_after_fifteen_silent_seconds() {
    let fixture = Fixture::new().await;
    let is_live = async || fixture.app.store.live_pops().await.expect("read").len() == 1;
    assert!(!fixture.beat(1).await);
    advance(Duration::from_millis(14_900)).await;
    assert!(is_live().await);
    assert!(!fixture.beat(2).await, "in time");
    advance(Duration::from_millis(14_900)).await;
    assert!(is_live().await, "each heartbeat counts anew");
    advance(Duration::from_millis(200)).await;
    assert!(!is_live().await);
    assert!(fixture.beat(3).await, "what it had told is forgotten");
}

#[tokio::test]
async fn a_busy_manager_turns_requests_away_but_says_that_it_lives() {
    let fixture = Fixture::new().await;
    let places = take_all(&fixture.app.anonymous_requests).await;
    let (status, retry_after, problem) = fixture.call(get("/api/v1/users")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (retry_after.as_deref(), &problem["status"]),
        (Some("1"), &json!(503))
    );
    assert_eq!(fixture.call(get("/healthz")).await.0, StatusCode::OK);
    drop(places);
    assert_eq!(
        fixture.call(get("/api/v1/users")).await.0,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn who_shows_no_credentials_cannot_crowd_out_who_does() {
    let fixture = Fixture::new().await;
    let _places = take_all(&fixture.app.anonymous_requests).await;
    let request = Request::get("/api/v1/users").header(header::AUTHORIZATION, "Bearer wrong");
    let request = request.body(Body::empty()).expect("a request");
    assert_eq!(fixture.call(request).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_takes_too_long_is_ended() {
    let fixture = Fixture::new().await;
    let _places = take_all(&fixture.app.heartbeats).await;
    let request = Request::post("/api/v1/pop/heartbeat").header(
        header::AUTHORIZATION,
        format!("Bearer {}", fixture.credential),
    );
    let started = tokio::time::Instant::now();
    let (status, retry_after, _) = fixture
        .call(request.body(Body::empty()).expect("a request"))
        .await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(retry_after.is_some() && started.elapsed() >= limits::REQUEST_TIMEOUT);
    assert_eq!(
        fixture.app.requests.available_permits(),
        limits::MAX_REQUESTS,
        "the place is free"
    );
}

#[tokio::test]
async fn who_waits_for_events_is_answered_when_the_manager_stops() {
    let fixture = Fixture::new().await;
    let places = &fixture.app.event_waits;
    let request = Request::get("/api/v1/pop/events?after=0")
        .header(
            header::AUTHORIZATION,
            format!("Bearer {}", fixture.credential),
        )
        .body(Body::empty())
        .expect("a request");
    let stop = async {
        while places.available_permits() == limits::MAX_EVENT_WAITS {
            tokio::task::yield_now().await;
        }
        fixture.app.events.stop();
    };
    let others = take_all(&fixture.app.requests).await;
    let ((status, _, page), ()) = tokio::join!(fixture.call(request), stop);
    assert_eq!(status, StatusCode::OK, "its place is none of the others'");
    assert_eq!(page, json!({"events": [], "cursor": 0, "gap": false}));
    assert_eq!(places.available_permits(), limits::MAX_EVENT_WAITS);
    drop(others);
}
