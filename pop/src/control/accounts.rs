//! What becomes of users' accounts while their sessions run.

use std::sync::Arc;

use titan_proto::reason::Reason;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    limits::ACCOUNTS_INTERVAL,
    mesh::{Mesh, News},
    users::{Account, Accounts, Moment},
};

/// Ends packages by this PoP's own clock, whether or not anybody tells it.
pub(super) async fn watch(accounts: Arc<Accounts>, mesh: Mesh) {
    let mut looks = interval(ACCOUNTS_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        for account in accounts.look(Moment::now()) {
            announce(&mesh, &account);
        }
    }
}

/// Has every shard look at an account again, and says so where its sessions end.
pub(super) fn announce(mesh: &Mesh, account: &Arc<Account>) {
    if let Some(reason) = account.ended() {
        let (reason, connections) = (Reason::label(reason), account.connections());
        tracing::info!(reason, connections, "the sessions of a user are ended");
        tracing::debug!(user = %account.record().name, reason, "this user's");
    }
    mesh.broadcast(&News::AccountChanged(Arc::clone(account)), None);
}
