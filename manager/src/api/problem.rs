//! Errors as RFC 9457 problem details.

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use titan_proto::control::Problem;

use crate::{
    error::{IdentityError, StoreError},
    identity::{NodeError, Refusal},
    limits,
};

/// Media type of [`Problem`].
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct ApiProblem {
    status: StatusCode,
    detail: Cow<'static, str>,
    extra: Option<Extra>,
}

/// What goes with an error.
#[derive(Debug)]
enum Extra {
    /// `Retry-After` in seconds.
    RetryAfter(u64),
    /// `WWW-Authenticate`.
    Challenge(Cow<'static, str>),
    /// The member `expected` of the problem.
    Expected(u64),
}

impl ApiProblem {
    /// A problem whose kind is what `status` says; `detail` is for a person.
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            extra: None,
        }
    }

    /// 404.
    pub(super) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 422: well-formed, but a value makes no sense.
    pub(super) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 503 with `Retry-After`.
    pub(super) fn try_later(after_s: u64, detail: impl Into<Cow<'static, str>>) -> Self {
        let extra = Some(Extra::RetryAfter(after_s));
        Self {
            extra,
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }

    /// 429 (RFC 6585 §4) with `Retry-After`.
    pub(super) fn too_many(after_s: u64, detail: impl Into<Cow<'static, str>>) -> Self {
        let extra = Some(Extra::RetryAfter(after_s));
        Self {
            extra,
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail)
        }
    }

    /// 403 for a token that is valid and does not open this (RFC 6750 §3.1).
    pub(super) fn insufficient_scope(scope: &str) -> Self {
        let challenge =
            format!(r#"Bearer realm="titan-manager", error="insufficient_scope", scope="{scope}""#);
        Self {
            extra: Some(Extra::Challenge(challenge.into())),
            ..Self::new(
                StatusCode::FORBIDDEN,
                format!("the token lacks the scope {scope}"),
            )
        }
    }

    /// 401 with the challenge of RFC 6750 §3.
    pub(super) fn unauthorized(detail: &'static str, challenge: &'static str) -> Self {
        let extra = Some(Extra::Challenge(challenge.into()));
        Self {
            extra,
            ..Self::new(StatusCode::UNAUTHORIZED, detail)
        }
    }

    /// 409 with the sequence that would have been taken.
    pub(super) fn out_of_order(sequence: u64, expected: u64) -> Self {
        let detail = format!("sequence {sequence} does not follow; {expected} does");
        let extra = Some(Extra::Expected(expected));
        Self {
            extra,
            ..Self::new(StatusCode::CONFLICT, detail)
        }
    }

    /// A fault of ours: the log gets the cause, the caller does not.
    fn internal(cause: &dyn std::error::Error) -> Self {
        tracing::error!(%cause, "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the manager failed; its log says why",
        )
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        let problem = Problem {
            kind: "about:blank".into(),
            title: self.status.canonical_reason().unwrap_or_default().into(),
            status: self.status.as_u16(),
            detail: Some(self.detail.into_owned()),
            expected: match self.extra {
                Some(Extra::Expected(expected)) => Some(expected),
                _ => None,
            },
        };
        let content_type = [(header::CONTENT_TYPE, PROBLEM_JSON)];
        let mut response = (self.status, content_type, Json(problem)).into_response();
        if let Some((name, value)) = self.extra.and_then(Extra::into_header) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl Extra {
    fn into_header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Challenge(text) => {
                // All of it is printable ASCII, so that there is always a value.
                let value = HeaderValue::from_str(&text);
                let value = value.unwrap_or(HeaderValue::from_static("Bearer"));
                Some((header::WWW_AUTHENTICATE, value))
            }
            Self::RetryAfter(after_s) => Some((header::RETRY_AFTER, after_s.into())),
            Self::Expected(_) => None,
        }
    }
}

impl From<StoreError> for ApiProblem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Stopped => {
                Self::try_later(limits::RETRY_OVERLOAD_S, "the manager is stopping")
            }
            // The store itself logs when it goes and comes back; a line per request would bury that.
            error if error.is_passing() => {
                tracing::debug!(%error, "a request failed");
                Self::try_later(limits::RETRY_STORE_S, "the store cannot do that for now")
            }
            _ => Self::internal(&error),
        }
    }
}

impl From<IdentityError> for ApiProblem {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Store(error) => error.into(),
            IdentityError::Stopped => StoreError::Stopped.into(),
            _ => Self::internal(&error),
        }
    }
}

impl From<NodeError> for ApiProblem {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Store(error) => error.into(),
            NodeError::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<Refusal> for ApiProblem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::PublicKey => Self::invalid(detail),
            Refusal::UnknownNode => Self::not_found(detail),
            Refusal::EnrolmentKey | Refusal::Signature | Refusal::Challenge | Refusal::Blocked => {
                Self::new(StatusCode::FORBIDDEN, detail)
            }
            Refusal::Overload => Self::try_later(limits::RETRY_OVERLOAD_S, detail),
        }
    }
}
