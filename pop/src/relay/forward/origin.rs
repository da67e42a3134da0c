//! Sessions to origin servers: found, kept for the next request, ended.

use std::{future::ready, pin::pin, rc::Rc};

use titan_proto::{
    addr::Target,
    control::NodeId,
    http::Persistence,
    mux::{OpenError, OpenRequest, Received, Reset},
    reason::Reason,
};

use super::{exchange::Progress, failure::Failure};
use crate::{
    directory::TunnelKey,
    limits::{FAREWELL_TIMEOUT, MAX_ROUTE_ATTEMPTS},
    mesh::{Failed, RequestOrder},
    net::{Either, race, spawn_guarded, timeout},
    relay::start::refused,
    route::{self, Route},
    tunnel::{Core, Session, Tunnel},
};

/// A session to an origin server, for one request or for several.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) session: Session,
    tunnel: TunnelKey,
    node: NodeId,
    target: Target,
    /// Whose it is: the user name as the client sent it, for its parameters may say by which edge.
    login_name: String,
    was_kept: bool,
}

/// How far an origin server's direction has come when its response is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OriginEnd {
    /// The server waits for the next request.
    Idle,
    /// The server is to end it, or has said what it was not asked.
    Open,
    /// It has ended.
    Ended,
}

impl Origin {
    fn open(core: &Core, tunnel: &Rc<Tunnel>, order: &RequestOrder) -> Result<Self, OpenError> {
        let target = order.request.target.clone();
        let session = tunnel.open(&OpenRequest::tcp(target.clone()))?;
        core.metrics.sessions_opened.inc();
        Ok(Self {
            tunnel: tunnel.key(),
            node: session.tunnel().node,
            session,
            target,
            login_name: order.login_name.clone(),
            was_kept: false,
        })
    }

    /// Whether it has served a request before.
    pub(super) fn was_kept(&self) -> bool {
        self.was_kept
    }

    /// Whether it may serve `order`. A tunnel that takes no new sessions gets no new requests.
    pub(super) fn serves(&self, core: &Core, order: &RequestOrder) -> bool {
        self.target == order.request.target
            && self.login_name == order.login_name
            && core
                .directory
                .borrow()
                .local()
                .contains(self.node, self.tunnel)
    }

    /// Waits until an idle server ends its connection, or says what it was not asked.
    pub(super) async fn gone(&self) -> OriginEnd {
        loop {
            match self.session.receive() {
                Some(Received::End) => return OriginEnd::Ended,
                Some(Received::Data(_)) => return OriginEnd::Open,
                None if self.session.readable().await.is_err() => return OriginEnd::Ended,
                None => {}
            }
        }
    }

    /// How it has ended, if it has.
    pub(super) async fn has_gone(&self) -> Option<OriginEnd> {
        match race(pin!(self.gone()), ready(())).await {
            Either::First(end) => Some(end),
            Either::Second(()) => None,
        }
    }

    /// Sees to the session behind a complete response; gives it back for the next request where
    /// both ends wait for one.
    pub(super) fn after(
        mut self,
        end: OriginEnd,
        progress: Progress,
        persistence: Persistence,
    ) -> Option<Self> {
        if !progress.is_sent {
            // The server has answered without hearing the request out.
            self.reset(Reason::ClientGone);
            return None;
        }
        if end == OriginEnd::Idle && persistence == Persistence::KeepAlive {
            self.was_kept = true;
            return Some(self);
        }
        self.part(end);
        None
    }

    /// Ends it as both sides of an HTTP connection end one: our direction, then theirs. A server
    /// that does not end its own is reset.
    pub(super) fn part(self, end: OriginEnd) {
        self.session.finish();
        if end == OriginEnd::Ended {
            return self.session.release();
        }
        spawn_guarded("origin farewell", async move {
            let farewell = timeout(FAREWELL_TIMEOUT, pin!(self.gone())).await;
            if farewell == Ok(OriginEnd::Ended) {
                self.session.release();
            }
        });
    }

    /// What the search for another session has to know of this one.
    pub(super) fn failed(&self, failure: &Failure) -> Failed {
        Failed {
            tunnel: self.tunnel,
            node: self.node,
            reset: Reset::new(failure.reason()),
        }
    }

    /// Ends it at once.
    pub(super) fn reset(&self, reason: Reason) {
        self.session.reset(reason);
    }
}

/// Where a request goes.
pub(super) enum Found {
    /// Into a session of this shard.
    Here(Origin),
    /// To the shard of a tunnel.
    There(TunnelKey),
}

/// The search for a session.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// A tunnel of this shard that another shard has chosen.
    chosen: Option<TunnelKey>,
    pub(super) attempts: u8,
    /// Tunnels that took the request and failed it.
    pub(super) failed: Vec<Failed>,
}

impl Search {
    /// Begins with a tunnel that was chosen after so many attempts and failures.
    pub(super) fn chosen(tunnel: TunnelKey, attempts: u8, failed: Vec<Failed>) -> Self {
        Self {
            chosen: Some(tunnel),
            attempts,
            failed,
        }
    }

    /// Notes that the session found did not serve.
    pub(super) fn again(&mut self, failed: Failed) {
        self.attempts += 1;
        // A server that has closed an idle connection is no fault of its edge's.
        if failed.reset.reason.retry_elsewhere() {
            self.failed.push(failed);
        }
    }

    /// Opens a session in the best tunnel, or says whose it is.
    pub(super) fn find(&mut self, core: &Core, order: &RequestOrder) -> Result<Found, Reason> {
        let mut reason = Reason::NoEdge;
        while self.attempts < MAX_ROUTE_ATTEMPTS {
            let chosen = match self.chosen.take() {
                Some(key) => core.tunnels.borrow().get(key).map(Rc::clone),
                None => match route::choose(core, &self.failed) {
                    Some(Route::Here(tunnel)) => Some(tunnel),
                    Some(Route::There(tunnel)) => return Ok(Found::There(tunnel)),
                    None => break,
                },
            };
            match chosen.map(|tunnel| Origin::open(core, &tunnel, order)) {
                Some(Ok(origin)) => return Ok(Found::Here(origin)),
                Some(Err(error)) => reason = refused(error),
                // It has ended while the client was under way.
                None => {}
            }
            self.attempts += 1;
        }
        Err(reason)
    }
}
