//! The operator's pages: health, metrics, the list of tunnels. No authentication: loopback only,
//! unless the operator says otherwise.

use std::{net::TcpListener, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use serde::Serialize;

use crate::{
    directory::TunnelEntry,
    mesh::Status,
    metrics::{self, Metrics},
};

/// Serves the pages for as long as the runtime it is called on lives.
///
/// # Errors
/// When the listener cannot be used.
pub async fn run(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    axum::serve(listener, router(Pages { metrics, status })).await
}

#[derive(Debug, Clone)]
struct Pages {
    metrics: Arc<Metrics>,
    status: Arc<Status>,
}

fn router(pages: Pages) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .route("/debug/tunnels", get(tunnels))
        .with_state(pages)
}

async fn readyz(State(pages): State<Pages>) -> (StatusCode, &'static str) {
    match (pages.status.is_draining(), pages.status.is_ready()) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        (false, true) => (StatusCode::OK, "ready\n"),
        (false, false) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the manager has not answered yet\n",
        ),
    }
}

async fn metrics_page(State(pages): State<Pages>) -> impl IntoResponse {
    match metrics::encode(&pages.metrics) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn tunnels(State(pages): State<Pages>) -> Json<Vec<TunnelView>> {
    let tunnels = pages.status.tunnels();
    let mut views: Vec<_> = tunnels
        .tunnels()
        .map(|entry| TunnelView::from(&**entry))
        .collect();
    drop(tunnels);
    views.sort_by(|a, b| a.node.cmp(&b.node).then_with(|| a.tunnel.cmp(&b.tunnel)));
    Json(views)
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A tunnel as the operator sees it.
#[derive(Debug, Serialize)]
struct TunnelView {
    /// Shard, slot and serial number.
    tunnel: String,
    shard: u16,
    node: String,
    region: Option<String>,
    address: String,
    rtt_ms: Option<f64>,
    sessions: u32,
    saturated: bool,
}

impl From<&TunnelEntry> for TunnelView {
    fn from(entry: &TunnelEntry) -> Self {
        Self {
            tunnel: entry.key.to_string(),
            shard: entry.key.shard.0,
            node: entry.node.to_string(),
            region: entry.region.map(|region| region.to_string()),
            address: entry.address.to_string(),
            rtt_ms: entry.rtt().map(|rtt| rtt.as_secs_f64() * 1000.0),
            sessions: entry.sessions(),
            saturated: entry.is_saturated(),
        }
    }
}
