//! The manager's event stream: what must be acted on at once.
//!
//! One request is always open. The manager answers it when something happens, and the next one goes
//! on behind that. Where events are lost, whatever is known of users is asked for again.

use std::{sync::Arc, time::Duration};

use rand::RngExt;
use titan_proto::control::{Change, Event, EventsPage, NodeId, UserName};
use tokio::time::sleep;

use super::{Manager, logins::Logins, manager::ManagerError};
use crate::{
    limits::{EVENTS_RETRY_MAX, EVENTS_RETRY_MIN},
    mesh::{Mesh, News, SentAway},
    users::Accounts,
};

/// The task that follows the stream.
pub(super) struct Follower {
    manager: Manager,
    mesh: Mesh,
    logins: Arc<Logins>,
    accounts: Arc<Accounts>,
    /// Where in the stream; nothing before the first answer.
    cursor: Option<u64>,
}

impl Follower {
    pub(super) fn new(
        manager: Manager,
        mesh: Mesh,
        logins: Arc<Logins>,
        accounts: Arc<Accounts>,
    ) -> Self {
        Self {
            manager,
            mesh,
            logins,
            accounts,
            cursor: None,
        }
    }

    /// Follows for as long as it is polled.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            match self.manager.events(self.cursor).await {
                Ok(page) => {
                    if std::mem::take(&mut failures) > 0 {
                        tracing::info!("the manager's events arrive again");
                    }
                    self.take_in(page);
                }
                Err(error) => {
                    note_failure(&error, failures);
                    sleep(pause(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    fn take_in(&mut self, page: EventsPage) {
        let is_first = self.cursor.replace(page.cursor).is_none();
        if is_first || page.gap {
            self.ask_anew();
        }
        if page.gap {
            tracing::warn!("events of the manager are lost; users are asked for anew");
        }
        page.events.into_iter().for_each(|event| self.act(event));
    }

    fn act(&self, event: Event) {
        tracing::debug!(cursor = event.cursor, change = ?event.change, "event");
        match event.change {
            // The record as it is now says it all, and a user may have come back meanwhile.
            Change::UserChanged { name, .. } | Change::UserDeleted { name } => self.ask(name),
            Change::NodeKicked { node } => self.send_away(node, event.at, "kicked"),
            Change::NodeDeleted { node } => self.send_away(node, event.at, "removed"),
            Change::Unknown => {}
        }
    }

    fn send_away(&self, node: NodeId, at_s: u64, why: &'static str) {
        let sent_away = SentAway { node, at_s, why };
        self.mesh.broadcast(&News::NodeSentAway(sent_away), None);
    }

    /// Nobody knows what has changed: shards forget whom they know, and the records of those who have
    /// sessions are asked for.
    fn ask_anew(&self) {
        self.mesh.broadcast(&News::UsersForgotten, None);
        self.accounts
            .connected()
            .into_iter()
            .for_each(|name| self.ask(name));
    }

    /// Gets a user's record until the manager gives it: running sessions depend on it.
    fn ask(&self, name: UserName) {
        if !self.accounts.knows(&name) && !self.logins.is_asking() {
            // No session of the user's runs here, and none begins before the manager is asked again.
            return self.mesh.broadcast(&News::UserGone(name), None);
        }
        let logins = Arc::clone(&self.logins);
        tokio::spawn(async move {
            let mut failures = 0;
            while !logins.refresh(&name).await {
                sleep(pause(failures)).await;
                failures += 1;
            }
        });
    }
}

/// Exponential, with full jitter: a thousand PoPs must not come back to a manager at once.
fn pause(failures: u32) -> Duration {
    let most = EVENTS_RETRY_MIN
        .saturating_mul(1 << failures.min(10))
        .min(EVENTS_RETRY_MAX);
    most.mul_f64(rand::rng().random_range(0.5..=1.0))
}

fn note_failure(error: &ManagerError, failures: u32) {
    if failures == 0 {
        tracing::warn!(%error, "no events from the manager; changes of users take effect later");
    }
}
