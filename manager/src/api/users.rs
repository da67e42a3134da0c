//! Users, for operators.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use titan_proto::control::{
    API_PREFIX, Page, UserCreate, UserCreated, UserName, UserUpdate, UserView,
};

use super::{
    App,
    auth::Admin,
    extract::{self, IfMatch, PageQuery, Path, Query, etag, paginate},
    problem::ApiProblem,
};
use crate::{
    identity::Password,
    store::{NewUser, UnixTime, User, UserChange, UserUpdated},
};

/// Lists users.
#[utoipa::path(
    get, path = "/api/v1/users", tag = "users", security(("admin" = [])), params(PageQuery),
    responses((status = 200, description = "A page of users.", body = Page<UserView>))
)]
pub(super) async fn list_users(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<UserView>>, ApiProblem> {
    let limit = query.limit()?;
    let users = app
        .store
        .list_users(query.after::<UserName>()?.as_ref(), limit + 1)
        .await?;
    let (users, next) = paginate(users, limit, |user| user.name.to_string());
    Ok(Json(Page {
        items: users.into_iter().map(view).collect(),
        next,
    }))
}

/// Creates a user. Without a password one is made, and shown in the answer this once.
#[utoipa::path(
    post, path = "/api/v1/users", tag = "users", security(("admin" = [])),
    request_body = UserCreate,
    responses(
        (status = 201, description = "The user.", body = UserCreated),
        (status = 409, description = "A user has this name."),
    )
)]
pub(super) async fn create_user(
    State(app): State<App>,
    _: Admin,
    extract::Json(request): extract::Json<UserCreate>,
) -> Result<impl IntoResponse, ApiProblem> {
    let UserCreate {
        name,
        password,
        enabled,
        reply_mode,
    } = request;
    check_name(&name)?;
    let (password, made) = match password {
        Some(password) => (check_password(password)?, None),
        None => {
            let password = Password::make();
            (password.clone(), Some(password.as_str().to_owned()))
        }
    };
    let password_hash = app.passwords.hash(password).await?;
    let user = NewUser {
        name,
        password_hash,
        enabled,
        reply_mode,
        created_at: UnixTime::now(),
    };
    let user = app.store.create_user(user).await?.ok_or_else(name_taken)?;
    tracing::debug!(user = %user.name, "user created");
    let location = format!("{API_PREFIX}/users/{}", user.name);
    let body = Json(UserCreated {
        user: view(user),
        password: made,
    });
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body))
}

/// Shows a user.
#[utoipa::path(
    get, path = "/api/v1/users/{name}", tag = "users", security(("admin" = [])),
    params(("name" = UserName, Path, description = "The user.")),
    responses(
        (status = 200, description = "The user; ETag carries the version.", body = UserView),
        (status = 404, description = "There is no such user."),
    )
)]
pub(super) async fn show_user(
    State(app): State<App>,
    _: Admin,
    Path(name): Path<UserName>,
) -> Result<impl IntoResponse, ApiProblem> {
    let user = app.store.user(&name).await?.ok_or_else(unknown)?;
    Ok((etag(user.version), Json(view(user))))
}

/// Changes a user. With `If-Match: "version"` only if the user still has that version.
#[utoipa::path(
    patch, path = "/api/v1/users/{name}", tag = "users", security(("admin" = [])),
    params(
        ("name" = UserName, Path, description = "The user."),
        ("If-Match" = Option<String>, Header, description = "ETag of the version to change."),
    ),
    request_body = UserUpdate,
    responses(
        (status = 200, description = "The user as it is now.", body = UserView),
        (status = 404, description = "There is no such user."),
        (status = 412, description = "The user has another version by now."),
    )
)]
pub(super) async fn update_user(
    State(app): State<App>,
    _: Admin,
    Path(name): Path<UserName>,
    IfMatch(expected): IfMatch,
    extract::Json(request): extract::Json<UserUpdate>,
) -> Result<impl IntoResponse, ApiProblem> {
    let UserUpdate {
        password,
        enabled,
        reply_mode,
    } = request;
    let password_hash = match password {
        Some(password) => Some(app.passwords.hash(check_password(password)?).await?),
        None => None,
    };
    let change = UserChange {
        password_hash,
        enabled,
        reply_mode,
    };
    match app.store.update_user(&name, expected, change).await? {
        UserUpdated::Done(user) => {
            app.events.nudge();
            tracing::debug!(user = %user.name, version = user.version, "user changed");
            Ok((etag(user.version), Json(view(user))))
        }
        UserUpdated::Missing => Err(unknown()),
        UserUpdated::Conflict(version) => Err(ApiProblem::new(
            StatusCode::PRECONDITION_FAILED,
            format!("the user has version {version} by now"),
        )),
    }
}

/// Removes a user.
#[utoipa::path(
    delete, path = "/api/v1/users/{name}", tag = "users", security(("admin" = [])),
    params(("name" = UserName, Path, description = "The user.")),
    responses(
        (status = 204, description = "The user is gone."),
        (status = 404, description = "There is no such user."),
    )
)]
pub(super) async fn delete_user(
    State(app): State<App>,
    _: Admin,
    Path(name): Path<UserName>,
) -> Result<StatusCode, ApiProblem> {
    if !app.store.delete_user(&name).await? {
        return Err(unknown());
    }
    app.events.nudge();
    tracing::debug!(user = %name, "user removed");
    Ok(StatusCode::NO_CONTENT)
}

fn view(user: User) -> UserView {
    let User {
        name,
        version,
        password_hash: _,
        enabled,
        reply_mode,
        created_at,
    } = user;
    UserView {
        name,
        version,
        enabled,
        reply_mode,
        created_at: created_at.0,
    }
}

/// A user called `.` or `..` could not be reached: URL parsers take it for a step in the path.
fn check_name(name: &UserName) -> Result<(), ApiProblem> {
    if matches!(name.as_str(), "." | "..") {
        return Err(ApiProblem::invalid("a user's name must not be . or .."));
    }
    Ok(())
}

fn check_password(text: String) -> Result<Password, ApiProblem> {
    Password::try_from(text).map_err(|error| ApiProblem::invalid(error.to_string()))
}

fn unknown() -> ApiProblem {
    ApiProblem::not_found("there is no such user")
}

fn name_taken() -> ApiProblem {
    ApiProblem::new(StatusCode::CONFLICT, "a user has this name already")
}
