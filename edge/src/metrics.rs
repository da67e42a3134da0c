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
    /// Datagrams handed to targets.
    pub datagrams_to_targets: Counter,
    /// Datagrams from targets that were queued for the tunnel.
    pub datagrams_from_targets: Counter,
    /// Tunnels that were opened.
    pub tunnels_opened: Counter,
    /// Attempts to open a tunnel that failed.
    pub tunnels_failed: Counter,
    /// Tunnels that ended other than by our own stop.
    pub tunnels_lost: Counter,
    /// Tunnels that we closed because the PoP broke the protocol.
    pub tunnels_violated: Counter,
    failed: [Counter; 256],
    dropped: [Counter; DatagramDrop::ALL.len()],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            sessions_opened: Counter::default(),
            sessions_connected: Counter::default(),
            sessions_panicked: Counter::default(),
            bytes_to_targets: Counter::default(),
            bytes_from_targets: Counter::default(),
            datagrams_to_targets: Counter::default(),
            datagrams_from_targets: Counter::default(),
            tunnels_opened: Counter::default(),
            tunnels_failed: Counter::default(),
            tunnels_lost: Counter::default(),
            tunnels_violated: Counter::default(),
            failed: std::array::from_fn(|_| Counter::default()),
            dropped: std::array::from_fn(|_| Counter::default()),
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

    /// Datagrams that this edge dropped for that cause.
    pub fn datagrams_dropped(&self, cause: DatagramDrop) -> u64 {
        self.dropped[cause as usize].get()
    }

    pub(crate) fn count_drops(&self, cause: DatagramDrop, datagrams: u64) {
        self.dropped[cause as usize].add(datagrams);
    }

    /// `label=count` of every cause for which a datagram was dropped, for the log.
    fn drops(&self) -> Vec<String> {
        DatagramDrop::ALL
            .into_iter()
            .map(|cause| (cause.label(), self.datagrams_dropped(cause)))
            .filter(|(_, count)| *count > 0)
            .map(|(label, count)| format!("{label}={count}"))
            .collect()
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
             from_targets={} datagrams to_targets={} from_targets={} dropped=[{}] \
             tunnels opened={} failed={} lost={} violated={}",
            self.sessions_opened.get(),
            self.sessions_connected.get(),
            self.sessions_panicked.get(),
            self.failures().join(" "),
            self.bytes_to_targets.get(),
            self.bytes_from_targets.get(),
            self.datagrams_to_targets.get(),
            self.datagrams_from_targets.get(),
            self.drops().join(" "),
            self.tunnels_opened.get(),
            self.tunnels_failed.get(),
            self.tunnels_lost.get(),
            self.tunnels_violated.get(),
        )
    }
}

/// Why a datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatagramDrop {
    /// It came through the tunnel faster than the association took it.
    Unread,
    /// It has more bytes than the tunnel or the target's network carries.
    TooLong,
    /// Its target or its source lies where this edge does not reach.
    Policy,
    /// Its target's name has no address.
    Unresolved,
    /// Too many wait for a name's address already.
    AwaitingName,
    /// The socket had no room for it.
    SocketFull,
    /// The system would not send it: no route, no address of that family, a firewall.
    Unsendable,
    /// The tunnel had no room for it.
    BufferFull,
}

impl DatagramDrop {
    /// Every cause, in the order of its declaration.
    pub const ALL: [Self; 8] = [
        Self::Unread,
        Self::TooLong,
        Self::Policy,
        Self::Unresolved,
        Self::AwaitingName,
        Self::SocketFull,
        Self::Unsendable,
        Self::BufferFull,
    ];

    /// The cause in one word.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::TooLong => "too_long",
            Self::Policy => "policy",
            Self::Unresolved => "unresolved",
            Self::AwaitingName => "awaiting_name",
            Self::SocketFull => "socket_full",
            Self::Unsendable => "unsendable",
            Self::BufferFull => "buffer_full",
        }
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

    #[test]
    fn drops_are_kept_by_cause() {
        let metrics = Metrics::default();
        for (number, cause) in (1..).zip(DatagramDrop::ALL) {
            metrics.count_drops(cause, number);
            assert_eq!(metrics.datagrams_dropped(cause), number, "{cause:?}");
        }
        assert!(
            metrics
                .to_string()
                .contains("dropped=[unread=1 too_long=2 ")
        );
    }
}
