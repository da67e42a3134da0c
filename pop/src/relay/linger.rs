//! The end of sessions of which one half has ended and the other has gone quiet.
//!
//! A session with both directions open may be silent for as long as it likes. Once one has ended,
//! silence in the other is most often a peer that will never end it.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use crate::net::Notify;

/// Watches a session from its first half-close on.
#[derive(Debug)]
pub(super) struct Linger {
    limit: Duration,
    last_move: Cell<Option<Instant>>,
    started: Notify,
}

impl Linger {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            last_move: Cell::new(None),
            started: Notify::default(),
        }
    }

    /// One direction has ended.
    pub(super) fn start(&self) {
        self.last_move.set(Some(Instant::now()));
        self.started.notify();
    }

    /// Bytes have moved.
    pub(super) fn moved(&self) {
        if self.last_move.get().is_some() {
            self.last_move.set(Some(Instant::now()));
        }
    }

    /// Waits until one direction has ended, and gives the time at which the silence since then, or
    /// since the last move, is too long.
    pub(super) async fn deadline(&self) -> Instant {
        loop {
            if let Some(last_move) = self.last_move.get() {
                return last_move + self.limit;
            }
            self.started.notified().await;
        }
    }
}
