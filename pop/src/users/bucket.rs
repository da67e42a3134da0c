//! A rate limit as a token bucket: how fast bytes may move, and when the next ones may.
//!
//! ```text
//!  earned = burst + rate × time since the start           a straight line, never rounded twice
//!  spent  = bytes that have moved, and what nobody came for in time
//!
//!  open    spent < earned                 bytes may move, at most a quantum at a time
//!  closed  spent ≥ earned                 until the line has caught up
//! ```
//!
//! What moves is charged afterwards, so that nobody has to give back what a short read left over;
//! the debt of at most one quantum for each shard is paid before the next byte. The line is
//! computed from the start each time and never added up, so nothing drifts. Crates were looked at:
//! `governor` keeps its state as nanoseconds for one cell, which is 0.1 % off at 3 MB/s and cannot
//! express more than 1 GB/s; `leaky-bucket` brings its own timers.

use std::{
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::limits::{
    RATE_BURST_MIN, RATE_BURST_PER_S, RATE_QUANTA_PER_S, RATE_QUANTUM_MAX, RATE_QUANTUM_MIN,
};

/// One direction of one user's traffic, over all shards. Lock-free; takes the time and asks no
/// clock.
///
/// In any stretch of time no more bytes move than the rate allows for it, and one burst, and one
/// quantum for each shard.
#[derive(Debug)]
pub struct Bucket {
    rate: NonZeroU64,
    burst: u64,
    start: Instant,
    spent: AtomicU64,
}

impl Bucket {
    /// A full bucket for `rate` bytes a second.
    pub fn new(rate: NonZeroU64, now: Instant) -> Self {
        Self {
            rate,
            burst: (rate.get() / RATE_BURST_PER_S).max(RATE_BURST_MIN),
            start: now,
            spent: AtomicU64::new(0),
        }
    }

    /// Bytes a second.
    pub fn rate(&self) -> NonZeroU64 {
        self.rate
    }

    /// Most bytes that may move at a time while it is open.
    pub fn quantum(&self) -> usize {
        usize::try_from(self.rate.get() / RATE_QUANTA_PER_S)
            .unwrap_or(RATE_QUANTUM_MAX)
            .clamp(RATE_QUANTUM_MIN, RATE_QUANTUM_MAX)
    }

    /// When bytes may move again; `None` if they may now.
    pub fn opens_at(&self, now: Instant) -> Option<Instant> {
        let spent = self.spent.load(Ordering::Relaxed);
        (spent >= self.earned(now)).then(|| self.start + self.time_to_earn(spent.saturating_add(1)))
    }

    /// Accounts for bytes that have moved.
    pub fn charge(&self, bytes: usize, now: Instant) {
        let unclaimed = self.earned(now).saturating_sub(self.burst);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let charge = |spent: u64| Some(spent.max(unclaimed).saturating_add(bytes));
        // Never fails: the closure always gives a value.
        let _ = self
            .spent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge);
    }

    /// Bytes that may have moved by then, since the start.
    fn earned(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start).as_nanos();
        let line = elapsed.saturating_mul(self.rate.get().into()) / NANOS_PER_S;
        u64::try_from(line)
            .unwrap_or(u64::MAX)
            .saturating_add(self.burst)
    }

    /// The time from the start until so many bytes are earned, rounded up: a wait must not end
    /// before its time.
    fn time_to_earn(&self, bytes: u64) -> Duration {
        let line = u128::from(bytes.saturating_sub(self.burst));
        let nanos = (line * NANOS_PER_S).div_ceil(self.rate.get().into());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

const NANOS_PER_S: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(rate: u64) -> (Bucket, Instant) {
        let start = Instant::now();
        let rate = NonZeroU64::new(rate).expect("not zero");
        (Bucket::new(rate, start), start)
    }

    /// Moves a quantum whenever the bucket is open; gives the bytes moved until `end`.
    fn drain(bucket: &Bucket, mut now: Instant, end: Instant) -> u64 {
        let mut moved = 0;
        while now <= end {
            match bucket.opens_at(now) {
                Some(later) => now = later,
                None => {
                    bucket.charge(bucket.quantum(), now);
                    moved += bucket.quantum() as u64;
                }
            }
        }
        moved
    }

    #[test]
    fn a_full_bucket_gives_a_burst_and_then_the_rate() {
        let (bucket, start) = bucket(5_000_000);
        let at_once = drain(&bucket, start, start);
        let quantum = bucket.quantum() as u64;
        assert!((500_000..500_000 + quantum).contains(&at_once), "{at_once}");
        let second = Duration::from_secs(1);
        let moved = drain(&bucket, start, start + second);
        assert!(moved.abs_diff(5_000_000) <= quantum, "{moved}");
    }

    #[test]
    fn nothing_drifts_in_ten_days() {
        // A rate at which a byte takes no whole number of nanoseconds, used for ever in odd pieces.
        let (bucket, start) = bucket(3_333_337);
        let (mut now, mut moved) = (start, 0_u64);
        let end = start + Duration::from_secs(864_000);
        while now < end {
            now = bucket.opens_at(now).unwrap_or(now);
            bucket.charge(99_999_989, now);
            moved += 99_999_989;
        }
        let expected = 864_000 * 3_333_337 + bucket.burst;
        // What is off is the last piece alone, which went on credit.
        assert!(
            moved >= expected && moved - expected <= 2 * 99_999_989,
            "{moved}"
        );
    }

    #[test]
    fn what_nobody_came_for_is_not_saved_up() {
        let (bucket, start) = bucket(100_000);
        let later = start + Duration::from_secs(3600);
        let moved = drain(&bucket, later, later);
        let quantum = bucket.quantum() as u64;
        assert!(
            (RATE_BURST_MIN..RATE_BURST_MIN + quantum).contains(&moved),
            "{moved}"
        );
    }

    #[test]
    fn the_slowest_and_the_fastest_rate_are_sound() {
        let (slow, start) = bucket(1);
        slow.charge(usize::try_from(RATE_BURST_MIN).expect("small"), start);
        let opens = slow.opens_at(start).expect("closed");
        assert_eq!(opens - start, Duration::from_secs(1));
        let (fast, start) = bucket(u64::MAX);
        fast.charge(usize::MAX, start);
        fast.charge(usize::MAX, start + Duration::from_secs(1 << 40));
        assert_eq!(fast.quantum(), RATE_QUANTUM_MAX);
    }

    proptest! {
        /// In every stretch of time, whatever the pieces and pauses.
        #[test]
        fn no_stretch_of_time_gets_more_than_its_share(
            rate in 1_u64..2_000_000_000,
            steps in prop::collection::vec((0_u64..200_000_000, 1_usize..100_000), 1..200),
        ) {
            let (bucket, start) = bucket(rate);
            let quantum = bucket.quantum();
            let (mut now, mut moves) = (start, Vec::new());
            for (pause, wish) in steps {
                now += Duration::from_nanos(pause);
                if bucket.opens_at(now).is_none() {
                    let bytes = wish.min(quantum);
                    bucket.charge(bytes, now);
                    moves.push((now, bytes as u128));
                }
            }
            for first in 0..moves.len() {
                let mut sum = 0;
                for (at, bytes) in &moves[first..] {
                    sum += bytes;
                    let line = (*at - moves[first].0).as_nanos() * u128::from(rate) / NANOS_PER_S;
                    let most = line + 1 + u128::from(bucket.burst) + quantum as u128;
                    prop_assert!(sum <= most, "{sum} of {most}");
                }
            }
        }

        /// A wait ends when bytes may move, and not a nanosecond before.
        #[test]
        fn it_opens_when_it_says(rate in 1_u64..100_000_000_000, spent in 0_usize..1 << 40) {
            let (bucket, start) = bucket(rate);
            bucket.charge(spent, start);
            if let Some(at) = bucket.opens_at(start) {
                prop_assert_eq!(bucket.opens_at(at), None);
                prop_assert!(bucket.opens_at(at - Duration::from_nanos(1)).is_some());
            }
        }
    }
}
