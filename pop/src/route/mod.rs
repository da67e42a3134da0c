//! Which tunnel carries a session.
//!
//! A handful of random tunnels out of any number compete, so that a choice costs the same for ten
//! and for a hundred thousand. The lowest score wins: the round trip, made up to a fifth worse at
//! random, so that the best node does not take everything and overheat. A saturated tunnel loses
//! to any other. Should the winner belong to another shard, a few tunnels of this shard get a
//! second chance: one that is as good but for the dice spares the client's move.

use std::{rc::Rc, sync::Arc, time::Duration};

use rand::{Rng, RngExt};

use crate::{
    directory::{Directory, TunnelEntry, TunnelKey},
    limits::{CANDIDATES, LOCAL_CANDIDATES, LOCAL_PREFERENCE_PERCENT, UNKNOWN_RTT},
    tunnel::{Core, Tunnel},
};

/// Where a session goes.
#[derive(Debug, Clone)]
pub enum Route {
    /// To a tunnel of this shard.
    Here(Rc<Tunnel>),
    /// To a tunnel of another shard.
    There(TunnelKey),
}

/// Chooses a tunnel; `None` where no tunnel is ready.
pub fn choose(core: &Core) -> Option<Route> {
    let key = best(&core.directory.borrow(), &mut *core.rng.borrow_mut())?.key;
    if key.shard != core.shard {
        return Some(Route::There(key));
    }
    core.tunnels
        .borrow()
        .get(key)
        .map(|tunnel| Route::Here(Rc::clone(tunnel)))
}

/// The best of a handful of tunnels that are drawn from all of `directory`; `None` where there is
/// none.
pub fn best<'a>(directory: &'a Directory, rng: &mut impl Rng) -> Option<&'a Arc<TunnelEntry>> {
    let drawn: [_; CANDIDATES] = directory.all().sample(rng);
    let winner = drawn
        .into_iter()
        .flatten()
        .min_by_key(|entry| score(entry, rng))?;
    if winner.key.shard == directory.shard() {
        return Some(winner);
    }
    let drawn: [_; LOCAL_CANDIDATES] = directory.local().sample(rng);
    let local = drawn
        .into_iter()
        .flatten()
        .filter(|entry| as_good(entry, winner));
    Some(
        local
            .min_by_key(|entry| round_trip(entry))
            .unwrap_or(winner),
    )
}

/// Saturation first, then the round trip in microseconds with up to 20 % of noise.
fn score(entry: &TunnelEntry, rng: &mut impl Rng) -> (bool, u128) {
    let noise = rng.random_range(1000..1200);
    (entry.is_saturated(), round_trip(entry).as_micros() * noise)
}

fn as_good(entry: &TunnelEntry, other: &TunnelEntry) -> bool {
    let limit = round_trip(other) * (100 + LOCAL_PREFERENCE_PERCENT) / 100;
    round_trip(entry) <= limit && entry.is_saturated() <= other.is_saturated()
}

fn round_trip(entry: &TunnelEntry) -> Duration {
    entry.rtt().unwrap_or(UNKNOWN_RTT).max(SAME)
}

/// Round trips below this are all the same: differences on one machine are noise.
const SAME: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;
    use crate::directory::ShardId;

    const HERE: ShardId = ShardId(0);
    const THERE: ShardId = ShardId(1);

    fn directory(tunnels: &[(ShardId, u64, bool)]) -> Directory {
        let mut directory = Directory::new(HERE);
        for (serial, &(shard, rtt_ms, saturated)) in (0..).zip(tunnels) {
            let entry = TunnelEntry::for_tests(TunnelKey {
                shard,
                slot: serial,
                serial,
            });
            entry.update(Some(Duration::from_millis(rtt_ms)), 0, saturated);
            directory.insert(Arc::new(entry));
        }
        directory
    }

    /// How often each tunnel is chosen in a thousand times.
    fn chosen(directory: &Directory) -> HashMap<u32, u32> {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut counts = HashMap::new();
        for _ in 0..1000 {
            let entry = best(directory, &mut rng).expect("there are tunnels");
            *counts.entry(entry.key.serial).or_default() += 1;
        }
        counts
    }

    #[test]
    fn no_tunnel_no_route() {
        assert!(best(&directory(&[]), &mut SmallRng::seed_from_u64(1)).is_none());
    }

    #[test]
    fn the_nearest_wins_and_near_ones_share() {
        let counts = chosen(&directory(&[
            (HERE, 20, false),
            (HERE, 22, false),
            (HERE, 60, false),
            (HERE, 200, false),
        ]));
        assert_eq!(counts.len(), 2, "the far ones are left alone: {counts:?}");
        assert!(counts[&0] > counts[&1] && counts[&1] > 100, "{counts:?}");
    }

    #[test]
    fn a_saturated_tunnel_is_the_last_resort() {
        let counts = chosen(&directory(&[(HERE, 1, true), (HERE, 300, false)]));
        assert_eq!(counts, HashMap::from([(1, 1000)]));
        assert_eq!(chosen(&directory(&[(HERE, 1, true)]))[&0], 1000);
    }

    #[test]
    fn a_local_tunnel_wins_among_equals_and_only_there() {
        let mut tunnels = vec![(THERE, 50, false); 50];
        tunnels.push((HERE, 52, false));
        assert_eq!(chosen(&directory(&tunnels)), HashMap::from([(50, 1000)]));
        tunnels[50] = (HERE, 100, false);
        assert!(
            !chosen(&directory(&tunnels)).contains_key(&50),
            "it is twice as far"
        );
    }
}
