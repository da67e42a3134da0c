//! How much goes to the transport at a time.

use std::time::{Duration, Instant};

use crate::limits::{
    BATCH_TIME, FIRST_WRITE_BATCH, MAX_WRITE_BATCH, MIN_WRITE_BATCH, PACE_BATCHES, PACE_TIME,
};

/// Follows the speed of the transport.
///
/// What the transport holds can no longer be overtaken by another session's bytes. So what is given
/// to it at a time, and what may lie in it unsent, is small on a slow line, where a queue is delay,
/// and large on a fast one, where it is only fewer system calls: [`BATCH_TIME`]'s worth on either.
///
/// The speed is that at which bytes go while there are always more: over several batches, because
/// the transport takes one at once and makes the next one wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    batch: usize,
    measure: Option<Measure>,
}

/// Bytes that have gone since a moment, without a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measure {
    since: Instant,
    bytes: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            batch: FIRST_WRITE_BATCH,
            measure: None,
        }
    }
}

impl Pace {
    /// Bytes to take from the connection for the next batch, and to let the transport hold unsent.
    pub fn batch(self) -> usize {
        self.batch
    }

    /// A batch of `bytes` is about to go; `clock` is asked only where that tells anything.
    pub fn begin(&mut self, bytes: usize, clock: impl FnOnce() -> Instant) {
        if self.measure.is_none() && bytes >= MIN_WRITE_BATCH {
            let since = clock();
            self.measure = Some(Measure { since, bytes: 0 });
        }
    }

    /// The transport took a batch of `bytes`; `true` where the next one is to be of another size.
    pub fn wrote(&mut self, bytes: usize, clock: impl FnOnce() -> Instant) -> bool {
        let Some(measure) = &mut self.measure else {
            return false;
        };
        measure.bytes += bytes;
        let now = clock();
        let took = now.saturating_duration_since(measure.since);
        if measure.bytes < PACE_BATCHES * self.batch && took < PACE_TIME {
            return false;
        }
        let worth = worth(measure.bytes, took);
        self.measure = Some(Measure {
            since: now,
            bytes: 0,
        });
        // Only halves and doubles count: less is noise.
        let before = self.batch;
        if worth >= before * 2 || worth < before {
            self.batch = floor_power_of_two(worth);
        }
        self.batch != before
    }

    /// There is nothing to send: the time until there is says nothing of the transport.
    pub fn pause(&mut self) {
        self.measure = None;
    }
}

/// The bytes that go in [`BATCH_TIME`] when `bytes` take `took`, within bounds.
fn worth(bytes: usize, took: Duration) -> usize {
    let worth = bytes as u128 * BATCH_TIME.as_nanos() / took.as_nanos().max(1);
    usize::try_from(worth)
        .unwrap_or(usize::MAX)
        .clamp(MIN_WRITE_BATCH, MAX_WRITE_BATCH)
}

fn floor_power_of_two(n: usize) -> usize {
    1 << n.max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The batch after a second on a line that takes a batch at once while it holds less than one,
    /// and sends `rate` bytes a second.
    #[allow(clippy::disallowed_methods)]
    fn settles(rate: usize) -> usize {
        let start = Instant::now();
        let (mut now, mut held, mut pace) = (start, 0_usize, Pace::default());
        while now < start + Duration::from_secs(1) {
            pace.begin(pace.batch(), || now);
            if held >= pace.batch() {
                let excess = (held + 1 - pace.batch()) as u64;
                let wait = Duration::from_nanos(excess * 1_000_000_000 / rate as u64);
                now += wait;
                held = pace.batch() - 1;
            }
            held += pace.batch();
            now += Duration::from_micros(10);
            held = held.saturating_sub(rate / 100_000);
            pace.wrote(pace.batch(), || now);
        }
        pace.batch()
    }

    #[test]
    fn batches_follow_the_speed_of_the_line() {
        assert_eq!(settles(2_500_000), MIN_WRITE_BATCH);
        assert_eq!(settles(12_500_000), 32 * 1024);
        assert_eq!(settles(2_000_000_000), MAX_WRITE_BATCH);
    }

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn small_talk_and_pauses_say_nothing() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.begin(100, || unreachable!("the clock is not needed"));
        assert!(!pace.wrote(100, || unreachable!("nor here")));
        pace.begin(FIRST_WRITE_BATCH, || start);
        assert!(!pace.wrote(FIRST_WRITE_BATCH, || start));
        pace.pause();
        pace.begin(FIRST_WRITE_BATCH, || start + Duration::from_secs(9));
        assert!(!pace.wrote(FIRST_WRITE_BATCH, || start + Duration::from_secs(9)));
        assert_eq!(pace.batch(), FIRST_WRITE_BATCH);
    }
}
