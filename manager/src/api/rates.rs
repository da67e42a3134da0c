//! How often an admin token may be used, and how often an address may try a wrong one.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Mutex,
    time::{Duration, Instant},
};

use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use super::problem::ApiProblem;
use crate::limits;

/// The rates of all callers, in bounded memory.
pub(super) struct Rates {
    tokens: Keyed<String>,
    strangers: Keyed<IpAddr>,
}

impl Rates {
    /// Rates where a token may be used `requests_per_s` times a second.
    pub(super) fn new(requests_per_s: NonZeroU32) -> Self {
        let wrong = Quota::per_second(limits::WRONG_TOKENS_PER_S);
        Self {
            tokens: Keyed::new(Quota::per_second(requests_per_s)),
            strangers: Keyed::new(wrong.allow_burst(limits::WRONG_TOKENS_BURST)),
        }
    }

    /// Counts a request with the token `id`.
    pub(super) fn of_token(&self, id: &str) -> Result<(), ApiProblem> {
        let outcome = self.tokens.check(&id.to_owned());
        outcome.map_err(|wait| too_many(wait, "this token is used too often"))
    }

    /// Counts a wrong token from `address`.
    pub(super) fn of_stranger(&self, address: IpAddr) -> Result<(), ApiProblem> {
        let outcome = self.strangers.check(&household(address));
        outcome.map_err(|wait| too_many(wait, "too many wrong tokens came from your address"))
    }
}

/// One rate for each key, and one for all keys that find no room.
struct Keyed<K: Hash + Eq + Clone> {
    limiter: DefaultKeyedRateLimiter<K>,
    others: DefaultDirectRateLimiter,
    swept: Mutex<Option<Instant>>,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn new(quota: Quota) -> Self {
        Self {
            limiter: RateLimiter::keyed(quota),
            others: RateLimiter::direct(quota),
            swept: Mutex::new(None),
        }
    }

    /// The error is how long to wait.
    fn check(&self, key: &K) -> Result<(), Duration> {
        let outcome = if self.has_room() {
            self.limiter.check_key(key)
        } else {
            self.others.check()
        };
        outcome.map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }

    /// Forgets those whose rate has recovered where there are many, once a second at most: looking for
    /// them costs a look at each.
    fn has_room(&self) -> bool {
        if self.limiter.len() < limits::MAX_RATED_ADDRESSES {
            return true;
        }
        let mut swept = self
            .swept
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if swept.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
            self.limiter.retain_recent();
            *swept = Some(Instant::now());
        }
        self.limiter.len() < limits::MAX_RATED_ADDRESSES
    }
}

fn too_many(wait: Duration, detail: &'static str) -> ApiProblem {
    // Rounded up: who comes back a moment early is turned away again.
    ApiProblem::too_many(wait.as_secs() + 1, detail)
}

/// Whoever has one address of IPv6 has the /64 around it.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(rates: &Rates, address: &str) -> usize {
        let address: IpAddr = address.parse().expect("an address");
        (0..100)
            .filter(|_| rates.of_stranger(address).is_ok())
            .count()
    }

    #[test]
    fn each_household_has_a_rate_of_its_own() {
        let rates = Rates::new(limits::DEFAULT_TOKEN_REQUESTS_PER_S);
        let burst = limits::WRONG_TOKENS_BURST.get() as usize;
        // A slow machine may see a second go by meanwhile.
        assert!((burst..burst + 10).contains(&allowed(&rates, "2001:db8::1")));
        assert!(allowed(&rates, "2001:db8::ffff:2") < 10, "the same /64");
        assert!(allowed(&rates, "2001:db8:0:1::1") >= burst);
        assert!(allowed(&rates, "192.0.2.1") >= burst);
        assert!(allowed(&rates, "::ffff:192.0.2.1") < 10, "the same address");
    }

    #[test]
    fn no_number_of_addresses_fills_the_memory() {
        let rates = Rates::new(limits::DEFAULT_TOKEN_REQUESTS_PER_S);
        for number in 0..2 * limits::MAX_RATED_ADDRESSES as u128 {
            let address = Ipv6Addr::from_bits(number << 64);
            let _ = rates.of_stranger(address.into());
        }
        assert!(rates.strangers.limiter.len() <= limits::MAX_RATED_ADDRESSES);
    }
}
