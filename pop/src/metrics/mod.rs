//! What the gateway counts.
//!
//! Each shard counts in a block of its own, so that no cache line travels between cores for it;
//! the blocks are added up when somebody asks.

mod export;
mod labels;
mod usage;

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use titan_proto::reason::Reason;

pub use export::encode;
pub use labels::{ClientClose, DatagramDrop, Label, LoginOutcome, TunnelEnd, TunnelRefusal};
pub use usage::UsageMetrics;

use crate::{directory::ShardId, net};

/// The counters of all shards.
#[derive(Debug)]
pub struct Metrics {
    /// Usage on its way to the manager.
    pub usage: UsageMetrics,
    shards: Box<[Arc<ShardMetrics>]>,
}

impl Metrics {
    /// Counters at zero for that many shards.
    pub fn new(shards: u16) -> Self {
        Self {
            usage: UsageMetrics::default(),
            shards: (0..shards).map(|_| Arc::default()).collect(),
        }
    }

    /// The counters of one shard.
    pub fn shard(&self, id: ShardId) -> Arc<ShardMetrics> {
        self.shards
            .get(id.index())
            .map(Arc::clone)
            .unwrap_or_default()
    }

    /// Adds one number up over all shards.
    pub fn sum(&self, number: impl Fn(&ShardMetrics) -> u64) -> u64 {
        self.shards.iter().map(|shard| number(shard)).sum()
    }
}

/// The counters of one shard. Aligned so that no two shards share a cache line (128 bytes with the
/// prefetcher's neighbour).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardMetrics {
    /// Proxy clients accepted.
    pub clients: Counter,
    /// Clients in their handshake.
    pub handshakes_active: Gauge,
    /// Clients whose connection ended before they had a session.
    pub client_closes: Family<ClientClose>,
    /// Logins.
    pub logins: Family<LoginOutcome>,
    /// Sessions opened on a tunnel.
    pub sessions_opened: Counter,
    /// Sessions that were opened again because the edge that had them failed them.
    pub sessions_reopened: Counter,
    /// Bytes kept so that sessions can be opened again.
    pub kept_bytes: Gauge,
    /// Sessions running now.
    pub sessions_active: Gauge,
    /// Sessions that failed.
    pub sessions_failed: Family<Reason>,
    /// Bytes that sessions hold.
    pub session_memory: Gauge,
    /// Bytes that they may hold.
    pub session_memory_limit: Gauge,
    /// Bytes from clients to targets, those of datagrams without their headers.
    pub bytes_up: Counter,
    /// Bytes from targets to clients, likewise.
    pub bytes_down: Counter,
    /// UDP associations running now.
    pub associations_active: Gauge,
    /// Datagrams from clients that were queued for the tunnel.
    pub datagrams_up: Counter,
    /// Datagrams from targets that were sent to clients.
    pub datagrams_down: Counter,
    /// Datagrams that went no further.
    pub datagrams_dropped: Family<DatagramDrop>,
    /// Tunnels ready now.
    pub tunnels_active: Gauge,
    /// Tunnels that became ready.
    pub tunnels_opened: Counter,
    /// Tunnel requests refused.
    pub tunnel_refusals: Family<TunnelRefusal>,
    /// Tunnels that ended.
    pub tunnel_ends: Family<TunnelEnd>,
    /// Clients that moved to the shard of their tunnel.
    pub client_handovers: Counter,
    /// Tunnels that moved to the least-loaded shard.
    pub tunnel_handovers: Counter,
    /// What the runtime counts.
    pub net: Arc<net::Stats>,
}

/// A number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that grows and shrinks, never below zero.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets a number that one thread alone counts.
    pub fn set(&self, n: usize) {
        self.0
            .store(u64::try_from(n).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Units of a gauge of a shard, for as long as they are held.
#[derive(Debug)]
pub struct Held {
    metrics: Arc<ShardMetrics>,
    gauge: fn(&ShardMetrics) -> &Gauge,
    units: u64,
}

impl Held {
    /// Adds one until the value is dropped.
    pub fn new(metrics: &Arc<ShardMetrics>, gauge: fn(&ShardMetrics) -> &Gauge) -> Self {
        let mut held = Self::nothing(metrics, gauge);
        held.grow(1, u64::MAX);
        held
    }

    /// Adds nothing yet.
    pub fn nothing(metrics: &Arc<ShardMetrics>, gauge: fn(&ShardMetrics) -> &Gauge) -> Self {
        Self {
            metrics: Arc::clone(metrics),
            gauge,
            units: 0,
        }
    }

    /// Adds more, unless the gauge of this shard would then be above `limit`; `false` if so.
    pub fn grow(&mut self, units: u64, limit: u64) -> bool {
        let gauge = (self.gauge)(&self.metrics);
        let fits = gauge.get().saturating_add(units) <= limit;
        if fits {
            gauge.0.fetch_add(units, Ordering::Relaxed);
            self.units += units;
        }
        fits
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        (self.gauge)(&self.metrics)
            .0
            .fetch_sub(self.units, Ordering::Relaxed);
    }
}

/// One counter for each value of a label.
#[derive(Debug)]
pub struct Family<L: Label> {
    counters: Box<[Counter]>,
    label: std::marker::PhantomData<L>,
}

impl<L: Label> Family<L> {
    /// Adds one under `label`.
    pub fn inc(&self, label: L) {
        self.add(label, 1);
    }

    /// Adds `n` under `label`.
    pub fn add(&self, label: L, n: u64) {
        if let Some(counter) = self.counters.get(label.index()) {
            counter.add(n);
        }
    }

    /// The number under `label`.
    pub fn get(&self, label: L) -> u64 {
        self.counters.get(label.index()).map_or(0, Counter::get)
    }
}

impl<L: Label> Default for Family<L> {
    fn default() -> Self {
        let counters = L::ALL.iter().map(|_| Counter::default()).collect();
        Self {
            counters,
            label: std::marker::PhantomData,
        }
    }
}

impl Deref for Metrics {
    type Target = [Arc<ShardMetrics>];

    fn deref(&self) -> &Self::Target {
        &self.shards
    }
}
