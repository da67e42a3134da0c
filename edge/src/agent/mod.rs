//! What an edge does all its life, for each of its tunnels: assignment → dial → serve, and again
//! after every end.
//!
//! ```text
//!            ┌──────────── back-off ◀──── failed / closed ───┐
//!            ▼                                               │
//!     assignments ──▶ dial PoP ──▶ HELLO ──▶ serve ──────────┤
//!            ▲                         │                     │
//!            └──── back-off ◀──────────│────────── GOAWAY ───┘
//!                                      └─▶ the old tunnel's sessions finish, then it closes
//! ```

mod assignments;
mod homes;
mod life;

use std::{rc::Rc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use self::{assignments::Assignments, homes::Homes, life::Life};
use crate::{
    config::{Config, TunnelCount},
    identity::Identity,
    manager::Manager,
    session::Egress,
};

/// Keeps an edge's tunnels open until it is told to stop.
pub(crate) struct Agent {
    shared: Rc<Shared>,
    tunnels: TunnelCount,
    stop: Stop,
}

/// What the lives of one edge's tunnels have in common.
struct Shared {
    assignments: Assignments,
    egress: Rc<Egress>,
    homes: Homes,
    drain_timeout: Duration,
}

impl Agent {
    pub(crate) fn new(
        identity: Identity,
        manager: Manager,
        egress: Egress,
        config: &Config,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let shared = Rc::new(Shared {
            assignments: Assignments::new(identity, manager),
            egress: Rc::new(egress),
            homes: Homes::default(),
            drain_timeout: config.drain_timeout,
        });
        Self {
            shared,
            tunnels: config.tunnels,
            stop: Stop(stop),
        }
    }

    /// Runs until it is told to stop and every tunnel's sessions have had their time.
    pub(crate) async fn run(self) {
        let mut lives = JoinSet::new();
        for _ in 0..self.tunnels.get() {
            let life = Life::new(self.shared.clone(), self.stop.clone());
            lives.spawn_local(life.run());
        }
        while let Some(ended) = lives.join_next().await {
            // An edge that goes on with fewer tunnels than it was told to keep would hide the fault.
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
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
