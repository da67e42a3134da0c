//! From an order to a session: pick a tunnel, move to its shard if need be, open. A session whose
//! edge fails it before the target has answered comes by here again.

use std::{os::fd::OwnedFd, rc::Rc, time::Instant};

use titan_proto::{
    mux::{OpenError, Reset},
    reason::Reason,
};

use super::{link::Link, reply::refuse, session, udp, up::Early};
use crate::{
    directory::TunnelKey,
    limits::MAX_ROUTE_ATTEMPTS,
    mesh::{Answer, ClientMove, Order, Progress, Work},
    metrics::ClientClose,
    net::{Socket, spawn_guarded},
    route::{self, Route},
    tunnel::{Core, Session},
};

/// Finds a tunnel for a client of this shard and starts its session, here or on the shard that
/// owns the tunnel.
pub fn start(core: &Rc<Core>, client: Socket, order: Order) {
    let open_by = Instant::now() + core.config.open_timeout();
    proceed(core, client, order, Progress::new(open_by));
}

/// Finds another tunnel for a client whose session failed; `progress` says where.
pub(super) fn reopen(core: &Rc<Core>, client: Socket, order: Order, progress: Progress) {
    proceed(core, client, order, progress);
}

/// Goes on with a client that another shard sent here because of its tunnel.
pub fn arrive(core: &Rc<Core>, moved: ClientMove) {
    let ClientMove {
        fd,
        order,
        tunnel,
        mut progress,
    } = moved;
    let Ok(client) = Socket::adopt(fd) else {
        return core.metrics.client_closes.inc(ClientClose::Overloaded);
    };
    let chosen = core.tunnels.borrow().get(tunnel).map(Rc::clone);
    match chosen.map(|tunnel| tunnel.open(&order.open_request())) {
        Some(Ok(session)) => run(core, client, order, progress, session),
        // It ended, or filled up, while the client was under way.
        Some(Err(_)) | None => {
            progress.routed += 1;
            proceed(core, client, order, progress);
        }
    }
}

fn proceed(core: &Rc<Core>, client: Socket, order: Order, mut progress: Progress) {
    let mut reason = Reason::NoEdge;
    while progress.routed < MAX_ROUTE_ATTEMPTS {
        match route::choose(core, &progress.failed) {
            None => break,
            Some(Route::There(tunnel)) => return depart(core, client, order, tunnel, progress),
            Some(Route::Here(tunnel)) => match tunnel.open(&order.open_request()) {
                Ok(session) => return run(core, client, order, progress, session),
                Err(error) => reason = refused(error),
            },
        }
        progress.routed += 1;
    }
    give_up(core, client, &order, &progress, ClientClose::NoEdge, reason);
}

/// Moves the client to the shard of its tunnel.
fn depart(core: &Rc<Core>, client: Socket, order: Order, tunnel: TunnelKey, progress: Progress) {
    let Ok(fd) = client.into_fd() else {
        return core.metrics.client_closes.inc(ClientClose::Overloaded);
    };
    let moved = Work::Client(ClientMove {
        fd,
        order,
        tunnel,
        progress,
    });
    match core
        .mesh
        .send_work(tunnel.shard, moved)
        .map_err(|refused| *refused)
    {
        Ok(()) => core.metrics.client_handovers.inc(),
        Err(Work::Client(moved)) => come_back(core, moved.fd, &moved.order, &moved.progress),
        Err(Work::Request(_) | Work::Tunnel(_)) => {}
    }
}

/// The other shard is overloaded.
fn come_back(core: &Rc<Core>, fd: OwnedFd, order: &Order, progress: &Progress) {
    let (close, reason) = (ClientClose::Overloaded, Reason::Overloaded);
    match Socket::adopt(fd) {
        Ok(client) => give_up(core, client, order, progress, close, reason),
        Err(_) => core.metrics.client_closes.inc(close),
    }
}

fn run(core: &Rc<Core>, client: Socket, order: Order, progress: Progress, session: Session) {
    tracing::debug!(user = %order.user, target = %order.target, "session");
    let reply_mode = order.reply_mode;
    let early = Early {
        bytes: order.early.clone(),
        ended: progress.ended,
    };
    let (answer, announced) = (order.answer, order.target.clone());
    let link = Link::new(Rc::clone(core), client, session, order, progress);
    match answer {
        Answer::Socks5Associate => {
            spawn_guarded("association", udp::run(link, reply_mode, announced));
        }
        Answer::Socks5 | Answer::HttpConnect | Answer::HttpUpgraded => {
            spawn_guarded("session", session::run(link, reply_mode, early));
        }
    }
}

/// Nobody can carry the session. Where somebody has tried, the client hears what came of that.
fn give_up(
    core: &Rc<Core>,
    client: Socket,
    order: &Order,
    progress: &Progress,
    close: ClientClose,
    reason: Reason,
) {
    let reset = match progress.failed.last() {
        Some(failed) => failed.reset.clone(),
        None => {
            core.metrics.client_closes.inc(close);
            Reset::new(reason)
        }
    };
    core.metrics.sessions_failed.inc(reset.reason);
    if progress.told {
        return client.reset();
    }
    client.reset_on_close(false);
    let refusal = refuse(client, order.answer, reset.reason, reset.text);
    spawn_guarded("refusal", refusal);
}

pub(super) fn refused(error: OpenError) -> Reason {
    match error {
        OpenError::TooManySessions => Reason::TooManySessions,
        OpenError::Congested => Reason::Overloaded,
        OpenError::NotReady | OpenError::GoingAway | OpenError::Closed => Reason::NoEdge,
        OpenError::Unsupported => Reason::Unsupported,
        OpenError::WrongSide => Reason::GeneralFailure,
    }
}
