//! Users, for operators.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use titan_proto::control::{
    API_PREFIX, PackageView, Page, UserCreate, UserCreated, UserLimits, UserName, UserUpdate,
    UserView,
};

use super::{
    App,
    auth::{Admin, ChangeUsers, ReadUsers},
    extract::{self, IfMatch, Path, Query, etag},
    filters::UserQuery,
    problem::ApiProblem,
    scan::Scan,
};
use crate::{
    identity::Password,
    store::{
        ChangeError, Labels, NewUser, Package, PackageChange, PackageError, UnixTime, User,
        UserChange, UserUpdated, bytes_left, merge_labels, merge_limits,
    },
};

/// Lists users.
#[utoipa::path(
    get, path = "/api/v1/users", tag = "users", security(("admin" = ["read", "users", "all"])), params(UserQuery),
    responses((status = 200, description = "A page of users.", body = Page<UserView>))
)]
pub(super) async fn list_users(
    State(app): State<App>,
    _: Admin<ReadUsers>,
    Query(query): Query<UserQuery>,
) -> Result<Json<Page<UserView>>, ApiProblem> {
    let page = query.page();
    let mut scan = Scan::new(page.limit()?);
    let mut after = page.after::<UserName>()?;
    if let (None, Some(prefix)) = (&after, &query.prefix) {
        // Lists go on behind a name, and the prefix may be one itself.
        let first = app.store.user(prefix).await?;
        scan.take(0, first.map(|user| query.judge(user)));
        after = Some(prefix.clone());
    }
    while let Some(asked) = scan.wants(query.is_filtered()) {
        let users = app.store.list_users(after.as_ref(), asked).await?;
        after = users.last().map(|user| user.name.clone()).or(after);
        let is_past = after.as_ref().is_some_and(|name| query.is_past(name));
        scan.take(asked, users.into_iter().map(|user| query.judge(user)));
        if is_past {
            scan.end();
        }
    }
    let (users, next) = scan.finish();
    let names: Vec<_> = users.iter().map(|user| user.name.clone()).collect();
    let used = app.store.standings(&names).await?;
    let used = used.into_iter().map(|standing| standing.package.bytes());
    let items = users.into_iter().zip(used);
    Ok(Json(Page {
        items: items.map(|(user, used)| view(user, used)).collect(),
        next,
    }))
}

/// Creates a user. Without a password one is made, and shown in the answer this once.
#[utoipa::path(
    post, path = "/api/v1/users", tag = "users", security(("admin" = ["users", "all"])),
    request_body = UserCreate,
    responses(
        (status = 201, description = "The user.", body = UserCreated),
        (status = 409, description = "A user has this name."),
    )
)]
pub(super) async fn create_user(
    State(app): State<App>,
    _: Admin<ChangeUsers>,
    extract::Json(request): extract::Json<UserCreate>,
) -> Result<impl IntoResponse, ApiProblem> {
    let (user, made) = new_user(&app, request).await?;
    let user = app.store.create_user(user).await?.ok_or_else(name_taken)?;
    tracing::debug!(user = %user.name, "user created");
    let location = format!("{API_PREFIX}/users/{}", user.name);
    let body = Json(UserCreated {
        user: view(user, 0),
        password: made,
    });
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body))
}

/// Shows a user.
#[utoipa::path(
    get, path = "/api/v1/users/{name}", tag = "users", security(("admin" = ["read", "users", "all"])),
    params(("name" = UserName, Path, description = "The user.")),
    responses(
        (status = 200, description = "The user; ETag carries the version.", body = UserView),
        (status = 404, description = "There is no such user."),
    )
)]
pub(super) async fn show_user(
    State(app): State<App>,
    _: Admin<ReadUsers>,
    Path(name): Path<UserName>,
) -> Result<impl IntoResponse, ApiProblem> {
    let user = app.store.user(&name).await?.ok_or_else(unknown)?;
    shown(&app, user).await
}

/// Changes a user. With `If-Match: "version"` only if the user still has that version.
#[utoipa::path(
    patch, path = "/api/v1/users/{name}", tag = "users", security(("admin" = ["users", "all"])),
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
    _: Admin<ChangeUsers>,
    Path(name): Path<UserName>,
    IfMatch(expected): IfMatch,
    extract::Json(request): extract::Json<UserUpdate>,
) -> Result<impl IntoResponse, ApiProblem> {
    let change = to_change(&app, request).await?;
    change_user(&app, &name, expected, change).await
}

