//! What a link is like.

use std::time::Duration;

use crate::limits::{LINK_BYTES, LINK_READ, LINK_READ_LIMITED, LINK_SOCKET_BUFFER, LINK_TICK};

/// What the link is like, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq, clap::Args)]
pub struct Link {
    /// Milliseconds from one end to the other
    #[arg(long = "delay-ms", default_value_t = 25.0)]
    pub one_way_ms: f64,
    /// Megabits per second; without it, as fast as the machine
    #[arg(long)]
    pub rate_mbit: Option<f64>,
    /// KiB that wait at the slow end when there is a rate, the kernel's part included
    #[arg(long, default_value_t = 64)]
    pub queue_kib: usize,
    /// Of 100 segments, how many are lost: each holds up what follows for a round trip
    #[arg(long = "loss-percent", default_value_t = 0.0)]
    pub loss_percent: f64,
    /// Bytes of each write at most, to break messages up
    #[arg(long = "chunk")]
    pub chunk: Option<usize>,
    /// Seed of the losses
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl Link {
    /// A link that only delays, by `one_way`.
    pub fn delaying(one_way: Duration) -> Self {
        Self {
            one_way_ms: one_way.as_secs_f64() * 1e3,
            rate_mbit: None,
            queue_kib: 64,
            loss_percent: 0.0,
            chunk: None,
            seed: 1,
        }
    }

    /// The arguments that describe this link to another `titan-perf`.
    pub fn args(&self) -> Vec<String> {
        let mut args = vec![
            format!("--delay-ms={}", self.one_way_ms),
            format!("--queue-kib={}", self.queue_kib),
            format!("--loss-percent={}", self.loss_percent),
            format!("--seed={}", self.seed),
        ];
        args.extend(self.rate_mbit.map(|rate| format!("--rate-mbit={rate}")));
        args.extend(self.chunk.map(|chunk| format!("--chunk={chunk}")));
        args
    }

    pub(super) fn one_way(&self) -> Duration {
        Duration::from_secs_f64(self.one_way_ms / 1e3)
    }

    /// Time that `len` bytes take to be sent.
    pub(super) fn sending(&self, len: usize) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a read is below 2^52")]
        let bits = len as f64 * 8.0;
        self.rate_mbit.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(bits / (rate * 1e6))
        })
    }

    /// Bytes of one read from a connection.
    pub(super) fn read_size(&self) -> usize {
        let whole = if self.rate_mbit.is_some() {
            LINK_READ_LIMITED
        } else {
            LINK_READ
        };
        self.chunk.map_or(whole, |chunk| chunk.clamp(1, whole))
    }

    /// Bytes that the relay itself lets wait: what the receive buffers of its sockets hold is a
    /// part of the queue.
    pub(super) fn queue(&self) -> usize {
        (self.queue_kib * 1024).saturating_sub(LINK_SOCKET_BUFFER)
    }

    /// Bytes that are held in a direction of a connection before no more are read: the queue and
    /// what is under way, a loss's detour included. A receiver that does not read stops the sender
    /// there.
    pub(super) fn holds(&self) -> usize {
        let Some(rate) = self.rate_mbit else {
            return LINK_BYTES;
        };
        let longest = 3 * self.one_way() + LINK_TICK;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and cut at the bound of links without a rate"
        )]
        let under_way = (rate * 1e6 / 8.0 * longest.as_secs_f64()) as usize;
        (self.queue() + self.read_size() + under_way).min(LINK_BYTES)
    }
}
