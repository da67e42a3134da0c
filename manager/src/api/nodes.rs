//! Nodes: for operators, and for the edges themselves.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use titan_proto::control::{
    Assignment, AssignmentRequest, Challenge, EnrolRequest, EnrolResponse, NodeId, NodeView, Page,
};

use super::{
    App,
    auth::{Admin, ChangeNodes, ReadNodes},
    callers::ClientAddress,
    export,
    extract::{self, Path, Query, check_label},
    filters::NodeQuery,
    negotiate::prefers_csv,
    problem::ApiProblem,
    scan::Scan,
};
use crate::{
    assignment::{self, Wish},
    identity, limits,
    store::{LivePop, Node, NodeLocation, UnixTime},
};

/// Lists nodes, or exports all of them as CSV: then `cursor` and `limit` mean nothing.
#[utoipa::path(
    get, path = "/api/v1/nodes", tag = "nodes",
    security(("admin" = ["read", "nodes", "all"])), params(NodeQuery),
    responses((
        status = 200, description = "A page of nodes, or a table of all.",
        content((Page<NodeView> = "application/json"), (String = "text/csv")),
    ))
)]
pub(super) async fn list_nodes(
    State(app): State<App>,
    _: Admin<ReadNodes>,
    Query(query): Query<NodeQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiProblem> {
    let (page, filter) = query.split();
    let mut scan = Scan::new(page.limit()?);
    let mut after = page.after()?;
    if prefers_csv(&headers) {
        return Ok(export::nodes(app, filter));
    }
    while let Some(asked) = scan.wants(filter.is_filtered()) {
        let nodes = views(&app, after, asked).await?;
        after = nodes.last().map(|node| node.id).or(after);
        let judge = |node: NodeView| (node.id.to_string(), filter.fits(&node), node);
        scan.take(asked, nodes.into_iter().map(judge));
    }
    let (items, next) = scan.finish();
    Ok(Json(Page { items, next }).into_response())
}

/// Up to `limit` nodes behind `after`, as they are now.
pub(super) async fn views(
    app: &App,
    after: Option<NodeId>,
    limit: usize,
) -> Result<Vec<NodeView>, ApiProblem> {
    let nodes = app.store.list_nodes(after, limit).await?;
    let ids: Vec<NodeId> = nodes.iter().map(|node| node.id).collect();
    let locations = app.store.locate_nodes(&ids).await?;
    let nodes = nodes.into_iter().zip(locations);
    Ok(nodes.map(|(node, at)| view(node, at)).collect())
}

/// Shows a node.
#[utoipa::path(
    get, path = "/api/v1/nodes/{id}", tag = "nodes", security(("admin" = ["read", "nodes", "all"])),
    params(("id" = NodeId, Path, description = "The node.")),
    responses(
        (status = 200, description = "The node.", body = NodeView),
        (status = 404, description = "There is no such node."),
    )
)]
pub(super) async fn show_node(
    State(app): State<App>,
    _: Admin<ReadNodes>,
    Path(id): Path<NodeId>,
) -> Result<Json<NodeView>, ApiProblem> {
    let node = app.store.node(id).await?.ok_or_else(unknown)?;
    let location = app.store.locate_nodes(&[id]).await?.pop().flatten();
    Ok(Json(view(node, location)))
}

/// Removes a node: its tunnels end, and it gets no more tokens unless it enrols again.
#[utoipa::path(
    delete, path = "/api/v1/nodes/{id}", tag = "nodes", security(("admin" = ["nodes", "all"])),
    params(("id" = NodeId, Path, description = "The node.")),
    responses(
        (status = 204, description = "The node is gone."),
        (status = 404, description = "There is no such node."),
    )
)]
pub(super) async fn delete_node(
    State(app): State<App>,
    _: Admin<ChangeNodes>,
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
    post, path = "/api/v1/nodes/{id}/kick", tag = "nodes", security(("admin" = ["nodes", "all"])),
    params(("id" = NodeId, Path, description = "The node.")),
    responses(
        (status = 204, description = "The PoPs are told."),
        (status = 404, description = "There is no such node."),
    )
)]
pub(super) async fn kick_node(
    State(app): State<App>,
    _: Admin<ChangeNodes>,
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
        (status = 403, description = "The enrolment key or the signature is not valid, or the node is blocked."),
    )
)]
pub(super) async fn enrol_node(
    State(app): State<App>,
    ClientAddress(address): ClientAddress,
    extract::Json(request): extract::Json<EnrolRequest>,
) -> Result<Json<EnrolResponse>, ApiProblem> {
    check_label("version", &request.version, limits::MAX_LABEL_LEN)?;
    let node = identity::enrol(&*app.store, request, address).await?;
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
        (status = 403, description = "The node or its address is blocked."),
        (status = 404, description = "No node with this id has enrolled."),
    )
)]
pub(super) async fn challenge_node(
    State(app): State<App>,
    Path(id): Path<NodeId>,
    ClientAddress(address): ClientAddress,
) -> Result<Json<Challenge>, ApiProblem> {
    let challenge = identity::challenge(&*app.store, id, address).await?;
    Ok(Json(Challenge { challenge }))
}

/// Tells an edge which PoP to dial, and signs the token for it.
#[utoipa::path(
    post, path = "/api/v1/nodes/{id}/assignment", tag = "edge",
    params(("id" = NodeId, Path, description = "The node.")), request_body = AssignmentRequest,
    responses(
        (status = 200, description = "Where to dial, and what to show there.", body = Assignment),
        (status = 403, description = "The challenge or the signature is not valid, or the node is blocked."),
        (status = 404, description = "No node with this id has enrolled."),
    )
)]
pub(super) async fn assign_node(
    State(app): State<App>,
    Path(id): Path<NodeId>,
    ClientAddress(address): ClientAddress,
    extract::Json(request): extract::Json<AssignmentRequest>,
) -> Result<Json<Assignment>, ApiProblem> {
    check_label("version", &request.version, limits::MAX_LABEL_LEN)?;
    let node = identity::prove(&*app.store, id, &request, address).await?;
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
