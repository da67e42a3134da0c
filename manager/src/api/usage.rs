//! What users have relayed, for operators.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use titan_proto::control::{
    TopUser, UsagePoint, UsageSeries, UsageTop, UsageTotals, UsageView, UserName,
};

use super::{
    App,
    auth::{Admin, ReadUsers},
    extract::{Path, Query},
    problem::ApiProblem,
    usage_query::{CSV, SeriesQuery, TopQuery},
};
use crate::{
    limits,
    store::{PopShare, UnixTime, Usage, bytes_left},
};

/// Shows what a user has relayed, and what just now. Deleted users' totals stay.
#[utoipa::path(
    get, path = "/api/v1/users/{name}/usage", tag = "usage", security(("admin" = ["read", "users", "all"])),
    params(("name" = UserName, Path, description = "The user.")),
    responses(
        (status = 200, description = "The user's usage.", body = UsageView),
        (status = 404, description = "There is no such user, and never was one who relayed a byte."),
    )
)]
pub(super) async fn show_usage(
    State(app): State<App>,
    _: Admin<ReadUsers>,
    Path(name): Path<UserName>,
) -> Result<Json<UsageView>, ApiProblem> {
    let user = app.store.user(&name).await?;
    let usage = app.store.usage(&name).await?;
    let usage = match (&user, usage) {
        (_, Some(usage)) => usage,
        (Some(_), None) => Usage {
            total: UsageTotals::default(),
            package: UsageTotals::default(),
            shares: Vec::new(),
        },
        (None, None) => return Err(unknown()),
    };
    let live = app.store.live_pops().await?;
    let is_live = |share: &&PopShare| live.iter().any(|pop| pop.id == share.pop);
    let shares: Vec<_> = usage.shares.iter().filter(is_live).collect();
    let fresh = UnixTime::now().0.saturating_sub(limits::BANDWIDTH_FRESH_S);
    let just_now = || shares.iter().filter(|share| share.at.0 >= fresh);
    Ok(Json(UsageView {
        name,
        total: usage.total,
        package: usage.package,
        bytes_left: user
            .as_ref()
            .and_then(|user| bytes_left(user, usage.package.bytes())),
        up_bytes_per_second: just_now().map(|share| share.up_bytes).sum(),
        down_bytes_per_second: just_now().map(|share| share.down_bytes).sum(),
        connections: shares.iter().map(|share| share.connections).sum(),
    }))
}

/// Shows what a user has relayed over time, as JSON or CSV.
#[utoipa::path(
    get, path = "/api/v1/users/{name}/usage/series", tag = "usage", security(("admin" = ["read", "users", "all"])),
    params(("name" = UserName, Path, description = "The user."), SeriesQuery),
    responses(
        (status = 200, description = "Every point, also those in which nothing was relayed.", content(
            (UsageSeries = "application/json"),
            (String = "text/csv"),
        )),
    )
)]
pub(super) async fn usage_series(
    State(app): State<App>,
    _: Admin<ReadUsers>,
    Path(name): Path<UserName>,
    Query(query): Query<SeriesQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiProblem> {
    let resolution = query.resolution();
    let (from, until) = query.span(UnixTime::now())?;
    let points = app
        .store
        .usage_series(&name, resolution, from, until)
        .await?;
    if query.wants_csv(&headers) {
        let content_type = [(header::CONTENT_TYPE, CSV)];
        return Ok((content_type, csv(&points)?).into_response());
    }
    let series = UsageSeries {
        name,
        resolution,
        points,
    };
    Ok(Json(series).into_response())
}

fn csv(points: &[UsagePoint]) -> Result<Vec<u8>, ApiProblem> {
    let mut writer = csv::WriterBuilder::new()
        .has_headers(false)
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    let written = writer
        .write_record(["start", "up_bytes", "down_bytes", "sessions"])
        .and_then(|()| points.iter().try_for_each(|point| writer.serialize(point)));
    // A list in memory takes whatever is written to it.
    let text = written.ok().and_then(|()| writer.into_inner().ok());
    text.ok_or_else(|| ApiProblem::try_later(limits::RETRY_OVERLOAD_S, "out of memory"))
}

/// Shows who relays most: in the five minutes, the hour or the day that runs and the one before.
#[utoipa::path(
    get, path = "/api/v1/usage/top", tag = "usage", security(("admin" = ["read", "users", "all"])), params(TopQuery),
    responses((status = 200, description = "The users, most bytes first.", body = UsageTop))
)]
pub(super) async fn top_usage(
    State(app): State<App>,
    _: Admin<ReadUsers>,
    Query(query): Query<TopQuery>,
) -> Result<Json<UsageTop>, ApiProblem> {
    let (resolution, limit) = (query.resolution(), query.limit()?);
    let until = UnixTime::now().0;
    let from = resolution
        .start_of(until)
        .saturating_sub(resolution.seconds());
    let users = app
        .store
        .top_usage(resolution, UnixTime(from), limit)
        .await?;
    let view = |(name, totals): (UserName, UsageTotals)| TopUser {
        name,
        up_bytes: totals.up_bytes,
        down_bytes: totals.down_bytes,
        sessions: totals.sessions,
        bytes_per_second: totals.bytes() / (until - from).max(1),
    };
    Ok(Json(UsageTop {
        from,
        until,
        users: users.into_iter().map(view).collect(),
    }))
}

fn unknown() -> ApiProblem {
    ApiProblem::not_found("there is no such user")
}
