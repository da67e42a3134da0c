//! One tunnel as the whole PoP sees it.

use std::{
    fmt,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use titan_proto::control::{NodeId, Region};

/// Names one shard: one core's thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard's place in tables of all shards.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one tunnel. The serial number keeps a tunnel from being taken for the one that had its
/// slot before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelKey {
    /// The shard that owns it.
    pub shard: ShardId,
    /// Its slot in that shard's table.
    pub slot: u32,
    /// Counts the tunnels of that shard.
    pub serial: u32,
}

impl fmt::Display for TunnelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.shard, self.slot, self.serial)
    }
}

/// What everybody may know of a tunnel. A node may have several: tunnels are told apart by key, not
/// by node.
#[derive(Debug)]
pub struct TunnelEntry {
    /// The tunnel.
    pub key: TunnelKey,
    /// The edge at its other end.
    pub node: NodeId,
    /// The edge's region, as its token says.
    pub region: Option<Region>,
    /// Where the tunnel comes from.
    pub address: SocketAddr,
    rtt_us: AtomicU32,
    sessions: AtomicU32,
    saturated: AtomicBool,
}

impl TunnelEntry {
    /// A tunnel without sessions and of unknown round trip.
    pub fn new(key: TunnelKey, node: NodeId, region: Option<Region>, address: SocketAddr) -> Self {
        Self {
            key,
            node,
            region,
            address,
            rtt_us: AtomicU32::new(UNMEASURED),
            sessions: AtomicU32::new(0),
            saturated: AtomicBool::new(false),
        }
    }

    /// The smoothed round trip, once it was measured.
    pub fn rtt(&self) -> Option<Duration> {
        match self.rtt_us.load(Ordering::Relaxed) {
            UNMEASURED => None,
            us => Some(Duration::from_micros(us.into())),
        }
    }

    /// Sessions it carries.
    pub fn sessions(&self) -> u32 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Whether new sessions do better elsewhere: its write ring is nearly full, or its edge does not answer
    /// pings.
    pub fn is_saturated(&self) -> bool {
        self.saturated.load(Ordering::Relaxed)
    }

    /// The owner's news. A value is written only where it has changed: the line is read by all.
    pub fn update(&self, rtt: Option<Duration>, sessions: usize, saturated: bool) {
        let rtt_us = rtt.map_or(UNMEASURED, |rtt| {
            u32::try_from(rtt.as_micros())
                .unwrap_or(UNMEASURED)
                .min(UNMEASURED - 1)
        });
        store(&self.rtt_us, rtt_us);
        store(&self.sessions, u32::try_from(sessions).unwrap_or(u32::MAX));
        if self.saturated.load(Ordering::Relaxed) != saturated {
            self.saturated.store(saturated, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests(key: TunnelKey, node: u8) -> Self {
        let node = NodeId::from_public_key(&[node; 32]);
        Self::new(key, node, None, SocketAddr::from(([127, 0, 0, 1], 1)))
    }
}

const UNMEASURED: u32 = u32::MAX;

fn store(cell: &AtomicU32, value: u32) {
    if cell.load(Ordering::Relaxed) != value {
        cell.store(value, Ordering::Relaxed);
    }
}
