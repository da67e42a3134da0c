//! Admin tokens, for operators who may do everything.

use std::collections::BTreeSet;

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use titan_proto::control::{AdminTokenCreate, AdminTokenCreated, AdminTokenView, Page, Scope};

use super::{
    App,
    auth::{Admin, Everything},
    extract::{self, PageQuery, Path, Query, paginate},
    problem::ApiProblem,
};
use crate::{
    identity, limits,
    store::{Added, AdminToken, TokenRemoved, UnixTime},
};

/// Lists admin tokens, without their secrets.
#[utoipa::path(
    get, path = "/api/v1/admin-tokens", tag = "admin tokens", security(("admin" = ["all"])),
    params(PageQuery),
    responses((status = 200, description = "A page of tokens.", body = Page<AdminTokenView>))
)]
pub(super) async fn list_admin_tokens(
    State(app): State<App>,
    _: Admin<Everything>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<AdminTokenView>>, ApiProblem> {
    let limit = query.limit()?;
    let after = query.after::<String>()?;
    let tokens = app
        .store
        .list_admin_tokens(after.as_deref(), limit + 1)
        .await?;
    let (tokens, next) = paginate(tokens, limit, |token| token.id.clone());
    let items = tokens.into_iter().map(view).collect();
    Ok(Json(Page { items, next }))
}

/// Makes an admin token. The secret is in the answer this once.
#[utoipa::path(
    post, path = "/api/v1/admin-tokens", tag = "admin tokens", security(("admin" = ["all"])),
    request_body = AdminTokenCreate,
    responses(
        (status = 201, description = "The token.", body = AdminTokenCreated),
        (status = 409, description = "There are as many tokens as may be."),
    )
)]
pub(super) async fn create_admin_token(
    State(app): State<App>,
    _: Admin<Everything>,
    extract::Json(request): extract::Json<AdminTokenCreate>,
) -> Result<impl IntoResponse, ApiProblem> {
    let AdminTokenCreate {
        name,
        scopes,
        expires_at,
    } = request;
    check(&scopes, expires_at)?;
    let (token, secret) = identity::make_admin_token();
    let token = AdminToken {
        name: Some(name),
        scopes,
        expires_at: expires_at.map(UnixTime),
        ..token
    };
    match app.store.create_admin_token(token.clone()).await? {
        Added::Done => {}
        // Two random handles met.
        Added::Taken => return Err(ApiProblem::try_later(0, "try again")),
        Added::Full => {
            return Err(ApiProblem::new(
                StatusCode::CONFLICT,
                "there are as many admin tokens as may be: revoke some",
            ));
        }
    }
    tracing::info!(token = token.id, scopes = ?token.scopes, "admin token made");
    let token = view(token);
    Ok((
        StatusCode::CREATED,
        Json(AdminTokenCreated { token, secret }),
    ))
}

/// Revokes an admin token. The last one with the scope `all` that does not expire stays.
#[utoipa::path(
    delete, path = "/api/v1/admin-tokens/{id}", tag = "admin tokens",
    security(("admin" = ["all"])),
    params(("id" = String, Path, description = "The token's public handle.")),
    responses(
        (status = 204, description = "The token opens nothing any more."),
        (status = 404, description = "There is no such token."),
        (status = 409, description = "No other token opens everything for ever."),
    )
)]
pub(super) async fn delete_admin_token(
    State(app): State<App>,
    _: Admin<Everything>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiProblem> {
    match app.store.delete_admin_token(&id).await? {
        TokenRemoved::Done => {
            tracing::info!(token = id, "admin token revoked");
            Ok(StatusCode::NO_CONTENT)
        }
        TokenRemoved::Missing => Err(ApiProblem::not_found("there is no such admin token")),
        TokenRemoved::Last => Err(ApiProblem::new(
            StatusCode::CONFLICT,
            "this is the last token that opens everything and does not expire: make another first",
        )),
    }
}

fn check(scopes: &BTreeSet<Scope>, expires_at: Option<u64>) -> Result<(), ApiProblem> {
    if scopes.is_empty() {
        return Err(ApiProblem::invalid("a token needs at least one scope"));
    }
    if expires_at.is_some_and(|at| at > limits::LAST_TIME_S) {
        return Err(ApiProblem::invalid(
            "expires_at must lie before the year 10000",
        ));
    }
    Ok(())
}

fn view(token: AdminToken) -> AdminTokenView {
    AdminTokenView {
        id: token.id,
        name: token.name,
        scopes: token.scopes,
        created_at: token.created_at.0,
        expires_at: token.expires_at.map(|time| time.0),
        last_used_at: token.last_used_at.map(|time| time.0),
    }
}
