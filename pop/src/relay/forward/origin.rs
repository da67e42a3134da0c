//! Sessions to origin servers: found, kept for the next request, ended.

use std::{future::ready, pin::pin, rc::Rc, time::Instant};

use titan_proto::{
    addr::Target,
    http::Persistence,
    mux::{OpenError, OpenRequest, Received, Reset},
    reason::Reason,
};

use super::exchange::Milestones;
use crate::{
    directory::TunnelKey,
    limits::{FAREWELL_TIMEOUT, MAX_REOPENS, MAX_ROUTE_ATTEMPTS},
    mesh::{Progress, RequestOrder},
    net::{Either, race, spawn_guarded, timeout},
    relay::start::refused,
    route::{self, Route},
    tunnel::{Core, Session, Tunnel},
};

/// A session to an origin server, for one request or for several.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) session: Session,
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
                .contains(self.session.tunnel())
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
        milestones: Milestones,
        persistence: Persistence,
    ) -> Option<Self> {
        if !milestones.is_sent {
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
#[derive(Debug)]
pub(super) struct Search {
    /// A tunnel of this shard that another shard has chosen.
    chosen: Option<TunnelKey>,
    pub(super) progress: Progress,
}

impl Search {
    /// Begins with any tunnel but those that have failed the request.
    pub(super) fn new(progress: Progress) -> Self {
        Self {
            chosen: None,
            progress,
        }
    }

    /// Begins with a tunnel that was chosen by another shard.
    pub(super) fn chosen(tunnel: TunnelKey, progress: Progress) -> Self {
        Self {
            chosen: Some(tunnel),
            progress,
        }
    }

    /// Opens a session in the best tunnel, or says whose it is.
    pub(super) fn find(&mut self, core: &Core, order: &RequestOrder) -> Result<Found, Reason> {
        let mut reason = Reason::NoEdge;
        while self.progress.routed < MAX_ROUTE_ATTEMPTS {
            let chosen = match self.chosen.take() {
                Some(key) => core.tunnels.borrow().get(key).map(Rc::clone),
                None => match route::choose(core, &self.progress.failed) {
                    Some(Route::Here(tunnel)) => Some(tunnel),
                    Some(Route::There(tunnel)) => return Ok(Found::There(tunnel)),
                    None => break,
                },
            };
            match chosen.map(|tunnel| Origin::open(core, &tunnel, order)) {
                Some(Ok(origin)) => {
                    self.note_found(core, order);
                    return Ok(Found::Here(origin));
                }
                Some(Err(error)) => reason = refused(error),
                // It has ended while the client was under way.
                None => {}
            }
            self.progress.routed += 1;
        }
        Err(reason)
    }

    fn note_found(&self, core: &Core, order: &RequestOrder) {
        if self.progress.failed.is_empty() {
            core.meters.hold(&order.user).count_session();
        } else {
            core.metrics.sessions_reopened.inc();
        }
    }

    /// Notes that the edge of `session` has failed the request; `false` where that has happened too
    /// often.
    pub(super) fn note_failure(&mut self, core: &Core, session: &Session, reset: &Reset) -> bool {
        let progress = &mut self.progress;
        if progress.failed.len() >= MAX_REOPENS {
            return false;
        }
        progress.note_failure(session.tunnel(), reset.clone());
        if session.is_open() {
            // It was open in time; now it has to be opened once more.
            progress.open_by = Instant::now() + core.config.open_timeout();
        }
        true
    }

    /// Why nobody can carry the request: what came of it where somebody has tried, else `reason`.
    pub(super) fn verdict(&self, reason: Reason) -> Reset {
        let last = self.progress.failed.last();
        last.map_or_else(|| Reset::new(reason), |failed| failed.reset.clone())
    }
}
