//! What an edge does all its life: assignment → dial → serve, and again after every end.
//!
//! ```text
//!            ┌──────────── back-off ◀──── failed / closed ───┐
//!            ▼                                               │
//!       ask manager ──▶ dial PoP ──▶ HELLO ──▶ serve ────────┤
//!            ▲                         │                     │
//!            └──── back-off ◀──────────│────────── GOAWAY ───┘
//!                                      └─▶ the old tunnel's sessions finish, then it closes
//! ```

use std::{rc::Rc, time::Duration};

use rand::rngs::ThreadRng;
use titan_proto::{
    control::{Assignment, PopId},
    mux::CloseCause,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    backoff::Backoff,
    error::{DialPopError, ManagerError, OpenError},
    identity::Identity,
    limits::{RETIRED_TUNNEL_LIFETIME, TOKEN_MARGIN, TUNNEL_PROVEN_AFTER},
    manager::Manager,
    session::Egress,
    tunnel::{Ending, Tunnel},
};

/// Keeps one tunnel open until it is told to stop.
pub(crate) struct Agent {
    identity: Identity,
    manager: Manager,
    egress: Rc<Egress>,
    drain_timeout: Duration,
    stop: Stop,
    backoff: Backoff<ThreadRng>,
    held: Option<HeldAssignment>,
    /// The PoP that could not be reached, or sent us away, a moment ago.
    avoid: Option<PopId>,
    /// The tunnel that a new one is to replace.
    leaving: Option<Tunnel>,
    /// Tunnels that were replaced and let their sessions finish.
    retired: JoinSet<()>,
}

/// The last assignment, for as long as its token opens tunnels.
struct HeldAssignment {
    assignment: Assignment,
    expires: Instant,
}

impl Agent {
    pub(crate) fn new(
        identity: Identity,
        manager: Manager,
        egress: Egress,
        drain_timeout: Duration,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            identity,
            manager,
            egress: Rc::new(egress),
            drain_timeout,
            stop: Stop(stop),
            backoff: Backoff::new(rand::rng()),
            held: None,
            avoid: None,
            leaving: None,
            retired: JoinSet::new(),
        }
    }

    /// Runs until it is told to stop, then lets the sessions finish.
    pub(crate) async fn run(mut self) {
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

    /// One round of the diagram above.
    async fn live_once(&mut self) {
        let mut stop = self.stop.clone();
        let opened = tokio::select! {
            () = stop.asked() => return,
            opened = self.open() => opened,
        };
        match opened {
            Ok(tunnel) => self.serve(tunnel).await,
            Err(error) => {
                self.egress.metrics.tunnels_failed.add(1);
                tracing::warn!("no tunnel: {error}");
                self.note_failure(&error);
            }
        }
    }

    async fn open(&mut self) -> Result<(PopId, Tunnel), OpenError> {
        let assignment = self.assignment().await?;
        let pop = assignment.pop.clone();
        let node_id = self.identity.node_id();
        match Tunnel::open(&assignment, node_id, self.egress.clone()).await {
            Ok(tunnel) => Ok((pop, tunnel)),
            Err(source) => Err(OpenError::Pop { pop, source }),
        }
    }

    /// Asks the manager. While it is away, the last answer serves as long as its token does.
    async fn assignment(&mut self) -> Result<Assignment, ManagerError> {
        match self
            .manager
            .assignment(&self.identity, self.avoid.as_ref())
            .await
        {
            Ok(assignment) => {
                let lifetime = Duration::from_secs(assignment.expires_in_s);
                let expires = Instant::now() + lifetime.saturating_sub(TOKEN_MARGIN);
                self.held = Some(HeldAssignment {
                    assignment: assignment.clone(),
                    expires,
                });
                Ok(assignment)
            }
            Err(error) if is_absence(&error) => {
                self.held.take_if(|held| held.expires <= Instant::now());
                let Some(held) = &self.held else {
                    return Err(error);
                };
                tracing::warn!(
                    "{error}; dialling PoP {} with the token at hand",
                    held.assignment.pop
                );
                Ok(held.assignment.clone())
            }
            Err(error) => Err(error),
        }
    }

    fn note_failure(&mut self, error: &OpenError) {
        let OpenError::Pop { pop, source } = error else {
            return;
        };
        self.avoid = Some(pop.clone());
        if matches!(source, DialPopError::Upgrade(_)) {
            // It may be the token that the PoP does not like.
            self.held = None;
        }
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
            self.egress.metrics.tunnels_failed.add(1);
            report_end(&pop, &cause);
            self.avoid = Some(pop);
            return tunnel.close().await;
        }
        tracing::info!(%pop, "tunnel open");
        self.egress.metrics.tunnels_opened.add(1);
        self.avoid = None;
        self.retire_leaving();
        let ending = tokio::select! {
            () = stop.asked() => return self.stop_tunnel(tunnel).await,
            ending = tunnel.ending() => ending,
        };
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
                self.egress.metrics.tunnels_lost.add(1);
                report_end(&pop, &cause);
                tunnel.close().await;
            }
        }
    }

    /// Lets the sessions of the tunnel that was replaced finish, beside everything else.
    fn retire_leaving(&mut self) {
        let Some(tunnel) = self.leaving.take() else {
            return;
        };
        self.retired
            .spawn_local(retire(tunnel, self.stop.clone(), self.drain_timeout));
    }

    async fn stop_tunnel(&mut self, tunnel: Tunnel) {
        tracing::info!(
            sessions = tunnel.session_count(),
            "stopping; sessions may finish"
        );
        self.retire_leaving();
        tunnel.go_away();
        tunnel.finish(self.drain_timeout).await;
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

/// Whether the manager said nothing at all, or only that something is wrong with itself.
fn is_absence(error: &ManagerError) -> bool {
    match error {
        ManagerError::Unreachable(_) => true,
        ManagerError::Refused { status, .. } => *status >= 500,
        ManagerError::Malformed(_) | ManagerError::NotEnrolled => false,
    }
}

fn report_end(pop: &PopId, cause: &CloseCause) {
    match cause {
        CloseCause::Violation(violation) => {
            tracing::warn!(%pop, label = violation.label(), "[DIAG] tunnel ended: {violation}");
        }
        cause => tracing::warn!(%pop, ?cause, "tunnel ended"),
    }
}

/// Whether the edge was told to stop. An owner that is gone has told it so.
#[derive(Clone)]
struct Stop(watch::Receiver<bool>);

impl Stop {
    fn is_asked(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    async fn asked(&mut self) {
        // The error says that the owner is gone.
        let _ = self.0.wait_for(|asked| *asked).await;
    }
}
