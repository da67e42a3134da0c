//! Flow control of one direction of one session: never more in flight than the receiver granted.

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
/// Invariant: `granted + held + due == size`, where `granted` is what the peer may still send,
/// `held` what arrived and was not yet consumed, and `due` what was consumed and not yet granted
/// again. What this end must be ready to store is therefore never more than `size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReceiveWindow {
    size: u32,
    held: u32,
    due: u32,
}

impl ReceiveWindow {
    /// A window of `size` bytes, all of which were granted by HELLO.
    pub(super) fn new(size: u32) -> Self {
        Self {
            size,
            held: 0,
            due: 0,
        }
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

    /// Accounts for payload that our consumer took. More than was held counts as all of it.
    pub(super) fn consume(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.held);
        self.held -= bytes;
        self.due += bytes;
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
}