/// Removes a user.
#[utoipa::path(
    delete, path = "/api/v1/users/{name}", tag = "users", security(("admin" = ["users", "all"])),
    params(("name" = UserName, Path, description = "The user.")),
    responses(
        (status = 204, description = "The user is gone."),
        (status = 404, description = "There is no such user."),
    )
)]
pub(super) async fn delete_user(
    State(app): State<App>,
    _: Admin<ChangeUsers>,
    Path(name): Path<UserName>,
) -> Result<StatusCode, ApiProblem> {
    if !app.store.delete_user(&name).await? {
        return Err(unknown());
    }
    app.events.nudge();
    tracing::debug!(user = %name, "user removed");
    Ok(StatusCode::NO_CONTENT)
}

/// A user and the ETag of its version.
type Shown = ([(header::HeaderName, String); 1], Json<UserView>);

async fn shown(app: &App, user: User) -> Result<Shown, ApiProblem> {
    let usage = app.store.usage(&user.name).await?;
    let used = usage.map_or(0, |usage| usage.package.bytes());
    Ok((etag(user.version), Json(view(user, used))))
}

/// Makes a change and shows the user as it is then.
pub(super) async fn change_user(
    app: &App,
    name: &UserName,
    expected: Option<u64>,
    change: UserChange,
) -> Result<Shown, ApiProblem> {
    match app.store.update_user(name, expected, change).await? {
        UserUpdated::Done(user) => {
            app.events.nudge();
            tracing::debug!(user = %user.name, version = user.version, "user changed");
            shown(app, user).await
        }
        UserUpdated::Missing => Err(unknown()),
        UserUpdated::Conflict(version) => Err(ApiProblem::new(
            StatusCode::PRECONDITION_FAILED,
            format!("the user has version {version} by now"),
        )),
        UserUpdated::Refused(error) => Err(error.into()),
    }
}

/// The user that `request` asks for, and the password if it was made here.
async fn new_user(app: &App, request: UserCreate) -> Result<(NewUser, Option<String>), ApiProblem> {
    let UserCreate {
        name,
        password,
        enabled,
        reply_mode,
        limits,
        labels,
        package,
    } = request;
    check_name(&name)?;
    let limits = merge_limits(UserLimits::default(), limits)?;
    // Merged into nothing, for the bound of their number.
    let labels = labels.into_iter().map(|(name, value)| (name, Some(value)));
    let labels = merge_labels(Labels::new(), labels.collect())?;
    let package = package.map(Package::try_from).transpose();
    let package = package.map_err(ChangeError::from)?;
    let (password, made) = match password {
        Some(password) => (check_password(password)?, None),
        None => {
            let password = Password::make();
            (password.clone(), Some(password.as_str().to_owned()))
        }
    };
    let user = NewUser {
        name,
        password_hash: app.passwords.hash(password).await?,
        enabled,
        reply_mode,
        limits,
        labels,
        package,
        created_at: UnixTime::now(),
    };
    Ok((user, made))
}

async fn to_change(app: &App, request: UserUpdate) -> Result<UserChange, ApiProblem> {
    let UserUpdate {
        password,
        enabled,
        reply_mode,
        limits,
        labels,
        package,
    } = request;
    let password_hash = match password {
        Some(password) => Some(app.passwords.hash(check_password(password)?).await?),
        None => None,
    };
    let package = package.map(|update| update.map_or(PackageChange::Remove, PackageChange::Merge));
    Ok(UserChange {
        password_hash,
        enabled,
        reply_mode,
        limits,
        labels,
        package,
    })
}

fn view(user: User, used: u64) -> UserView {
    let left = bytes_left(&user, used);
    let User {
        name,
        version,
        password_hash: _,
        enabled,
        reply_mode,
        limits,
        labels,
        package,
        created_at,
    } = user;
    let package = package.map(|package| PackageView {
        from: package.from.map(|time| time.0),
        until: package.until.map(|time| time.0),
        bytes: package.bytes,
        used,
        left,
    });
    UserView {
        name,
        version,
        enabled,
        reply_mode,
        limits,
        labels,
        package,
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

impl From<ChangeError> for ApiProblem {
    fn from(error: ChangeError) -> Self {
        let status = match error {
            // Well-formed, but not for this user as it is.
            ChangeError::Package(PackageError::Missing) => StatusCode::CONFLICT,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.to_string())
    }
}
