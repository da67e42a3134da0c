//! What PoPs ask, each with its own credential.

use axum::{Json, extract::State, http::StatusCode};
use titan_proto::control::{NodeConnected, PopHeartbeat, PopHeartbeatReply, UserName, UserRecord};

use super::{
    App,
    auth::CallingPop,
    extract::{self, Path, check_label},
    guard::HeartbeatPlace,
    problem::ApiProblem,
};
use crate::{
    limits,
    store::{Heartbeat, HeartbeatOutcome, Pop, PopPresence, bytes_left},
};

/// A PoP tells that it lives and which nodes came and went.
#[utoipa::path(
    post, path = "/api/v1/pop/heartbeat", tag = "pop", security(("pop" = [])),
    request_body = PopHeartbeat,
    responses((status = 200, description = "What the PoP needs to know.", body = PopHeartbeatReply))
)]
pub(super) async fn heartbeat(
    State(app): State<App>,
    CallingPop(pop): CallingPop,
    _place: HeartbeatPlace,
    extract::Json(request): extract::Json<PopHeartbeat>,
) -> Result<Json<PopHeartbeatReply>, ApiProblem> {
    check(&request)?;
    let heartbeat = to_store(request, &pop);
    let (sequence, full) = (heartbeat.sequence, heartbeat.full);
    let outcome = app
        .store
        .record_heartbeat(&pop.id, heartbeat, limits::POP_SILENCE)
        .await?;
    if outcome != HeartbeatOutcome::Applied {
        tracing::debug!(pop = %pop.id, sequence, full, ?outcome, "heartbeat not applied");
    }
    Ok(Json(PopHeartbeatReply {
        pop: pop.id,
        token_key: app.signer.public_key().into(),
        resync: outcome != HeartbeatOutcome::Applied,
    }))
}

/// All a PoP needs to serve a user.
#[utoipa::path(
    get, path = "/api/v1/pop/users/{name}", tag = "pop", security(("pop" = [])),
    params(("name" = UserName, Path, description = "The user.")),
    responses(
        (status = 200, description = "The user.", body = UserRecord),
        (status = 404, description = "There is no such user."),
    )
)]
pub(super) async fn user_for_pop(
    State(app): State<App>,
    _: CallingPop,
    Path(name): Path<UserName>,
) -> Result<Json<UserRecord>, ApiProblem> {
    let standing = app.store.standings(&[name]).await?.pop();
    let Some((user, used)) = standing.and_then(|standing| Some((standing.user?, standing.package)))
    else {
        return Err(ApiProblem::not_found("there is no such user"));
    };
    let bytes_left = bytes_left(&user, used.bytes());
    let (valid_from, valid_until) = match &user.package {
        Some(package) => (package.from, package.until),
        None => (None, None),
    };
    Ok(Json(UserRecord {
        name: user.name,
        version: user.version,
        password_hash: user.password_hash,
        enabled: user.enabled,
        reply_mode: user.reply_mode,
        valid_from: valid_from.map(|time| time.0),
        valid_until: valid_until.map(|time| time.0),
        bytes_left,
        limits: user.limits,
    }))
}

fn check(request: &PopHeartbeat) -> Result<(), ApiProblem> {
    check_label("boot_id", &request.boot_id, limits::MAX_LABEL_LEN)?;
    check_label("version", &request.version, limits::MAX_LABEL_LEN)?;
    check_label("proxy_addr", &request.proxy_addr, limits::MAX_ENDPOINT_LEN)?;
    check_label("tunnel_url", &request.tunnel_url, limits::MAX_ENDPOINT_LEN)?;
    if !["ws://", "wss://"]
        .iter()
        .any(|scheme| request.tunnel_url.starts_with(scheme))
    {
        return Err(ApiProblem::invalid(
            "tunnel_url must begin with ws:// or wss://",
        ));
    }
    if request.connected.len() + request.disconnected.len() > limits::MAX_NODES_PER_POP {
        let detail = format!(
            "a heartbeat holds at most {} nodes",
            limits::MAX_NODES_PER_POP
        );
        return Err(ApiProblem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(())
}

fn to_store(request: PopHeartbeat, pop: &Pop) -> Heartbeat {
    let presence = PopPresence {
        tunnel_url: request.tunnel_url,
        proxy_addr: request.proxy_addr,
        version: request.version,
        region: pop.region,
        tunnels: request.tunnels,
        sessions: request.sessions,
        accepting: request.accepting,
    };
    let place = |connected: NodeConnected| (connected.node, connected.address);
    Heartbeat {
        boot_id: request.boot_id,
        sequence: request.sequence,
        presence,
        full: request.full,
        connected: request.connected.into_iter().map(place).collect(),
        disconnected: request.disconnected,
    }
}
