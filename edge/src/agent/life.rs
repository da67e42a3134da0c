//! The life of one of an edge's tunnels, and of all that come after it in its place.

use std::{rc::Rc, time::Duration};

use rand::rngs::ThreadRng;
use titan_proto::{control::PopId, mux::CloseCause};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Shared, Stop, assignments::Serial};
use crate::{
    backoff::Backoff,
    error::{DialPopError, OpenError},
    limits::{RETIRED_TUNNEL_LIFETIME, TUNNEL_PROVEN_AFTER},
    tunnel::{Ending, Tunnel},
};

/// Keeps one tunnel open until it is told to stop.
pub(super) struct Life {
    shared: Rc<Shared>,
    stop: Stop,
    backoff: Backoff<ThreadRng>,
    /// The assignment that was dialled last.
    used: Serial,
    /// The PoP that could not be reached, or sent us away, a moment ago.
    avoid: Option<PopId>,
    /// The tunnel that a new one is to replace.
    leaving: Option<Tunnel>,
    /// Tunnels that were replaced and let their sessions finish.
    retired: JoinSet<()>,
}

impl Life {
    pub(super) fn new(shared: Rc<Shared>, stop: Stop) -> Self {
        Self {
            shared,
            stop,
            backoff: Backoff::new(rand::rng()),
            used: Serial::default(),
            avoid: None,
            leaving: None,
            retired: JoinSet::new(),
        }
    }

    /// Runs until it is told to stop, then lets the sessions finish.
    pub(super) async fn run(mut self) {
        while !self.stop.is_asked() {
            self.live_once().await;
            let delay = self.backoff.next_delay();
            let mut stop = self.stop.clone();
            tokio::select! {
                () = stop.asked() => {}
                () = sleep(delay) => {}
            }
            while self.retired.try_join_next().is_some() {}
        }
        self.retire_leaving();
        while self.retired.join_next().await.is_some() {}
    }

    /// One round of the diagram in the module above.
    async fn live_once(&mut self) {
        let mut stop = self.stop.clone();
        let opened = tokio::select! {
            () = stop.asked() => return,
            opened = self.open() => opened,
        };
        match opened {
            Ok(tunnel) => self.serve(tunnel).await,
            Err(error) => {
                self.shared.egress.metrics.tunnels_failed.add(1);
                tracing::warn!("no tunnel: {error}");
                self.note_failure(error).await;
            }
        }
    }

    async fn open(&mut self) -> Result<(PopId, Tunnel), OpenError> {
        let assignments = &self.shared.assignments;
        let (serial, assignment) = assignments.get(self.used, self.avoid.as_ref()).await?;
        self.used = serial;
        let node_id = assignments.identity().node_id();
        match Tunnel::open(&assignment, node_id, self.shared.egress.clone()).await {
            Ok(tunnel) => Ok((assignment.pop, tunnel)),
            Err(source) => {
                let pop = assignment.pop;
                Err(OpenError::Pop { pop, source })
            }
        }
    }

    async fn note_failure(&mut self, error: OpenError) {
        let OpenError::Pop { pop, source } = error else {
            return;
        };
        if matches!(source, DialPopError::Upgrade(_)) {
            self.shared.assignments.distrust(self.used).await;
        }
        self.shun(pop);
    }

    /// Asks for another PoP the next time, unless tunnels of this edge are at home there: they show
    /// that it can be reached, and an edge's tunnels belong together.
    fn shun(&mut self, pop: PopId) {
        self.avoid = (!self.shared.homes.hold(&pop)).then_some(pop);
    }

    /// Serves a new tunnel until it ends or the PoP drains. Make before break: only when the new
    /// tunnel has proved itself is the old one retired.
    async fn serve(&mut self, (pop, tunnel): (PopId, Tunnel)) {
        let opened_at = Instant::now();
        let mut stop = self.stop.clone();
        let ready = tokio::select! {
            () = stop.asked() => return self.stop_tunnel(tunnel).await,
            ready = tunnel.ready() => ready,
        };
        if let Err(cause) = ready {
            self.shared.egress.metrics.tunnels_failed.add(1);
            self.report_end(&pop, &cause);
            self.shun(pop);
            return tunnel.close().await;
        }
        tracing::info!(%pop, "tunnel open");
        self.shared.egress.metrics.tunnels_opened.add(1);
        self.avoid = None;
        self.retire_leaving();
        let shared = self.shared.clone();
        let home = shared.homes.settle(&pop);
        let ending = tokio::select! {
            () = stop.asked() => return self.stop_tunnel(tunnel).await,
            ending = tunnel.ending() => ending,
        };
        drop(home);
        if opened_at.elapsed() >= TUNNEL_PROVEN_AFTER {
            self.backoff.reset();
        }
        self.end_service(pop, tunnel, ending).await;
    }

    async fn end_service(&mut self, pop: PopId, tunnel: Tunnel, ending: Ending) {
        match ending {
            Ending::GoingAway => {
                let sessions = tunnel.session_count();
                tracing::info!(%pop, sessions, "the PoP drains; looking for another place");
                self.leaving = Some(tunnel);
                self.avoid = Some(pop);
            }
            Ending::Closed(cause) => {
                self.shared.egress.metrics.tunnels_lost.add(1);
                self.report_end(&pop, &cause);
                tunnel.close().await;
            }
        }
    }

    fn report_end(&self, pop: &PopId, cause: &CloseCause) {
        match cause {
            CloseCause::Violation(violation) => {
                self.shared.egress.metrics.tunnels_violated.add(1);
                tracing::warn!(%pop, label = violation.label(), "[DIAG] tunnel ended: {violation}");
            }
            cause => tracing::warn!(%pop, ?cause, "tunnel ended"),
        }
    }

    /// Lets the sessions of the tunnel that was replaced finish, beside everything else.
    fn retire_leaving(&mut self) {
        let Some(tunnel) = self.leaving.take() else {
            return;
        };
        self.retired
            .spawn_local(retire(tunnel, self.stop.clone(), self.shared.drain_timeout));
    }

    async fn stop_tunnel(&mut self, tunnel: Tunnel) {
        tracing::info!(
            sessions = tunnel.session_count(),
            "stopping; sessions may finish"
        );
        self.retire_leaving();
        tunnel.go_away();
        tunnel.finish(self.shared.drain_timeout).await;
    }
}

/// Lets a replaced tunnel's sessions finish, more quickly once the edge is to stop.
async fn retire(tunnel: Tunnel, mut stop: Stop, drain_timeout: Duration) {
    let patience = tokio::select! {
        () = tunnel.idle() => Duration::ZERO,
        () = sleep(RETIRED_TUNNEL_LIFETIME) => Duration::ZERO,
        () = stop.asked() => drain_timeout,
    };
    tunnel.finish(patience).await;
}
