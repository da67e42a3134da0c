//! What is counted of usage reports. The control thread alone counts it.

use super::{Counter, Gauge};

/// Usage on its way to the manager.
#[derive(Debug, Default)]
pub struct UsageMetrics {
    /// Batches that the manager has counted.
    pub batches_sent: Counter,
    /// Batches on disk that wait for it.
    pub batches_waiting: Gauge,
    /// When the oldest of them was made, seconds since the Unix epoch; 0: none waits.
    pub oldest_waiting: Gauge,
    /// Bytes of the spool.
    pub spool_bytes: Gauge,
    /// Bytes of a batch that a crash had cut short, found at the start. Nothing else is ever dropped.
    pub spool_bytes_cut: Counter,
    /// Whether new sessions are kept out because usage cannot be kept.
    pub paused: Gauge,
}
