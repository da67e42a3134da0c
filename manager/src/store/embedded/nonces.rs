//! Nonces that were used, in memory and bounded.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::{limits, store::NonceClaim};

/// The nonces claimed within their time to live.
///
/// Invariant: `order` holds each member of `claimed` once, the earliest claim first.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    claimed: HashSet<[u8; 16]>,
    order: VecDeque<(Instant, [u8; 16])>,
}

impl Nonces {
    /// Claims `nonce` at `now`, until `ttl` later.
    pub(super) fn claim(&mut self, nonce: [u8; 16], now: Instant, ttl: Duration) -> NonceClaim {
        self.expire(now);
        if self.claimed.contains(&nonce) {
            return NonceClaim::Used;
        }
        if self.claimed.len() >= limits::MAX_CLAIMED_NONCES {
            return NonceClaim::Full;
        }
        self.claimed.insert(nonce);
        self.order.push_back((now + ttl, nonce));
        NonceClaim::Granted
    }

    /// Every claim has the same time to live in practice, so the earliest also expires first. Where
    /// that does not hold, a claim is kept longer than asked for, never shorter.
    fn expire(&mut self, now: Instant) {
        while self
            .order
            .front()
            .is_some_and(|(expires, _)| *expires <= now)
        {
            if let Some((_, nonce)) = self.order.pop_front() {
                self.claimed.remove(&nonce);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_memory_grants_again_once_claims_expire() {
        let (mut nonces, now, ttl) = (Nonces::default(), Instant::now(), Duration::from_secs(60));
        for number in 0..limits::MAX_CLAIMED_NONCES as u128 {
            assert_eq!(
                nonces.claim(number.to_be_bytes(), now, ttl),
                NonceClaim::Granted
            );
        }
        let late = [0xff; 16];
        assert_eq!(nonces.claim(late, now, ttl), NonceClaim::Full);
        assert_eq!(nonces.claim([0; 16], now, ttl), NonceClaim::Used);
        assert_eq!(nonces.claim(late, now + ttl, ttl), NonceClaim::Granted);
        assert_eq!(nonces.claimed.len(), 1);
    }
}
