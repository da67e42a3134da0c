//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): an operator's POST that comes again
//! is carried out once, and answered the same.
//!
//! Answers may hold secrets that are shown once, so they are kept sealed: the store holds neither the
//! operator's token nor the key, only digests of both, and the seal opens with the two together. So who
//! has the store's files learns no more from them than before, and a program that lost the answer gets
//! it again instead of a user whose password nobody knows.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderName, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{App, auth::bearer, extract::IdempotencyKey, problem::ApiProblem};
use crate::{
    identity::{self, Seal},
    limits,
    store::{Digest, KeyedRequest, Reservation, UnixTime},
};

/// Carries a request with a key out unless it has been.
pub(super) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match seal(&app, &mut parts).await {
        Ok(Some(seal)) => {
            let outcome = Keyed { app, seal }.answer(parts, body, next).await;
            outcome.unwrap_or_else(IntoResponse::into_response)
        }
        Ok(None) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => problem.into_response(),
    }
}

/// What the answer is sealed with; `None` where the key has no meaning: without one, for requests that
/// may be repeated anyway, and for strangers, who shall not fill the store.
async fn seal(app: &App, parts: &mut Parts) -> Result<Option<Seal>, ApiProblem> {
    if parts.method != Method::POST {
        return Ok(None);
    }
    let IdempotencyKey(key) = IdempotencyKey::from_request_parts(parts, app).await?;
    let (Some(key), Ok(token)) = (key, bearer(&parts.headers)) else {
        return Ok(None);
    };
    let operator = identity::authenticate_admin(&*app.store, token).await?;
    Ok(operator.map(|_| Seal::new(token, &key)))
}

/// A request with a key.
struct Keyed {
    app: App,
    seal: Seal,
}

impl Keyed {
    async fn answer(self, parts: Parts, body: Body, next: Next) -> Result<Response, ApiProblem> {
        let body = to_bytes(body, limits::MAX_BODY_LEN)
            .await
            .map_err(|_| ApiProblem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"))?;
        let (id, request) = (self.seal.id(), fingerprint(&parts, &body));
        match self
            .app
            .store
            .reserve_request(id, request, UnixTime::now())
            .await?
        {
            Reservation::Granted => {
                let request = Request::from_parts(parts, body.into());
                // A task of its own: the caller may give up, and ask again for the answer.
                let task = tokio::spawn(self.carry_out(request, next));
                task.await.map_err(|_| unknown_outcome())?
            }
            Reservation::Known(known) => self.repeat(known, request),
            Reservation::Full => Err(ApiProblem::try_later(
                limits::RETRY_OVERLOAD_S,
                "too many idempotency keys are remembered; send the request without one",
            )),
        }
    }

    async fn carry_out(self, request: Request, next: Next) -> Result<Response, ApiProblem> {
        let response = next.run(request).await;
        let (status, store, id) = (response.status(), &self.app.store, self.seal.id());
        if status.is_client_error() {
            // Nothing was done, so the request may be mended and sent again.
            store.release_request(id).await?;
            return Ok(response);
        }
        if !status.is_success() {
            // Whether anything was done nobody knows. The key stays taken, so that it is not done twice.
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, limits::MAX_BODY_LEN)
            .await
            .map_err(|_| unknown_outcome())?;
        let answer = Answer::new(&parts, &body);
        store
            .complete_request(id, self.seal.close(&answer.to_bytes()))
            .await?;
        Ok(Response::from_parts(parts, body.into()))
    }

    fn repeat(&self, known: KeyedRequest, request: Digest) -> Result<Response, ApiProblem> {
        if known.request != request {
            return Err(ApiProblem::invalid(
                "the idempotency key came with another request before",
            ));
        }
        let answer = known.answer.ok_or_else(|| {
            ApiProblem::new(
                StatusCode::CONFLICT,
                "the request with this idempotency key is in progress, or was cut off: look whether \
                 it took effect before you send it with another key",
            )
        })?;
        let answer = self
            .seal
            .open(&answer)
            .and_then(|bytes| Answer::parse(&bytes));
        answer
            .map(Answer::into_response)
            .ok_or_else(unknown_outcome)
    }
}

/// All that makes the request what it is.
fn fingerprint(parts: &Parts, body: &Bytes) -> Digest {
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    // A target holds no line feed, so no two requests give the same text.
    let head = format!("{target}\n{}\n", header_text(parts, header::IF_MATCH));
    Digest(
        Sha256::new()
            .chain_update(head)
            .chain_update(body)
            .finalize()
            .into(),
    )
}

fn header_text(parts: &Parts, name: HeaderName) -> &str {
    let value = parts.headers.get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// What is kept of an answer.
#[derive(Serialize, Deserialize)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    /// The headers that tell something about what was done.
    const KEPT: [HeaderName; 3] = [header::CONTENT_TYPE, header::ETAG, header::LOCATION];

    fn new(parts: &axum::http::response::Parts, body: &Bytes) -> Self {
        let kept = |name: HeaderName| {
            let value = parts.headers.get(&name)?.to_str().ok()?.to_owned();
            Some((name.to_string(), value))
        };
        Self {
            status: parts.status.as_u16(),
            headers: Self::KEPT.into_iter().filter_map(kept).collect(),
            // JSON is UTF-8.
            body: String::from_utf8_lossy(body).into_owned(),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        // Nothing in it that serde_json could refuse.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response
            .body(self.body.into())
            .unwrap_or_else(|_| unknown_outcome().into_response())
    }
}

fn unknown_outcome() -> ApiProblem {
    ApiProblem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "what became of the request is not known; look whether it took effect",
    )
}
