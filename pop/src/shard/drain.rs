//! The end of a shard: edges go elsewhere, sessions finish, the rest is cut at the deadline.

use std::{rc::Rc, time::Instant};

use crate::{
    limits::{DRAIN_CHECK, SHUTDOWN_GRACE},
    net::sleep,
    tunnel::{Core, Tunnel},
};

/// Drains `core`, whose listeners are closed already.
pub(super) async fn drain(core: &Rc<Core>, deadline: Instant) {
    tunnels(core).iter().for_each(|tunnel| tunnel.go_away());
    while !is_idle(core) && Instant::now() < deadline {
        sleep(DRAIN_CHECK).await;
    }
    let left = core.metrics.sessions_active.get();
    if left > 0 {
        tracing::warn!(shard = %core.shard, sessions = left, "sessions cut at the drain's deadline");
    }
    tunnels(core).iter().for_each(|tunnel| tunnel.close());
    // Close frames and resets leave with the next turns of the ring.
    sleep(SHUTDOWN_GRACE).await;
}

fn is_idle(core: &Core) -> bool {
    core.metrics.sessions_active.get() == 0 && core.metrics.handshakes_active.get() == 0
}

/// A copy of the list: what is done to a tunnel may change the table.
fn tunnels(core: &Core) -> Vec<Rc<Tunnel>> {
    core.tunnels.borrow().iter().map(Rc::clone).collect()
}
