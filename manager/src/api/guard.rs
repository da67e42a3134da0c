//! Around every request: a place in the manager, a time limit, a log line.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{HeaderValue, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{App, problem::ApiProblem};
use crate::limits;

/// Turns requests away when too many are in progress, and ends those that take too long.
///
/// Health checks get in always: a busy manager is not a dead one.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("-", MatchedPath::as_str);
    let (method, started) = (request.method().clone(), Instant::now());
    let is_vital = route == super::health::PATH;
    // Who shows no credentials can only crowd out its like; who shows wrong ones is turned away
    // before its body is read.
    let (places, limit) = match request.headers().contains_key(header::AUTHORIZATION) {
        // Waiting is what they are there for.
        true if route == super::events::PATH => (
            &app.event_waits,
            limits::EVENTS_WAIT + limits::REQUEST_TIMEOUT,
        ),
        true => (&app.requests, limits::REQUEST_TIMEOUT),
        false => (&app.anonymous_requests, limits::REQUEST_TIMEOUT),
    };
    let place = Arc::clone(places).try_acquire_owned();
    let mut response = if place.is_ok() || is_vital {
        timeout(limit, next.run(request))
            .await
            .unwrap_or_else(|_| slow())
    } else {
        busy().into_response()
    };
    // Answers hold secrets and states that change; no cache may keep them.
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let (status, elapsed) = (response.status().as_u16(), started.elapsed());
    tracing::debug!(%method, route, status, ?elapsed, "request");
    response
}

/// A place among the heartbeats in progress, taken before the body is read.
pub(super) struct HeartbeatPlace {
    _place: OwnedSemaphorePermit,
}

impl FromRequestParts<App> for HeartbeatPlace {
    type Rejection = ApiProblem;
    async fn from_request_parts(_: &mut Parts, app: &App) -> Result<Self, ApiProblem> {
        let heartbeats = Arc::clone(&app.heartbeats);
        let place = heartbeats.acquire_owned().await.map_err(|_| busy())?;
        Ok(Self { _place: place })
    }
}

fn busy() -> ApiProblem {
    ApiProblem::try_later(
        limits::RETRY_OVERLOAD_S,
        "too many requests are in progress",
    )
}

fn slow() -> Response {
    ApiProblem::try_later(limits::RETRY_OVERLOAD_S, "the request took too long").into_response()
}
