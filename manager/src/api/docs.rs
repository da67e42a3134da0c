//! The API's description as pages to browse. Swagger UI is part of the program, so that they work where
//! there is no way to the Internet; the policy sent along makes sure that browsers do not even try.

use std::sync::Arc;

use axum::{
    Router,
    extract::Path,
    http::{HeaderName, header},
    response::{IntoResponse, Redirect},
    routing::get,
};
use utoipa_swagger_ui::Config;

use super::{App, problem::ApiProblem};

/// Nothing from elsewhere, and nothing inline; Swagger UI's icons are data.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'";

/// The pages below `/docs`.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/docs", get(Redirect::permanent("/docs/index.html")))
        .route("/docs/{*file}", get(file))
}

async fn file(Path(file): Path<String>) -> Result<impl IntoResponse, ApiProblem> {
    // The validator is a service of Swagger's.
    let config = Config::from("/api/v1/openapi.json").validator_url("none");
    let found = utoipa_swagger_ui::serve(&file, Arc::new(config))
        .ok()
        .flatten();
    let found = found.ok_or_else(|| ApiProblem::not_found("there is no such page"))?;
    let headers: [(HeaderName, String); 2] = [
        (header::CONTENT_TYPE, found.content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY.into()),
    ];
    Ok((headers, found.bytes.into_owned()))
}
