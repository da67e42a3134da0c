//! From an order to a session: pick a tunnel, move to its shard if need be, open.

use std::{os::fd::OwnedFd, rc::Rc};

use titan_proto::{
    mux::{OpenError, OpenRequest},
    reason::Reason,
};

use super::{link::Link, reply::refuse, session};
use crate::{
    directory::TunnelKey,
    limits::MAX_ROUTE_ATTEMPTS,
    mesh::{ClientMove, Order, Work},
    metrics::ClientClose,
    net::{Socket, spawn_guarded},
    route::{self, Route},
    tunnel::{Core, Session},
};

/// Finds a tunnel for a client of this shard and starts its session, here or on the shard that
/// owns the tunnel.
pub fn start(core: &Rc<Core>, client: Socket, order: Order) {
    proceed(core, client, order, 0);
}

/// Goes on with a client that another shard sent here because of its tunnel.
pub fn arrive(core: &Rc<Core>, moved: ClientMove) {
    let ClientMove {
        fd,
        order,
        tunnel,
        attempts,
    } = moved;
    let Ok(client) = Socket::adopt(fd) else {
        return core.metrics.client_closes.inc(ClientClose::Overloaded);
    };
    let chosen = core.tunnels.borrow().get(tunnel).map(Rc::clone);
    let request = OpenRequest::tcp(order.target.clone());
    match chosen.map(|tunnel| tunnel.open(&request)) {
        Some(Ok(session)) => run(core, client, order, session),
        // It ended, or filled up, while the client was under way.
        Some(Err(_)) | None => proceed(core, client, order, attempts + 1),
    }
}

fn proceed(core: &Rc<Core>, client: Socket, order: Order, mut attempts: u8) {
    let mut reason = Reason::NoEdge;
    while attempts < MAX_ROUTE_ATTEMPTS {
        match route::choose(core) {
            None => break,
            Some(Route::There(tunnel)) => return depart(core, client, order, tunnel, attempts),
            Some(Route::Here(tunnel)) => {
                match tunnel.open(&OpenRequest::tcp(order.target.clone())) {
                    Ok(session) => return run(core, client, order, session),
                    Err(error) => reason = refused(error),
                }
            }
        }
        attempts += 1;
    }
    give_up(core, client, &order, ClientClose::NoEdge, reason);
}

/// Moves the client to the shard of its tunnel.
fn depart(core: &Rc<Core>, client: Socket, order: Order, tunnel: TunnelKey, attempts: u8) {
    let Ok(fd) = client.into_fd() else {
        return core.metrics.client_closes.inc(ClientClose::Overloaded);
    };
    let moved = Work::Client(ClientMove {
        fd,
        order,
        tunnel,
        attempts,
    });
    match core
        .mesh
        .send_work(tunnel.shard, moved)
        .map_err(|refused| *refused)
    {
        Ok(()) => core.metrics.client_handovers.inc(),
        Err(Work::Client(ClientMove { fd, order, .. })) => come_back(core, fd, &order),
        Err(Work::Request(_) | Work::Tunnel(_)) => {}
    }
}

/// The other shard is overloaded.
fn come_back(core: &Rc<Core>, fd: OwnedFd, order: &Order) {
    match Socket::adopt(fd) {
        Ok(client) => give_up(
            core,
            client,
            order,
            ClientClose::Overloaded,
            Reason::Overloaded,
        ),
        Err(_) => core.metrics.client_closes.inc(ClientClose::Overloaded),
    }
}

fn run(core: &Rc<Core>, client: Socket, order: Order, session: Session) {
    tracing::debug!(user = %order.user, target = %order.target, "session");
    let link = Link::new(Rc::clone(core), client, session);
    let Order {
        answer,
        reply_mode,
        early,
        ..
    } = order;
    spawn_guarded("session", session::run(link, answer, reply_mode, early));
}

fn give_up(core: &Rc<Core>, client: Socket, order: &Order, close: ClientClose, reason: Reason) {
    core.metrics.client_closes.inc(close);
    core.metrics.sessions_failed.inc(reason);
    spawn_guarded(
        "refusal",
        refuse(client, order.answer, reason, String::new()),
    );
}

pub(super) fn refused(error: OpenError) -> Reason {
    match error {
        OpenError::TooManySessions => Reason::TooManySessions,
        OpenError::Congested => Reason::Overloaded,
        OpenError::NotReady | OpenError::GoingAway | OpenError::Closed => Reason::NoEdge,
        OpenError::WrongSide => Reason::GeneralFailure,
    }
}
