//! What the control thread finds out and the operator's pages show.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use crate::directory::NodeSet;

/// The state of the whole PoP. Written and read by the control thread only; nothing on the data
/// path touches its lock.
#[derive(Debug, Default)]
pub struct Status {
    authority_known: AtomicBool,
    draining: AtomicBool,
    tunnels: Mutex<NodeSet>,
}

impl Status {
    /// Whether new clients and edges can be served: the manager was reached once, and the PoP
    /// does not drain.
    pub fn is_ready(&self) -> bool {
        self.authority_known.load(Ordering::Relaxed) && !self.is_draining()
    }

    /// Whether the PoP drains.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Notes that the manager's key is known.
    pub fn set_authority_known(&self) {
        self.authority_known.store(true, Ordering::Relaxed);
    }

    /// Notes that the PoP drains; `true` the first time.
    pub fn set_draining(&self) -> bool {
        !self.draining.swap(true, Ordering::Relaxed)
    }

    /// The nodes with their ready tunnels of all shards.
    pub fn tunnels(&self) -> MutexGuard<'_, NodeSet> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
