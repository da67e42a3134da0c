//! How long to wait before the next attempt to reach a PoP.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::limits::{BACKOFF_BASE, BACKOFF_CAP};

/// Exponential back-off with full jitter: the wait is drawn evenly from zero to a ceiling that
/// doubles with every failure. Full jitter spreads the edges of a PoP that went down over the whole
/// interval, where a fixed or partly random delay would bring them back in waves.
pub(crate) struct Backoff<R> {
    random: R,
    failures: u32,
}

impl<R: Rng> Backoff<R> {
    pub(crate) fn new(random: R) -> Self {
        Self {
            random,
            failures: 0,
        }
    }

    /// The wait before the next attempt; the one after it waits longer.
    pub(crate) fn next_delay(&mut self) -> Duration {
        let ceiling = ceiling(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.random.random_range(Duration::ZERO..=ceiling)
    }

    /// An attempt was a success: the next wait is a short one again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

fn ceiling(failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
    BACKOFF_BASE.saturating_mul(factor).min(BACKOFF_CAP)
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn ceilings_double_up_to_the_cap() {
        let seconds: Vec<f64> = (0..9).map(|n| ceiling(n).as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(ceiling(u32::MAX), BACKOFF_CAP);
    }

    #[test]
    fn delays_fill_the_whole_interval_and_never_leave_it() {
        for failures in [0, 3, 40] {
            let mut backoff = Backoff::new(StdRng::seed_from_u64(7));
            let mut sum = Duration::ZERO;
            let mut shortest = BACKOFF_CAP;
            for _ in 0..1000 {
                backoff.failures = failures;
                let delay = backoff.next_delay();
                assert!(delay <= ceiling(failures));
                shortest = shortest.min(delay);
                sum += delay;
            }
            let mean = sum / 1000;
            assert!(mean > ceiling(failures).mul_f64(0.45), "mean {mean:?}");
            assert!(mean < ceiling(failures).mul_f64(0.55), "mean {mean:?}");
            assert!(
                shortest < ceiling(failures).mul_f64(0.02),
                "shortest {shortest:?}"
            );
        }
    }

    #[test]
    fn a_success_starts_over() {
        let mut backoff = Backoff::new(StdRng::seed_from_u64(1));
        for _ in 0..20 {
            backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= BACKOFF_BASE);
    }
}
