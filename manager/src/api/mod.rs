//! The HTTP API: routes, and what every request passes before and after them.

mod auth;
mod blocks;
mod callers;
mod docs;
mod events;
mod export;
mod extract;
mod filters;
mod guard;
mod health;
mod idempotency;
mod keys;
mod negotiate;
mod nodes;
mod openapi;
mod packages;
mod pop_facing;
mod pop_usage;
mod pops;
mod problem;
mod rates;
mod scan;
mod tokens;
mod usage;
mod usage_query;
mod users;

use std::{num::NonZeroU32, sync::Arc};

use axum::{Extension, Router, extract::DefaultBodyLimit, middleware};
use ipnet::IpNet;
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
pub(crate) use callers::PeerAddress;
use events::Events;
use problem::ApiProblem;
use rates::Rates;

/// What handlers work with.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) passwords: Passwords,
    pub(crate) signer: Arc<TokenSigner>,
    pub(crate) max_tunnels_per_pop: u32,
    trusted_proxies: Arc<[IpNet]>,
    rates: Arc<Rates>,
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
            trusted_proxies: Arc::default(),
            rates: Arc::new(Rates::new(limits::DEFAULT_TOKEN_REQUESTS_PER_S)),
            events: Events::default(),
            requests: Arc::new(Semaphore::new(limits::MAX_REQUESTS)),
            anonymous_requests: Arc::new(Semaphore::new(limits::MAX_ANONYMOUS_REQUESTS)),
            heartbeats: Arc::new(Semaphore::new(limits::MAX_HEARTBEATS)),
            event_waits: Arc::new(Semaphore::new(limits::MAX_EVENT_WAITS)),
        }
    }

    /// Whose word about the address of a caller counts, and how often an admin token may be used.
    pub(crate) fn with_callers(
        self,
        trusted_proxies: Vec<IpNet>,
        requests_per_s: NonZeroU32,
    ) -> Self {
        Self {
            trusted_proxies: trusted_proxies.into(),
            rates: Arc::new(Rates::new(requests_per_s)),
            ..self
        }
    }
}

/// The whole API, its own description included.
pub(crate) fn router(app: App) -> Router {
    let (routes, mut document) = routes().split_for_parts();
    openapi::complete(&mut document);
    routes
        .merge(docs::routes())
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(Extension(openapi::DocumentText::new(&document)))
        .layer(middleware::from_fn_with_state(
            app.clone(),
            idempotency::once,
        ))
        .layer(middleware::from_fn(negotiate::negotiate))
        .layer(DefaultBodyLimit::max(limits::MAX_BODY_LEN))
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}

/// Every route with its description.
fn routes() -> OpenApiRouter<App> {
    let heartbeat =
        routes!(pop_facing::heartbeat).layer(DefaultBodyLimit::max(limits::MAX_HEARTBEAT_LEN));
    let usage =
        routes!(pop_usage::report_usage).layer(DefaultBodyLimit::max(limits::MAX_USAGE_LEN));
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(health::healthz))
        .routes(routes!(openapi::openapi_json))
        .routes(routes!(users::list_users, users::create_user))
        .routes(routes!(
            users::show_user,
            users::update_user,
            users::delete_user
        ))
        .routes(routes!(packages::renew_package, packages::remove_package))
        .routes(routes!(packages::reset_package))
        .routes(routes!(usage::show_usage))
        .routes(routes!(usage::usage_series))
        .routes(routes!(usage::top_usage))
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
        .routes(routes!(blocks::list_blocks, blocks::create_block))
        .routes(routes!(blocks::delete_block))
        .routes(routes!(
            tokens::list_admin_tokens,
            tokens::create_admin_token
        ))
        .routes(routes!(tokens::delete_admin_token))
        .routes(heartbeat)
        .routes(usage)
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
