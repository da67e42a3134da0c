//! axum's extractors with rejections that are problem details, and a few of our own.

use axum::{
    extract::{FromRequest, FromRequestParts, Request, rejection},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use super::problem::ApiProblem;
use crate::limits;

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiProblem;
    async fn from_request(request: Request, state: &S) -> Result<Self, ApiProblem> {
        let body = axum::Json::from_request(request, state).await;
        body.map(|axum::Json(value)| Self(value))
            .map_err(|rejection: rejection::JsonRejection| {
                ApiProblem::new(rejection.status(), rejection.body_text())
            })
    }
}

/// The variable part of the path.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiProblem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Self(value)).map_err(
            |rejection: rejection::PathRejection| {
                ApiProblem::new(rejection.status(), rejection.body_text())
            },
        )
    }
}

/// The query.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiProblem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiProblem> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|rejection: rejection::QueryRejection| {
                ApiProblem::new(rejection.status(), rejection.body_text())
            })
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// `next` of the page before; absent: from the start.
    cursor: Option<String>,
    /// Most items wanted, 1 to 1000; absent: 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl PageQuery {
    /// A part of a list that has conditions of its own.
    pub(super) const fn new(cursor: Option<String>, limit: Option<usize>) -> Self {
        Self { cursor, limit }
    }

    /// The id to go on behind.
    pub(super) fn after<T: std::str::FromStr>(&self) -> Result<Option<T>, ApiProblem> {
        let parse = |cursor: &String| {
            cursor.parse().map_err(|_| {
                ApiProblem::new(StatusCode::BAD_REQUEST, "cursor is not one this list gave")
            })
        };
        self.cursor.as_ref().map(parse).transpose()
    }

    /// How many items are wanted.
    pub(super) fn limit(&self) -> Result<usize, ApiProblem> {
        match self.limit.unwrap_or(limits::DEFAULT_PAGE) {
            limit @ 1..=limits::MAX_PAGE => Ok(limit),
            _ => Err(ApiProblem::new(
                StatusCode::BAD_REQUEST,
                format!("limit must be 1 to {}", limits::MAX_PAGE),
            )),
        }
    }
}

/// Where a PoP is in the event stream.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// `cursor` of the answer before; absent: where is the stream now?
    pub(super) after: Option<u64>,
}

/// Cuts what the store gave, one item more than `limit` if there are more, to a page: its items
/// and the id of the last where there is another page.
pub(super) fn paginate<T>(
    mut items: Vec<T>,
    limit: usize,
    id: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).map(id);
    (items, next)
}

/// The version that a change is meant for: `If-Match: "7"` (RFC 9110 §13.1.1).
pub(super) struct IfMatch(pub(super) Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiProblem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiProblem> {
        parse_if_match(&parts.headers).map(Self).ok_or_else(|| {
            ApiProblem::new(
                StatusCode::BAD_REQUEST,
                "If-Match must be * or one ETag of this API",
            )
        })
    }
}

/// `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): an opaque text of the caller's, by
/// which a repeated request is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdempotencyKey(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiProblem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiProblem> {
        parse_idempotency_key(&parts.headers)
            .map(Self)
            .ok_or_else(|| {
                ApiProblem::new(
                    StatusCode::BAD_REQUEST,
                    format!(
                        "Idempotency-Key must be one text of 1 to {} printable ASCII characters",
                        limits::MAX_IDEMPOTENCY_KEY_LEN
                    ),
                )
            })
    }
}

/// The draft wants a String of RFC 8941 §3.3.3, in quotation marks; most callers send the text bare,
/// which is taken for the same.
fn parse_idempotency_key(headers: &HeaderMap) -> Option<Option<String>> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Some(None),
        (Some(value), None) => value.to_str().ok()?,
        (Some(_), Some(_)) => return None,
    };
    let quoted = value.strip_prefix('"').map(|rest| rest.strip_suffix('"'));
    let text = quoted.unwrap_or(Some(value))?;
    let is_plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    let fits = (1..=limits::MAX_IDEMPOTENCY_KEY_LEN).contains(&text.len());
    (fits && text.chars().all(is_plain)).then(|| Some(text.to_owned()))
}

/// Not among the names that the `http` crate knows.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

fn parse_if_match(headers: &HeaderMap) -> Option<Option<u64>> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    match (values.next(), values.next()) {
        (None, _) => Some(None),
        (Some(value), None) if value == "*" => Some(None),
        (Some(value), None) => {
            let tag = value.to_str().ok()?.strip_prefix('"')?.strip_suffix('"')?;
            tag.parse().ok().map(Some)
        }
        (Some(_), Some(_)) => None,
    }
}

/// The `ETag` of a version.
pub(super) fn etag(version: u64) -> [(header::HeaderName, String); 1] {
    [(header::ETAG, format!("\"{version}\""))]
}

/// Checks a text that a peer gives about itself: it will be stored, and printed on terminals.
pub(super) fn check_label(field: &str, text: &str, max_len: usize) -> Result<(), ApiProblem> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if text.is_empty() || text.len() > max_len || !is_plain {
        return Err(ApiProblem::invalid(format!(
            "{field} must have 1 to {max_len} printable ASCII characters"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_names_one_version() {
        let parse = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(
                    header::IF_MATCH,
                    axum::http::HeaderValue::from_static(value),
                );
            }
            parse_if_match(&headers)
        };
        assert_eq!(parse(&[]), Some(None));
        assert_eq!(parse(&["*"]), Some(None));
        assert_eq!(parse(&["\"7\""]), Some(Some(7)));
        for bad in ["7", "W/\"7\"", "\"7\", \"8\"", "\"x\"", ""] {
            assert_eq!(parse(&[bad]), None, "{bad}");
        }
        assert_eq!(parse(&["\"7\"", "\"8\""]), None);
    }

    #[test]
    fn an_idempotency_key_is_one_plain_text() {
        let parse = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = axum::http::HeaderValue::from_static(value);
                headers.append(IDEMPOTENCY_KEY, value);
            }
            parse_idempotency_key(&headers)
        };
        assert_eq!(parse(&[]), Some(None));
        assert_eq!(parse(&["\"a-1\""]), Some(Some("a-1".into())));
        assert_eq!(parse(&["a-1"]), parse(&["\"a-1\""]));
        for bad in ["", "\"\"", "\"a", "a\"", "a b", "\"a\\\"b\""] {
            assert_eq!(parse(&[bad]), None, "{bad}");
        }
        assert_eq!(parse(&["a", "b"]), None);
    }

    #[test]
    fn a_page_names_the_next_only_if_there_is_one() {
        let id = |number: &u8| number.to_string();
        assert_eq!(
            paginate(vec![1, 2, 3], 2, id),
            (vec![1, 2], Some("2".into()))
        );
        assert_eq!(paginate(vec![1, 2], 2, id), (vec![1, 2], None));
        assert_eq!(paginate(vec![], 2, id), (vec![], None));
    }

    #[test]
    fn labels_cannot_move_a_cursor() {
        assert!(check_label("version", "1.2.3 (abc)", 64).is_ok());
        for bad in ["", "\u{1b}[2J", "a\nb", "ü"] {
            assert!(check_label("version", bad, 64).is_err(), "{bad:?}");
        }
        assert!(check_label("version", "xxxxx", 4).is_err());
    }
}
