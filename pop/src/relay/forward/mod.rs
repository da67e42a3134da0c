//! Plain HTTP requests: one exchange after the other on a client's connection.
//!
//! ```text
//!  ingress: head, login ─▶ forward ─┬─ the session it has ───────────▶ exchange ─▶ response
//!     ▲                             └─ route ─┬─ a tunnel here ────────▶    │
//!     │                                       └─ another shard's ──mesh──▶ arrive (there)
//!     └──────────── the client, for its next request ◀──────────────────────┘
//! ```
//!
//! A client's requests are answered in their order (RFC 9112 §9.3.2), each by its own target. The
//! session to an origin server is kept for as long as client and server keep their connections,
//! and serves the next request if that is for the same server by the same user. Until the first
//! byte of a response, whatever fails is answered in its place; after it the client sees a reset.

mod client;
mod exchange;
mod failure;
mod origin;
mod outgoing;
mod request;
mod response;

use std::rc::Rc;

use titan_proto::{
    control::ReplyMode,
    http::{Persistence, error_response},
    reason::Reason,
};

pub use self::client::Client;
use self::{
    exchange::{Done, Exchange, Progress},
    failure::Failure,
    origin::{Found, Origin, Search},
};
use super::{link::Link, session, up::Early};
use crate::{
    mesh::{Failed, RequestMove, RequestOrder},
    metrics::ClientClose,
    net::{Socket, spawn_guarded},
    tunnel::Core,
};

/// Carries one request of a client of this shard. Gives the client back where its connection is
/// there for another request; `None` where it has ended, moved to another shard or become a
/// WebSocket's.
pub async fn forward(core: &Rc<Core>, client: Client, order: RequestOrder) -> Option<Client> {
    tracing::debug!(user = %order.user, target = %order.request.target, "request");
    serve(core, client, order, Search::default()).await
}

/// Goes on with a request that another shard sent here because of a tunnel of this shard.
pub async fn arrive(core: &Rc<Core>, moved: RequestMove) -> Option<Client> {
    let Ok(socket) = Socket::adopt(moved.fd) else {
        core.metrics.client_closes.inc(ClientClose::Overloaded);
        return None;
    };
    let client = Client::resume(socket, moved.input, moved.has_ended);
    let search = Search::chosen(moved.tunnel, moved.attempts, moved.failed);
    serve(core, client, moved.order, search).await
}

async fn serve(
    core: &Rc<Core>,
    mut client: Client,
    order: RequestOrder,
    mut search: Search,
) -> Option<Client> {
    loop {
        let found = match client.take_kept(core, &order).await {
            Some(origin) => Ok(Found::Here(origin)),
            None => search.find(core, &order),
        };
        let origin = match found {
            Ok(Found::Here(origin)) => origin,
            Ok(Found::There(tunnel)) => {
                let stayed = client.depart(core, order, tunnel, search)?;
                let (client, order) = *stayed;
                return refuse(core, client, &order, Reason::Overloaded).await;
            }
            Err(reason) => return refuse(core, client, &order, reason).await,
        };
        match attempt(core, client, &order, origin).await {
            Attempt::Over(client) => return client,
            Attempt::Again(back, failed) => {
                client = back;
                search.again(failed);
            }
        }
    }
}

/// What came of a request in one session.
enum Attempt {
    /// It was answered, or nobody is there to hear the answer.
    Over(Option<Client>),
    /// Another session may do better.
    Again(Client, Failed),
}

async fn attempt(
    core: &Rc<Core>,
    mut client: Client,
    order: &RequestOrder,
    origin: Origin,
) -> Attempt {
    // Until the response is complete a connection that closes must not look as if it were, even
    // if it closes because this process was killed.
    client.socket.reset_on_close(true);
    let exchange = Exchange::new(core, &client.socket, &origin.session);
    let outcome = exchange.run(&order.request, &mut client.unread).await;
    let progress = exchange.progress();
    drop(exchange);
    match outcome {
        Ok(Done::Switched) => {
            switch(core, client, origin);
            Attempt::Over(None)
        }
        Ok(Done::Complete(persistence, end)) => {
            client.socket.reset_on_close(false);
            client.keep(origin.after(end, progress, persistence));
            Attempt::Over(client.go_on(persistence).await)
        }
        Err(failure) => {
            let is_stale = origin.was_kept() && failure.is_end_of_session();
            if !is_stale {
                core.metrics.sessions_failed.inc(failure.reason());
            }
            tracing::debug!(%failure, "exchange failed");
            origin.reset(failure.reason());
            if may_repeat(core, order, progress, &failure, is_stale) {
                client.socket.reset_on_close(false);
                return Attempt::Again(client, origin.failed(&failure));
            }
            Attempt::Over(fail(core, client, order, progress, &failure).await)
        }
    }
}

/// Whether a request may be sent once more, in another session (RFC 9110 §9.2.2): nobody has
/// answered a byte, and the session ended because the server had closed its idle connection, or
/// because of the edge.
fn may_repeat(
    core: &Core,
    order: &RequestOrder,
    progress: Progress,
    failure: &Failure,
    is_stale: bool,
) -> bool {
    let is_unanswered = !progress.is_heard && !progress.is_answered;
    let is_edges_doing = failure.is_end_of_session() && failure.reason().retry_elsewhere();
    let elsewhere = is_edges_doing && core.config.reopen;
    order.request.is_repeatable && is_unanswered && (is_stale || elsewhere)
}

/// Answers a request that got no session. Nothing of it has been read but its head.
async fn refuse(
    core: &Core,
    client: Client,
    order: &RequestOrder,
    reason: Reason,
) -> Option<Client> {
    core.metrics.sessions_failed.inc(reason);
    let is_read = order.request.content.is_complete();
    answer(core, client, order, is_read, reason, "").await
}

/// Ends an exchange that failed: with the true answer if the client has none yet, else with a
/// reset, so that a cut response is never taken for a whole one.
async fn fail(
    core: &Core,
    client: Client,
    order: &RequestOrder,
    progress: Progress,
    failure: &Failure,
) -> Option<Client> {
    if progress.is_answered || !failure.can_be_answered() {
        client.reset();
        return None;
    }
    client.socket.reset_on_close(false);
    let (reason, detail) = (failure.reason(), failure.detail());
    answer(core, client, order, progress.is_sent, reason, &detail).await
}

/// Gives the proxy's own answer. The connection stays where the client may send another request
/// and it is known where that begins: the one answered has been read to its end.
async fn answer(
    core: &Core,
    client: Client,
    order: &RequestOrder,
    is_read: bool,
    reason: Reason,
    detail: &str,
) -> Option<Client> {
    let asked = order.request.asked;
    let persists = asked.is_persistent && is_read && !core.is_draining();
    let persistence = Persistence::when(persists);
    let response = error_response(reason, detail, asked.is_head, persistence);
    client.answer(&response, persistence).await
}

/// Leaves the connection to the two ends, which speak WebSocket from here on.
fn switch(core: &Rc<Core>, client: Client, origin: Origin) {
    let (socket, early) = client.into_parts();
    let link = Link::upgraded(Rc::clone(core), socket, origin.session);
    let early = Early {
        bytes: early,
        ended: false,
    };
    spawn_guarded(
        "websocket",
        session::run(link, ReplyMode::Optimistic, early),
    );
}
