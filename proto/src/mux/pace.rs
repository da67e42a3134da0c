//! How much goes to the transport at a time.

use std::time::Duration;

use crate::limits::{FAST_WRITE, FIRST_WRITE_BATCH, MAX_WRITE_BATCH, MIN_WRITE_BATCH, SLOW_WRITE};

/// Follows the speed of the transport.
///
/// What the transport holds can no longer be overtaken by another session's bytes. So what is given
/// to it at a time, and what may lie in it unsent, is small on a slow line, where a queue is delay,
/// and large on a fast one, where it is only fewer system calls: some milliseconds' worth on either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    batch: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            batch: FIRST_WRITE_BATCH,
        }
    }
}

impl Pace {
    /// Bytes to take from the connection for the next batch, and to let the transport hold unsent.
    pub fn batch(self) -> usize {
        self.batch
    }

    /// Whether a batch of `bytes` says anything about the speed of the transport: what is smaller than
    /// it might have been took no time worth measuring.
    pub fn is_telling(self, bytes: usize) -> bool {
        bytes >= self.batch
    }

    /// Learns that the transport took `bytes` in `took`; `true` where the batch has changed.
    pub fn learn(&mut self, bytes: usize, took: Duration) -> bool {
        let before = self.batch;
        if took > SLOW_WRITE {
            self.batch = (before / 2).max(MIN_WRITE_BATCH);
        } else if self.is_telling(bytes) && took < FAST_WRITE {
            self.batch = (before * 2).min(MAX_WRITE_BATCH);
        }
        self.batch != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_follow_the_speed_of_the_line() {
        let mut pace = Pace::default();
        for _ in 0..10 {
            pace.learn(pace.batch(), Duration::from_micros(100));
        }
        assert_eq!(pace.batch(), MAX_WRITE_BATCH);
        assert!(!pace.learn(100, Duration::ZERO));
        for _ in 0..10 {
            pace.learn(pace.batch(), Duration::from_millis(20));
        }
        assert_eq!(pace.batch(), MIN_WRITE_BATCH);
        assert!(
            !pace.learn(100, Duration::ZERO),
            "small writes prove nothing"
        );
    }
}
