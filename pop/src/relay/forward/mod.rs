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

use std::{rc::Rc, sync::Arc, time::Instant};

use titan_proto::{
    control::ReplyMode,
    http::{Persistence, error_response},
    mux::Reset,
    reason::Reason,
};

pub use self::client::Client;
use self::{
    exchange::{Done, Exchange, Milestones},
    failure::Failure,
    origin::{Found, Origin, Search},
};
use super::{link::Link, session, up::Early};
use crate::{
    mesh::{Answer, Progress, RequestMove, RequestOrder},
    metrics::ClientClose,
    net::{Socket, spawn_guarded},
    tunnel::Core,
    users::Seat,
};

/// Carries one request of a client of this shard. Gives the client back where its connection is
/// there for another request; `None` where it has ended, moved to another shard or become a
/// WebSocket's.
pub async fn forward(core: &Rc<Core>, client: Client, order: RequestOrder) -> Option<Client> {
    tracing::debug!(user = %order.user, target = %order.request.target, "request");
    let open_by = Instant::now() + core.config.open_timeout();
    serve(core, client, order, Search::new(Progress::new(open_by))).await
}

/// Goes on with a request that another shard sent here because of a tunnel of this shard.
pub async fn arrive(core: &Rc<Core>, moved: RequestMove) -> Option<Client> {
    let Ok(socket) = Socket::adopt(moved.fd) else {
        core.metrics.client_closes.inc(ClientClose::Overloaded);
        return None;
    };
    let client = Client::resume(socket, moved.input, moved.has_ended);
    let search = Search::chosen(moved.tunnel, moved.progress);
    serve(core, client, moved.order, search).await
}

async fn serve(
    core: &Rc<Core>,
    mut client: Client,
    mut order: RequestOrder,
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
                let stayed = client.depart(core, order, tunnel, search.progress)?;
                let (client, order, progress) = *stayed;
                let verdict = Search::new(progress).verdict(Reason::Overloaded);
                return refuse(core, client, &order, &verdict).await;
            }
            Err(reason) => return refuse(core, client, &order, &search.verdict(reason)).await,
        };
        match attempt(core, client, &mut order, &mut search, origin).await {
            Attempt::Over(client) => return client,
            Attempt::Again(back) => client = back,
        }
    }
}

/// What came of a request in one session.
enum Attempt {
    /// It was answered, or nobody is there to hear the answer.
    Over(Option<Client>),
    /// Another session may do better.
    Again(Client),
}

async fn attempt(
    core: &Rc<Core>,
    mut client: Client,
    order: &mut RequestOrder,
    search: &mut Search,
    origin: Origin,
) -> Attempt {
    // Until the response is complete a connection that closes must not look as if it were, even
    // if it closes because this process was killed.
    client.socket.reset_on_close(true);
    let open_by = search.progress.open_by;
    let exchange = Exchange::new(core, &client.socket, &origin.session, order, open_by);
    let outcome = exchange.run(&mut client.unread).await;
    let (milestones, kept) = (exchange.milestones(), exchange.kept.take());
    drop(exchange);
    match outcome {
        Ok(Done::Switched) => {
            switch(core, client, origin, Arc::clone(&order.seat));
            Attempt::Over(None)
        }
        Ok(Done::Complete(persistence, end)) => {
            client.socket.reset_on_close(false);
            client.keep(origin.after(end, milestones, persistence));
            Attempt::Over(client.go_on(persistence).await)
        }
        Err(failure) => {
            tracing::debug!(%failure, "exchange failed");
            origin.reset(failure.reason());
            if !milestones.is_unanswered()
                || !may_repeat(core, order, search, &origin, &failure, kept.is_some())
            {
                return Attempt::Over(fail(core, client, order, milestones, &failure).await);
            }
            order.counted = order.counted.max(milestones.sent);
            client.socket.reset_on_close(false);
            client.take_back(kept.unwrap_or_default());
            Attempt::Again(client)
        }
    }
}

/// Whether a request that nobody has answered may be sent once more, in another session. One that
/// its edge failed goes on as any session does, as long as all of it is kept. Where a server had
/// closed its idle connection, it may have acted on the request, which must not matter then
/// (RFC 9110 §9.2.2).
fn may_repeat(
    core: &Core,
    order: &RequestOrder,
    search: &mut Search,
    origin: &Origin,
    failure: &Failure,
    is_kept: bool,
) -> bool {
    match failure {
        Failure::Session(reset) if reset.reason.retry_elsewhere() => {
            // What has come of an answer may have got lost; it was given all the same.
            is_kept
                && !origin.session.has_heard()
                && search.note_failure(core, &origin.session, reset)
        }
        other => origin.was_kept() && other.is_end_of_session() && order.request.is_repeatable,
    }
}

/// Answers a request that got no session. All that has been read of it but its head can be read again.
async fn refuse(
    core: &Core,
    client: Client,
    order: &RequestOrder,
    verdict: &Reset,
) -> Option<Client> {
    let Reset { reason, text } = verdict;
    core.metrics.sessions_failed.inc(*reason);
    let is_read = order.request.content.is_complete();
    answer(core, client, order, is_read, *reason, text).await
}

/// Ends an exchange that failed: with the true answer if the client has none yet, else with a
/// reset, so that a cut response is never taken for a whole one.
async fn fail(
    core: &Core,
    client: Client,
    order: &RequestOrder,
    milestones: Milestones,
    failure: &Failure,
) -> Option<Client> {
    core.metrics.sessions_failed.inc(failure.reason());
    if milestones.is_answered || !failure.can_be_answered() {
        client.reset();
        return None;
    }
    client.socket.reset_on_close(false);
    let (reason, detail) = (failure.reason(), failure.detail());
    answer(core, client, order, milestones.is_sent, reason, &detail).await
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
fn switch(core: &Rc<Core>, client: Client, origin: Origin, seat: Arc<Seat>) {
    let (socket, bytes) = client.into_parts();
    let link = Link::resume(
        Rc::clone(core),
        socket,
        origin.session,
        seat,
        Answer::HttpUpgraded,
    );
    link.meter.moved_up(bytes.len());
    let ended = false;
    let early = Early { bytes, ended };
    spawn_guarded(
        "websocket",
        session::run(link, ReplyMode::Optimistic, early),
    );
}
