//! The HTTP API: routes, and what every request passes before and after them.

mod auth;
mod events;
mod extract;
mod guard;
mod health;
mod keys;
mod nodes;
mod openapi;
mod pop_facing;
mod pops;
mod problem;
mod users;

use std::sync::Arc;

use axum::{Extension, Router, extract::DefaultBodyLimit, middleware};
use tokio::sync::Semaphore;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

use crate::{
    identity::{Passwords, TokenSigner},
    limits,
    store::Store,
};
use events::Events;
use problem::ApiProblem;

/// What handlers work with.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) passwords: Passwords,
    pub(crate) signer: Arc<TokenSigner>,
    pub(crate) max_tunnels_per_pop: u32,
    /// What wakes the PoPs that wait for events.
    pub(crate) events: Events,
    requests: Arc<Semaphore>,
    anonymous_requests: Arc<Semaphore>,
    heartbeats: Arc<Semaphore>,
    event_waits: Arc<Semaphore>,
}

impl App {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        passwords: Passwords,
        signer: TokenSigner,
        max_tunnels_per_pop: u32,
    ) -> Self {
        Self {
            store,
            passwords,
            signer: Arc::new(signer),
            max_tunnels_per_pop,
            events: Events::default(),
            requests: Arc::new(Semaphore::new(limits::MAX_REQUESTS)),
            anonymous_requests: Arc::new(Semaphore::new(limits::MAX_ANONYMOUS_REQUESTS)),
            heartbeats: Arc::new(Semaphore::new(limits::MAX_HEARTBEATS)),
            event_waits: Arc::new(Semaphore::new(limits::MAX_EVENT_WAITS)),
        }
    }
}

/// The whole API, its own description included.
pub(crate) fn router(app: App) -> Router {
    let (routes, mut document) = routes().split_for_parts();
    openapi::complete(&mut document);
    routes
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(Extension(openapi::DocumentText::new(&document)))
        .layer(DefaultBodyLimit::max(limits::MAX_BODY_LEN))
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}

/// Every route with its description.
fn routes() -> OpenApiRouter<App> {
    let heartbeat =
        routes!(pop_facing::heartbeat).layer(DefaultBodyLimit::max(limits::MAX_HEARTBEAT_LEN));
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(health::healthz))
        .routes(routes!(openapi::openapi_json))
        .routes(routes!(users::list_users, users::create_user))
        .routes(routes!(
            users::show_user,
            users::update_user,
            users::delete_user
        ))
        .routes(routes!(nodes::list_nodes))
        .routes(routes!(nodes::show_node, nodes::delete_node))
        .routes(routes!(nodes::kick_node))
        .routes(routes!(nodes::enrol_node))
        .routes(routes!(nodes::challenge_node))
        .routes(routes!(nodes::assign_node))
        .routes(routes!(pops::list_pops, pops::create_pop))
        .routes(routes!(pops::show_pop, pops::delete_pop))
        .routes(routes!(
            keys::list_enrolment_keys,
            keys::create_enrolment_key
        ))
        .routes(routes!(keys::delete_enrolment_key))
        .routes(heartbeat)
        .routes(routes!(pop_facing::user_for_pop))
        .routes(routes!(events::events_for_pop))
}

async fn no_such_route() -> ApiProblem {
    ApiProblem::not_found("there is nothing at this path")
}

async fn no_such_method() -> ApiProblem {
    ApiProblem::new(
        axum::http::StatusCode::METHOD_NOT_ALLOWED,
        "this path does not know the method; see the Allow header",
    )
}

#[cfg(test)]
mod tests;
