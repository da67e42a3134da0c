//! Whether the manager works.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{App, problem::ApiProblem};

/// Path of the health check.
pub(super) const PATH: &str = "/healthz";

/// The answer of a healthy manager.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `ok`; a manager that is not healthy answers with an error status.
    #[schema(example = "ok")]
    status: &'static str,
}

/// Whether the manager and its store answer.
#[utoipa::path(
    get, path = "/healthz", tag = "service",
    responses((status = 200, description = "The manager and its store answer.", body = Health))
)]
pub(super) async fn healthz(State(app): State<App>) -> Result<Json<Health>, ApiProblem> {
    app.store.ping().await?;
    Ok(Json(Health { status: "ok" }))
}
