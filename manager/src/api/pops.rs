//! PoPs, for operators.

use std::collections::HashMap;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use titan_proto::control::{API_PREFIX, Page, PopCreate, PopCreated, PopId, PopView};

use super::{
    App,
    auth::{Admin, ChangeNodes, ReadNodes},
    extract::{self, Path, Query},
    filters::PopQuery,
    problem::ApiProblem,
    scan::Scan,
};
use crate::{
    identity,
    store::{Pop, PopPresence},
};

/// Lists PoPs.
#[utoipa::path(
    get, path = "/api/v1/pops", tag = "pops", security(("admin" = ["read", "nodes", "all"])), params(PopQuery),
    responses((status = 200, description = "A page of PoPs.", body = Page<PopView>))
)]
pub(super) async fn list_pops(
    State(app): State<App>,
    _: Admin<ReadNodes>,
    Query(query): Query<PopQuery>,
) -> Result<Json<Page<PopView>>, ApiProblem> {
    let page = query.page();
    let mut scan = Scan::new(page.limit()?);
    let mut after = page.after::<PopId>()?;
    let live = app.store.live_pops().await?;
    let mut live: HashMap<PopId, PopPresence> =
        live.into_iter().map(|pop| (pop.id, pop.presence)).collect();
    while let Some(asked) = scan.wants(query.is_filtered()) {
        let pops = app.store.list_pops(after.as_ref(), asked).await?;
        after = pops.last().map(|pop| pop.id.clone()).or(after);
        let mut judge = |pop: Pop| {
            let presence = live.remove(&pop.id);
            let pop = view(pop, presence);
            (pop.id.to_string(), query.fits(&pop), pop)
        };
        scan.take(asked, pops.into_iter().map(&mut judge));
    }
    let (items, next) = scan.finish();
    Ok(Json(Page { items, next }))
}

/// Registers a PoP. Its credential is in the answer this once.
#[utoipa::path(
    post, path = "/api/v1/pops", tag = "pops", security(("admin" = ["nodes", "all"])),
    request_body = PopCreate,
    responses(
        (status = 201, description = "The PoP's credential.", body = PopCreated),
        (status = 409, description = "A PoP has this id."),
    )
)]
pub(super) async fn create_pop(
    State(app): State<App>,
    _: Admin<ChangeNodes>,
    extract::Json(request): extract::Json<PopCreate>,
) -> Result<impl IntoResponse, ApiProblem> {
    let PopCreate { id, region } = request;
    let (pop, credential) = identity::make_pop_credential(id.clone(), region);
    if !app.store.create_pop(pop).await? {
        return Err(ApiProblem::new(
            StatusCode::CONFLICT,
            "a PoP has this id already",
        ));
    }
    tracing::info!(pop = %id, "PoP registered");
    let location = format!("{API_PREFIX}/pops/{id}");
    let body = Json(PopCreated { id, credential });
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], body))
}

/// Shows a PoP.
#[utoipa::path(
    get, path = "/api/v1/pops/{id}", tag = "pops", security(("admin" = ["read", "nodes", "all"])),
    params(("id" = PopId, Path, description = "The PoP.")),
    responses(
        (status = 200, description = "The PoP.", body = PopView),
        (status = 404, description = "There is no such PoP."),
    )
)]
pub(super) async fn show_pop(
    State(app): State<App>,
    _: Admin<ReadNodes>,
    Path(id): Path<PopId>,
) -> Result<Json<PopView>, ApiProblem> {
    let pop = app.store.pop(&id).await?.ok_or_else(unknown)?;
    let presence = app.store.pop_presence(&id).await?;
    Ok(Json(view(pop, presence)))
}

/// Removes a PoP: its credential is worthless at once, and it gets no more nodes.
#[utoipa::path(
    delete, path = "/api/v1/pops/{id}", tag = "pops", security(("admin" = ["nodes", "all"])),
    params(("id" = PopId, Path, description = "The PoP.")),
    responses(
        (status = 204, description = "The PoP is gone."),
        (status = 404, description = "There is no such PoP."),
    )
)]
pub(super) async fn delete_pop(
    State(app): State<App>,
    _: Admin<ChangeNodes>,
    Path(id): Path<PopId>,
) -> Result<StatusCode, ApiProblem> {
    if !app.store.delete_pop(&id).await? {
        return Err(unknown());
    }
    tracing::info!(pop = %id, "PoP removed");
    Ok(StatusCode::NO_CONTENT)
}

fn view(pop: Pop, presence: Option<PopPresence>) -> PopView {
    PopView {
        id: pop.id,
        region: pop.region,
        online: presence.is_some(),
        tunnels: presence.as_ref().map_or(0, |presence| presence.tunnels),
        sessions: presence.as_ref().map_or(0, |presence| presence.sessions),
        tunnel_url: presence
            .as_ref()
            .map(|presence| presence.tunnel_url.clone()),
        proxy_addr: presence
            .as_ref()
            .map(|presence| presence.proxy_addr.clone()),
        version: presence.map(|presence| presence.version),
        created_at: pop.created_at.0,
    }
}

fn unknown() -> ApiProblem {
    ApiProblem::not_found("there is no such PoP")
}
