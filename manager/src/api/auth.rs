//! Who is calling: an `Authorization: Bearer` header (RFC 6750 §2.1), and nothing else.
//!
//! No other header has a say, least of all one that names an address (`X-Forwarded-For`): where a
//! request comes from proves nothing.

use std::marker::PhantomData;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use titan_proto::control::Scope;

use super::{App, callers::client_address, problem::ApiProblem};
use crate::{
    identity, limits,
    store::{AdminToken, Pop, UnixTime},
};

/// What a route demands of an operator's token.
pub(super) trait Right {
    /// Scopes each of which is enough, the least first; [`Scope::All`] is enough everywhere.
    const ANY_OF: &'static [Scope];
}

/// Declares rights as types, so that a route's signature says what it demands.
macro_rules! rights {
    ($($(#[$doc:meta])* $name:ident = $scopes:expr;)*) => {$(
        $(#[$doc])*
        pub(super) struct $name;
        impl Right for $name {
            const ANY_OF: &'static [Scope] = &$scopes;
        }
    )*};
}
rights! {
    /// To see users.
    ReadUsers = [Scope::Read, Scope::Users];
    /// To change users.
    ChangeUsers = [Scope::Users];
    /// To see nodes, PoPs, enrolment keys and blocks.
    ReadNodes = [Scope::Read, Scope::Nodes];
    /// To change nodes, PoPs, enrolment keys and blocks.
    ChangeNodes = [Scope::Nodes];
    /// To see and change admin tokens.
    Everything = [Scope::All];
}

/// The caller is an operator who has the right `R`.
pub(super) struct Admin<R>(PhantomData<R>);

impl<R: Right> FromRequestParts<App> for Admin<R> {
    type Rejection = ApiProblem;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiProblem> {
        let text = bearer(&parts.headers)?;
        let token = identity::authenticate_admin(&*app.store, text).await?;
        let token = token.ok_or_else(|| refused(app, parts, "this is not a valid admin token"))?;
        app.rates.of_token(&token.id)?;
        let is_enough = |scope: &Scope| token.scopes.contains(scope);
        if !R::ANY_OF.iter().any(is_enough) && !is_enough(&Scope::All) {
            return Err(ApiProblem::insufficient_scope(R::ANY_OF[0].as_str()));
        }
        note_use(app, &token).await;
        Ok(Self(PhantomData))
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
            .ok_or_else(|| refused(app, parts, "this is not the valid credential of a PoP"))
    }
}

/// Remembers that the token was used, now and then: a write for each request would cost more than the
/// requests.
async fn note_use(app: &App, token: &AdminToken) {
    let now = UnixTime::now();
    let is_recent = |last: UnixTime| now.0 < last.0 + limits::LAST_USED_GRANULARITY.as_secs();
    if token.last_used_at.is_some_and(is_recent) {
        return;
    }
    if let Err(error) = app.store.touch_admin_token(&token.id, now).await {
        // The request itself need not fail for it.
        tracing::warn!(%error, token = token.id, "cannot note the use of an admin token");
    }
}

/// 401, or 429 where too many of the kind have come from the same address. What is valid is let in from
/// anywhere: secrets of 256 bits are not guessed, and nobody can lock his neighbours out.
fn refused(app: &App, parts: &Parts, detail: &'static str) -> ApiProblem {
    let address = client_address(parts, &app.trusted_proxies);
    app.rates
        .of_stranger(address)
        .err()
        .unwrap_or_else(|| invalid(detail))
}

pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, ApiProblem> {
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
