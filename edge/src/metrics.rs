//! What an edge counts. One set per edge, readable from any thread.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use titan_proto::reason::Reason;

/// Counters of one edge since it started.
#[derive(Debug)]
pub struct Metrics {
    /// Sessions that the PoP opened here.
    pub sessions_opened: Counter,
    /// Sessions whose target was connected to.
    pub sessions_connected: Counter,
    /// Sessions whose task panicked.
    pub sessions_panicked: Counter,
    /// Bytes handed to targets.
    pub bytes_to_targets: Counter,
    /// Bytes received from targets.
    pub bytes_from_targets: Counter,
    /// Tunnels that were opened.
    pub tunnels_opened: Counter,
    /// Attempts to open a tunnel that failed.
    pub tunnels_failed: Counter,
    /// Tunnels that ended other than by our own stop.
    pub tunnels_lost: Counter,
    /// Tunnels that we closed because the PoP broke the protocol.
    pub tunnels_violated: Counter,
    failed: [Counter; 256],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            sessions_opened: Counter::default(),
            sessions_connected: Counter::default(),
            sessions_panicked: Counter::default(),
            bytes_to_targets: Counter::default(),
            bytes_from_targets: Counter::default(),
            tunnels_opened: Counter::default(),
            tunnels_failed: Counter::default(),
            tunnels_lost: Counter::default(),
            tunnels_violated: Counter::default(),
            failed: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Metrics {
    /// Sessions that this edge ended with `reason`.
    pub fn sessions_failed(&self, reason: Reason) -> u64 {
        self.failed[usize::from(reason.code())].get()
    }

    pub(crate) fn count_failure(&self, reason: Reason) {
        self.failed[usize::from(reason.code())].add(1);
    }

    /// `label=count` of every reason that occurred, for the log.
    fn failures(&self) -> Vec<String> {
        (0..=u8::MAX)
            .map(|code| {
                (
                    Reason::from_code(code),
                    self.failed[usize::from(code)].get(),
                )
            })
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| format!("{}={count}", reason.label()))
            .collect()
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sessions opened={} connected={} panicked={} failed=[{}] bytes to_targets={} \
             from_targets={} tunnels opened={} failed={} lost={} violated={}",
            self.sessions_opened.get(),
            self.sessions_connected.get(),
            self.sessions_panicked.get(),
            self.failures().join(" "),
            self.bytes_to_targets.get(),
            self.bytes_from_targets.get(),
            self.tunnels_opened.get(),
            self.tunnels_failed.get(),
            self.tunnels_lost.get(),
            self.tunnels_violated.get(),
        )
    }
}

/// A number that only grows. Written by the edge's thread, read by any.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The count as it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_kept_by_reason() {
        let metrics = Metrics::default();
        metrics.count_failure(Reason::ConnectionRefused);
        metrics.count_failure(Reason::ConnectionRefused);
        assert_eq!(metrics.sessions_failed(Reason::ConnectionRefused), 2);
        assert_eq!(metrics.sessions_failed(Reason::NameNotFound), 0);
        let line = metrics.to_string();
        assert!(line.contains(&format!("failed=[{}=2]", Reason::ConnectionRefused.label())));
    }
}
