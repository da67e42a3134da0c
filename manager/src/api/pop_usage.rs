//! What PoPs report of the bytes they have relayed.

use std::collections::BTreeSet;

use axum::{Json, extract::State};
use titan_proto::control::{
    MAX_USAGE_BATCHES, MAX_USAGE_ENTRIES, UsageBatch, UsageReply, UsageReport, UserName,
    UserStanding, UserState,
};

use super::{App, auth::CallingPop, extract, guard::HeartbeatPlace, problem::ApiProblem};
use crate::store::{Standing, UnixTime, UsageApplied, bytes_left};

/// A PoP tells what it has relayed for whom. Every batch is counted once, however often it comes.
#[utoipa::path(
    post, path = "/api/v1/pop/usage", tag = "pop", security(("pop" = [])),
    request_body = UsageReport,
    responses(
        (status = 200, description = "All of it is counted, now or before.", body = UsageReply),
        (status = 409, description = "A batch does not follow those that were counted: `expected` \
            does. Those of the report before it are counted."),
    )
)]
pub(super) async fn report_usage(
    State(app): State<App>,
    CallingPop(pop): CallingPop,
    _place: HeartbeatPlace,
    extract::Json(report): extract::Json<UsageReport>,
) -> Result<Json<UsageReply>, ApiProblem> {
    check(&report)?;
    let names: BTreeSet<UserName> = report
        .batches
        .iter()
        .flat_map(|batch| batch.users.iter().map(|user| user.name.clone()))
        .collect();
    let names: Vec<UserName> = names.into_iter().collect();
    let (now, mut applied) = (UnixTime::now().0, 0);
    for batch in report.batches {
        let age = report.sent_at.saturating_sub(batch.at);
        let sequence = batch.sequence;
        let batch = UsageBatch {
            at: now.saturating_sub(age),
            ..batch
        };
        applied = match app.store.apply_usage(&pop.id, report.stream, batch).await? {
            UsageApplied::Done => sequence,
            UsageApplied::Repeated(last) => last,
            UsageApplied::OutOfOrder(expected) => {
                tracing::warn!(pop = %pop.id, stream = %report.stream, sequence, expected, "[DIAG] usage out of order");
                return Err(ApiProblem::out_of_order(sequence, expected));
            }
        };
    }
    let standings = app.store.standings(&names).await?;
    let users = names.into_iter().zip(standings).map(standing).collect();
    Ok(Json(UsageReply { applied, users }))
}

fn standing((name, standing): (UserName, Standing)) -> UserStanding {
    let state = match &standing.user {
        Some(user) if user.enabled => UserState::Active,
        Some(_) => UserState::Disabled,
        None => UserState::Gone,
    };
    UserStanding {
        name,
        state,
        bytes_left: standing
            .user
            .as_ref()
            .and_then(|user| bytes_left(user, standing.package.bytes())),
    }
}

fn check(report: &UsageReport) -> Result<(), ApiProblem> {
    let batches = &report.batches;
    if batches.is_empty() || batches.len() > MAX_USAGE_BATCHES {
        let detail = format!("a report holds 1 to {MAX_USAGE_BATCHES} batches");
        return Err(ApiProblem::invalid(detail));
    }
    if batches.iter().map(|batch| batch.users.len()).sum::<usize>() > MAX_USAGE_ENTRIES {
        let detail = format!("a report holds at most {MAX_USAGE_ENTRIES} entries");
        return Err(ApiProblem::invalid(detail));
    }
    let follows = |pair: &[UsageBatch]| match pair {
        [first, second] => first.sequence.checked_add(1) == Some(second.sequence),
        _ => true,
    };
    if batches.iter().any(|batch| batch.sequence == 0) || !batches.windows(2).all(follows) {
        return Err(ApiProblem::invalid(
            "sequences begin at 1, and each follows the one before",
        ));
    }
    let is_sorted = |batch: &UsageBatch| batch.users.is_sorted_by(|a, b| a.name < b.name);
    if !batches.iter().all(is_sorted) {
        return Err(ApiProblem::invalid(
            "users of a batch are in the order of their names, each once",
        ));
    }
    Ok(())
}
