//! How much a peer may make this end do for nothing.
//!
//! Credit bounds the bytes that a peer sends, and nothing bounds the frames that cost no credit: each
//! is cheap, and a line full of them keeps a core busy. The HTTP/2 floods of 2019 (CVE-2019-9512 pings,
//! 9514 resets, 9515 settings, 9518 empty frames) and the rapid reset of 2023 (CVE-2023-44487) were
//! made of such. Here every frame that brings nothing on costs a token:
//!
//! | frame | costs |
//! | --- | --- |
//! | ping; pong that answers no ping of ours | 1 |
//! | DATA without a byte; fragment of a message below [`SMALL_FRAGMENT`](crate::limits::SMALL_FRAGMENT) | 1 |
//! | DATA, FIN, OPENED, RESET, CREDIT or DATAGRAM for an unknown session | 1 |
//! | CREDIT below [`SMALL_GRANT`](crate::limits::SMALL_GRANT) | 1 |
//! | GOAWAY after the first; OPEN that is refused | 1 |
//! | RESET of a session whose dial has not ended, at an edge | [`CANCEL_COST`](crate::limits::CANCEL_COST) |
//!
//! A datagram that finds its session's inbox full costs nothing: the peer passes on what a target or a client
//! sends, cannot make either wait, and must not lose its tunnel for it.

use std::time::{Duration, Instant};

use super::Violation;
use crate::limits::{IDLE_FRAMES_BURST, IDLE_FRAMES_PER_S};

/// A token bucket: [`IDLE_FRAMES_BURST`] at first and at most, [`IDLE_FRAMES_PER_S`] more each second.
#[derive(Debug)]
pub(super) struct Budget {
    tokens: u32,
    /// What the frames of this moment cost, not paid yet.
    owed: u32,
    /// Until when the tokens were counted.
    counted: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            tokens: IDLE_FRAMES_BURST,
            owed: 0,
            counted: now,
        }
    }

    /// Notes what a frame costs that brought nothing on.
    pub(super) fn owe(&mut self, cost: u32) {
        self.owed = self.owed.saturating_add(cost);
    }

    /// Pays for what was noted.
    ///
    /// # Errors
    /// The peer has sent more frames that bring nothing on than any honest one.
    pub(super) fn settle(&mut self, now: Instant) -> Result<(), Violation> {
        if self.owed == 0 {
            return Ok(());
        }
        self.refill(now);
        let owed = std::mem::take(&mut self.owed);
        self.tokens = self.tokens.checked_sub(owed).ok_or(Violation::Flood)?;
        Ok(())
    }

    /// Adds what has accrued. Time that is not worth a whole token stays to be counted.
    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.counted).as_nanos();
        let accrued = u64::try_from(elapsed).unwrap_or(u64::MAX) / TOKEN_NANOS;
        if accrued == 0 {
            return;
        }
        let accrued = u32::try_from(accrued).unwrap_or(u32::MAX);
        let sum = self.tokens.saturating_add(accrued);
        if sum < IDLE_FRAMES_BURST {
            (self.tokens, self.counted) = (
                sum,
                self.counted + Duration::from_nanos(TOKEN_NANOS) * accrued,
            );
        } else {
            (self.tokens, self.counted) = (IDLE_FRAMES_BURST, now);
        }
    }
}

/// Nanoseconds in which one token accrues.
const TOKEN_NANOS: u64 = 1_000_000_000 / IDLE_FRAMES_PER_S as u64;

#[cfg(test)]
mod tests {
    use super::*;

    /// The ban on the clock is for the protocol; a test needs one origin.
    #[allow(clippy::disallowed_methods)]
    fn budget() -> (Budget, Instant) {
        let now = Instant::now();
        (Budget::new(now), now)
    }

    fn charge(budget: &mut Budget, cost: u32, now: Instant) -> Result<(), Violation> {
        budget.owe(cost);
        budget.settle(now)
    }

    #[test]
    fn a_burst_is_forgiven_and_a_flood_is_not() {
        let (mut budget, now) = budget();
        for _ in 0..IDLE_FRAMES_BURST {
            assert_eq!(charge(&mut budget, 1, now), Ok(()));
        }
        assert_eq!(charge(&mut budget, 1, now), Err(Violation::Flood));
    }

    #[test]
    fn the_rate_can_be_kept_up_for_ever_and_not_exceeded() {
        let (mut budget, mut now) = budget();
        for _ in 0..100 {
            now += Duration::from_millis(100);
            assert_eq!(charge(&mut budget, IDLE_FRAMES_PER_S / 10, now), Ok(()));
        }
        let too_many = (0..100).find_map(|second| {
            now += Duration::from_secs(1);
            let charged = charge(&mut budget, IDLE_FRAMES_PER_S + IDLE_FRAMES_BURST / 10, now);
            charged.err().map(|_| second)
        });
        // The bucket holds one second's frames and four times the excess.
        assert_eq!(too_many, Some(5));
    }

    #[test]
    fn moments_too_short_for_a_token_add_up() {
        let (mut budget, mut now) = budget();
        assert_eq!(charge(&mut budget, IDLE_FRAMES_BURST, now), Ok(()));
        for _ in 0..4 {
            assert_eq!(charge(&mut budget, 1, now), Err(Violation::Flood));
            now += Duration::from_nanos(TOKEN_NANOS / 4);
        }
        assert_eq!(charge(&mut budget, 1, now), Ok(()));
    }

    #[test]
    fn rest_fills_the_bucket_and_no_more() {
        let (mut budget, mut now) = budget();
        now += Duration::from_secs(86_400);
        assert_eq!(charge(&mut budget, IDLE_FRAMES_BURST, now), Ok(()));
        assert_eq!(charge(&mut budget, 1, now), Err(Violation::Flood));
    }
}
