//! Flow control of one direction of one session: never more in flight than the receiver granted.

use std::time::{Duration, Instant};

use super::Violation;
use crate::limits::MAX_WINDOW;

/// What the peer allows us to send: the sender's half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SendCredit(u32);

impl SendCredit {
    pub(super) fn new(initial: u32) -> Self {
        Self(initial)
    }

    /// Bytes that may be sent now.
    pub(super) fn available(self) -> usize {
        self.0 as usize
    }

    /// Takes what `bytes` of payload cost; `false`, and nothing taken, where they cost too much.
    #[must_use]
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let Some(rest) = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.0.checked_sub(bytes))
        else {
            return false;
        };
        self.0 = rest;
        true
    }

    /// Adds the peer's grant.
    ///
    /// # Errors
    /// A grant of nothing, or one that lifts the credit above [`MAX_WINDOW`]: a peer that counts
    /// wrongly would otherwise look like one that is merely generous.
    pub(super) fn add(&mut self, grant: u32) -> Result<(), Violation> {
        match self.0.checked_add(grant) {
            Some(sum) if grant > 0 && sum <= MAX_WINDOW => {
                self.0 = sum;
                Ok(())
            }
            _ => Err(Violation::BadCredit),
        }
    }
}

/// What we allow the peer to send: the receiver's half.
///
/// It follows the traffic: a window that is used up within about two round trips doubles, because the
/// sender may have had to wait for credit; under memory pressure it shrinks as it is granted again.
///
/// Invariant: `granted + held + due == size`, where `granted` is what the peer may still send,
/// `held` what arrived and was not yet consumed, and `due` what was consumed and not yet granted
/// again. What this end must be ready to store is therefore never more than `size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReceiveWindow {
    size: u32,
    held: u32,
    due: u32,
    /// What was consumed in this round, which ends when a whole window was.
    consumed: u32,
    round_began: Option<Instant>,
}

impl ReceiveWindow {
    /// A window of `size` bytes, all of which were granted by HELLO.
    pub(super) fn new(size: u32) -> Self {
        Self {
            size,
            held: 0,
            due: 0,
            consumed: 0,
            round_began: None,
        }
    }

    /// What arrived and was not yet consumed.
    pub(super) fn held(self) -> u32 {
        self.held
    }

    /// What the peer may still send.
    fn granted(self) -> u32 {
        self.size - self.held - self.due
    }

    /// Accounts for payload that arrived.
    ///
    /// # Errors
    /// The peer sent more than it was granted.
    pub(super) fn arrive(&mut self, bytes: usize) -> Result<(), Violation> {
        match u32::try_from(bytes) {
            Ok(bytes) if bytes <= self.granted() => {
                self.held += bytes;
                Ok(())
            }
            _ => Err(Violation::CreditExceeded),
        }
    }

    /// Accounts for payload that our consumer took, and gives its length: more than was held counts
    /// as all of it.
    pub(super) fn consume(&mut self, bytes: usize) -> u32 {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.held);
        self.held -= bytes;
        self.due += bytes;
        self.consumed = self.consumed.saturating_add(bytes);
        bytes
    }

    /// Ends the round if a whole window was consumed in it, and gives the time it took. The first
    /// round only begins: how long its session had been silent says nothing.
    pub(super) fn end_round(&mut self, now: Instant) -> Option<Duration> {
        if self.consumed < self.size {
            return None;
        }
        self.consumed = 0;
        let began = self.round_began.replace(now)?;
        Some(now.saturating_duration_since(began))
    }

    /// Enlarges the window to `size`; what is added is due.
    pub(super) fn grow(&mut self, size: u32) {
        let more = size.saturating_sub(self.size);
        self.size += more;
        self.due += more;
    }

    /// Makes the window smaller, down to `size` at most, by what would be granted again.
    pub(super) fn shrink(&mut self, size: u32) {
        let less = self.size.saturating_sub(size).min(self.due);
        self.size -= less;
        self.due -= less;
    }

    /// Bytes that the peer may send and we may hold, together.
    pub(super) fn size(self) -> u32 {
        self.size
    }

    /// Whether enough was consumed to be worth a CREDIT frame.
    ///
    /// A quarter of the window: late enough that a bulk session costs four small frames per window,
    /// early enough that the sender has three quarters left while the grant travels.
    pub(super) fn is_grant_worthwhile(self) -> bool {
        self.due >= (self.size / 4).max(1)
    }

    /// The grant to send now; it is thereby given.
    pub(super) fn take_grant(&mut self) -> Option<u32> {
        let grant = std::mem::take(&mut self.due);
        (grant > 0).then_some(grant)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credit_is_never_overdrawn_or_overfilled() {
        let mut credit = SendCredit::new(10);
        assert!(!credit.take(11));
        assert!(credit.take(10));
        assert_eq!(credit.available(), 0);
        assert_eq!(credit.add(0), Err(Violation::BadCredit));
        assert_eq!(credit.add(MAX_WINDOW + 1), Err(Violation::BadCredit));
        assert_eq!(credit.add(MAX_WINDOW), Ok(()));
        assert_eq!(credit.add(1), Err(Violation::BadCredit));
    }

    proptest! {
        /// Both halves, with grants applied at once, always agree on what may be sent.
        #[test]
        fn both_halves_agree(size in 1u32..100_000, moves in prop::collection::vec((any::<bool>(), 0usize..50_000), 0..200)) {
            let mut sender = SendCredit::new(size);
            let mut receiver = ReceiveWindow::new(size);
            let mut held = 0;
            for (sends, bytes) in moves {
                if sends {
                    let fits = sender.take(bytes);
                    prop_assert_eq!(receiver.arrive(bytes).is_ok(), fits);
                    held += if fits { bytes } else { 0 };
                } else {
                    let bytes = bytes.min(held);
                    receiver.consume(bytes);
                    held -= bytes;
                    if receiver.is_grant_worthwhile() {
                        prop_assert_eq!(sender.add(receiver.take_grant().expect("due")), Ok(()));
                    }
                }
                prop_assert_eq!(sender.available(), receiver.granted() as usize);
            }
        }
    }

    /// The ban on the clock is for the protocol; a test needs one origin.
    #[allow(clippy::disallowed_methods)]
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_round_is_a_whole_window_and_the_first_only_begins() {
        let mut window = ReceiveWindow::new(100);
        let start = origin();
        let mut pass = |bytes, ms| {
            window.arrive(bytes).expect("granted");
            window.consume(bytes);
            window.take_grant();
            window.end_round(start + Duration::from_millis(ms))
        };
        assert_eq!(pass(99, 1000), None);
        assert_eq!(pass(1, 1001), None, "the first round");
        assert_eq!(pass(60, 1010), None);
        assert_eq!(pass(40, 1031), Some(Duration::from_millis(30)));
    }

    #[test]
    fn a_window_grows_by_a_grant_and_shrinks_by_withholding_one() {
        let mut window = ReceiveWindow::new(100);
        window.grow(400);
        assert_eq!((window.take_grant(), window.size()), (Some(300), 400));
        window.arrive(350).expect("granted");
        window.consume(150);
        window.shrink(100);
        assert_eq!((window.take_grant(), window.size()), (None, 250));
        window.consume(200);
        window.shrink(100);
        assert_eq!((window.take_grant(), window.size()), (Some(50), 100));
        assert_eq!(window.granted(), 100);
    }
}
