//! Users' traffic packages, for operators: what is bought on top, started anew, or taken away.
//!
//! A package's bounds as such are set with the user (`PATCH /api/v1/users/{name}`).

use axum::{extract::State, http::StatusCode, response::IntoResponse};
use titan_proto::control::{PackageRenewal, UserName, UserView};

use super::{
    App,
    auth::{Admin, ChangeUsers},
    extract::{self, IdempotencyKey, IfMatch, Path},
    problem::ApiProblem,
    users::change_user,
};
use crate::store::{PackageChange, UserChange};

/// Renews a user's package: adds bytes to what is left of it and puts off its end.
///
/// A renewal that is carried out twice is money given away, so it must name the version of the user
/// that it is meant for (If-Match) or carry an Idempotency-Key.
#[utoipa::path(
    post, path = "/api/v1/users/{name}/package", tag = "users", security(("admin" = ["users", "all"])),
    params(
        ("name" = UserName, Path, description = "The user."),
        ("If-Match" = Option<String>, Header, description = "ETag of the version to change."),
    ),
    request_body = PackageRenewal,
    responses(
        (status = 200, description = "The user as it is now.", body = UserView),
        (status = 404, description = "There is no such user."),
        (status = 409, description = "The user has no package."),
        (status = 412, description = "The user has another version by now."),
        (status = 428, description = "Neither If-Match nor Idempotency-Key is there."),
    )
)]
pub(super) async fn renew_package(
    State(app): State<App>,
    _: Admin<ChangeUsers>,
    Path(name): Path<UserName>,
    IfMatch(expected): IfMatch,
    IdempotencyKey(key): IdempotencyKey,
    extract::Json(renewal): extract::Json<PackageRenewal>,
) -> Result<impl IntoResponse, ApiProblem> {
    if expected.is_none() && key.is_none() {
        return Err(ApiProblem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "a renewal needs If-Match with an ETag, or an Idempotency-Key",
        ));
    }
    let change = package_change(PackageChange::Renew(renewal));
    change_user(&app, &name, expected, change).await
}

/// Starts a user's package anew: nothing of it is used up any more.
#[utoipa::path(
    post, path = "/api/v1/users/{name}/package/reset", tag = "users", security(("admin" = ["users", "all"])),
    params(
        ("name" = UserName, Path, description = "The user."),
        ("If-Match" = Option<String>, Header, description = "ETag of the version to change."),
    ),
    responses(
        (status = 200, description = "The user as it is now.", body = UserView),
        (status = 404, description = "There is no such user."),
        (status = 409, description = "The user has no package."),
        (status = 412, description = "The user has another version by now."),
    )
)]
pub(super) async fn reset_package(
    State(app): State<App>,
    _: Admin<ChangeUsers>,
    Path(name): Path<UserName>,
    IfMatch(expected): IfMatch,
) -> Result<impl IntoResponse, ApiProblem> {
    change_user(&app, &name, expected, package_change(PackageChange::Reset)).await
}

/// Takes a user's package away: the user may relay any traffic, at any time.
#[utoipa::path(
    delete, path = "/api/v1/users/{name}/package", tag = "users", security(("admin" = ["users", "all"])),
    params(
        ("name" = UserName, Path, description = "The user."),
        ("If-Match" = Option<String>, Header, description = "ETag of the version to change."),
    ),
    responses(
        (status = 204, description = "The user has no package."),
        (status = 404, description = "There is no such user."),
        (status = 412, description = "The user has another version by now."),
    )
)]
pub(super) async fn remove_package(
    State(app): State<App>,
    _: Admin<ChangeUsers>,
    Path(name): Path<UserName>,
    IfMatch(expected): IfMatch,
) -> Result<StatusCode, ApiProblem> {
    let change = package_change(PackageChange::Remove);
    let _shown = change_user(&app, &name, expected, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn package_change(change: PackageChange) -> UserChange {
    UserChange {
        package: Some(change),
        ..UserChange::default()
    }
}
