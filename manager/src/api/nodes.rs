//! Nodes: for operators, and for the edges themselves.

use axum::{Json, extract::State, http::StatusCode};
use titan_proto::control::{
    Assignment, AssignmentRequest, Challenge, EnrolRequest, EnrolResponse, NodeId, NodeView, Page,
};

use super::{
    App,
    auth::Admin,
    extract::{self, PageQuery, Path, Query, check_label, paginate},
    problem::ApiProblem,
};
use crate::{
    assignment::{self, Wish},
    identity, limits,
    store::{LivePop, Node, NodeLocation, UnixTime},
};

/// Lists nodes.
#[utoipa::path(
    get, path = "/api/v1/nodes", tag = "nodes", security(("admin" = [])), params(PageQuery),
    responses((status = 200, description = "A page of nodes.", body = Page<NodeView>))
)]
pub(super) async fn list_nodes(
    State(app): State<App>,
    _: Admin,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<NodeView>>, ApiProblem> {
    let limit = query.limit()?;
    let nodes = app.store.list_nodes(query.after()?, limit + 1).await?;
    let (nodes, next) = paginate(nodes, limit, |node| node.id.to_string());
    let ids: Vec<NodeId> = nodes.iter().map(|node| node.id).collect();
    let locations = app.store.locate_nodes(&ids).await?;
    let items = nodes
        .into_iter()
        .zip(locations)
        .map(|(node, at)| view(node, at))
        .collect();
    Ok(Json(Page { items, next }))
}

/// Shows a node.
#[utoipa::path(
    get, path = "/api/v1/nodes/{id}", tag = "nodes", security(("admin" = [])),
    params(("id" = NodeId, Path, description = "The node.")),
    responses(
        (status = 200, description = "The node.", body = NodeView),
        (status = 404, description = "There is no such node."),
    )
)]
pub(super) async fn show_node(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<NodeId>,
) -> Result<Json<NodeView>, ApiProblem> {
    let node = app.store.node(id).await?.ok_or_else(unknown)?;
    let location = app.store.locate_nodes(&[id]).await?.pop().flatten();
    Ok(Json(view(node, location)))
}

/// Removes a node: its tunnels end, and it gets no more tokens unless it enrols again.
#[utoipa::path(
    delete, path = "/api/v1/nodes/{id}", tag = "nodes", security(("admin" = [])),
    params(("id" = NodeId, Path, description = "The node.")),
    responses(
        (status = 204, description = "The node is gone."),
        (status = 404, description = "There is no such node."),
    )
)]
pub(super) async fn delete_node(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<NodeId>,
) -> Result<StatusCode, ApiProblem> {
    if !app.store.delete_node(id).await? {
        return Err(unknown());
    }
    app.events.nudge();
    tracing::info!(node = %id, "node removed");
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a node away: its tunnels end on every PoP. It may come back with a new assignment.
#[utoipa::path(
    post, path = "/api/v1/nodes/{id}/kick", tag = "nodes", security(("admin" = [])),
    params(("id" = NodeId, Path, description = "The node.")),
    responses(
        (status = 204, description = "The PoPs are told."),
        (status = 404, description = "There is no such node."),
    )
)]
pub(super) async fn kick_node(
    State(app): State<App>,
    _: Admin,
    Path(id): Path<NodeId>,
) -> Result<StatusCode, ApiProblem> {
    if !app.store.kick_node(id).await? {
        return Err(unknown());
    }
    app.events.nudge();
    tracing::info!(node = %id, "node kicked");
    Ok(StatusCode::NO_CONTENT)
}

/// An edge makes itself known. Enrolling again with the same key pair is no error.
#[utoipa::path(
    post, path = "/api/v1/nodes/enrol", tag = "edge", request_body = EnrolRequest,
    responses(
        (status = 200, description = "The node's identity.", body = EnrolResponse),
        (status = 403, description = "The enrolment key or the signature is not valid."),
    )
)]
pub(super) async fn enrol_node(
    State(app): State<App>,
    extract::Json(request): extract::Json<EnrolRequest>,
) -> Result<Json<EnrolResponse>, ApiProblem> {
    check_label("version", &request.version, limits::MAX_LABEL_LEN)?;
    let node = identity::enrol(&*app.store, request).await?;
    tracing::info!(node = %node.id, "node enrolled");
    Ok(Json(EnrolResponse {
        node_id: node.id,
        region: node.region,
    }))
}

/// Gives an edge something to sign, valid once within a minute.
#[utoipa::path(
    post, path = "/api/v1/nodes/{id}/challenge", tag = "edge",
    params(("id" = NodeId, Path, description = "The node.")),
    responses(
        (status = 200, description = "What to sign.", body = Challenge),
        (status = 404, description = "No node with this id has enrolled."),
    )
)]
pub(super) async fn challenge_node(
    State(app): State<App>,
    Path(id): Path<NodeId>,
) -> Result<Json<Challenge>, ApiProblem> {
    let challenge = identity::challenge(&*app.store, id).await?;
    Ok(Json(Challenge { challenge }))
}

/// Tells an edge which PoP to dial, and signs the token for it.
#[utoipa::path(
    post, path = "/api/v1/nodes/{id}/assignment", tag = "edge",
    params(("id" = NodeId, Path, description = "The node.")), request_body = AssignmentRequest,
    responses(
        (status = 200, description = "Where to dial, and what to show there.", body = Assignment),
        (status = 403, description = "The challenge or the signature is not valid."),
        (status = 404, description = "No node with this id has enrolled."),
    )
)]
pub(super) async fn assign_node(
    State(app): State<App>,
    Path(id): Path<NodeId>,
    extract::Json(request): extract::Json<AssignmentRequest>,
) -> Result<Json<Assignment>, ApiProblem> {
    check_label("version", &request.version, limits::MAX_LABEL_LEN)?;
    let node = identity::prove(&*app.store, id, &request).await?;
    let pops = app.store.live_pops().await?;
    let wish = Wish {
        last: node.pop.as_ref(),
        avoid: request.avoid.as_ref(),
        region: node.region,
        max_tunnels: app.max_tunnels_per_pop,
    };
    let pop = assignment::choose(&pops, &wish).ok_or_else(no_pop)?;
    if !app
        .store
        .record_assignment(id, &pop.id, &request.version)
        .await?
    {
        return Err(unknown());
    }
    Ok(Json(assign(&app, &node, pop)?))
}

fn assign(app: &App, node: &Node, pop: &LivePop) -> Result<Assignment, ApiProblem> {
    let token = app.signer.sign(node, &pop.id, UnixTime::now())?;
    tracing::debug!(node = %node.id, pop = %pop.id, "node assigned");
    Ok(Assignment {
        pop: pop.id.clone(),
        tunnel_url: pop.presence.tunnel_url.clone(),
        token,
        expires_in_s: limits::TUNNEL_TOKEN_LIFETIME_S,
        region: node.region,
    })
}

fn view(node: Node, location: Option<NodeLocation>) -> NodeView {
    let (online, address) = (location.is_some(), location.as_ref().map(|at| at.address));
    NodeView {
        id: node.id,
        region: node.region,
        version: node.version,
        enrolled_at: node.enrolled_at.0,
        online,
        pop: location.map(|at| at.pop).or(node.pop),
        address,
    }
}

fn unknown() -> ApiProblem {
    ApiProblem::not_found("there is no such node")
}

fn no_pop() -> ApiProblem {
    ApiProblem::try_later(limits::RETRY_ASSIGNMENT_S, "no PoP takes nodes now")
}
