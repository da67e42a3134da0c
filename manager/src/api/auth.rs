//! Who is calling: an `Authorization: Bearer` header (RFC 6750 §2.1), and nothing else.
//!
//! No other header has a say, least of all one that names an address (`X-Forwarded-For`): where a
//! request comes from proves nothing.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};

use super::{App, problem::ApiProblem};
use crate::{identity, store::Pop};

/// The caller is an operator.
pub(super) struct Admin;

impl FromRequestParts<App> for Admin {
    type Rejection = ApiProblem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiProblem> {
        let token = bearer(&parts.headers)?;
        if identity::authenticate_admin(&*app.store, token).await? {
            Ok(Self)
        } else {
            Err(invalid("this is not a valid admin token"))
        }
    }
}

/// The caller is this PoP.
pub(super) struct CallingPop(pub(super) Pop);

impl FromRequestParts<App> for CallingPop {
    type Rejection = ApiProblem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiProblem> {
        let credential = bearer(&parts.headers)?;
        let pop = identity::authenticate_pop(&*app.store, credential).await?;
        pop.map(Self)
            .ok_or_else(|| invalid("this is not the valid credential of a PoP"))
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, ApiProblem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(missing());
    };
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim_start())
    } else {
        Err(missing())
    }
}

fn missing() -> ApiProblem {
    ApiProblem::unauthorized(
        "send one Authorization: Bearer header",
        r#"Bearer realm="titan-manager""#,
    )
}

fn invalid(detail: &'static str) -> ApiProblem {
    ApiProblem::unauthorized(
        detail,
        r#"Bearer realm="titan-manager", error="invalid_token""#,
    )
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn one_bearer_header_is_read_and_no_other() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers).map(str::to_owned).ok()
        };
        assert_eq!(read(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(
            read(&["bearer abc"]).as_deref(),
            Some("abc"),
            "RFC 9110 §11.1"
        );
        for bad in [&[][..], &["abc"], &["Basic abc"], &["Bearer a", "Bearer b"]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
