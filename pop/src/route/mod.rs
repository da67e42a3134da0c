//! Which tunnel carries a session.
//!
//! A handful of random nodes out of any number compete, so that a choice costs the same for ten
//! and for a hundred thousand. The lowest score wins: the round trip, made up to a fifth worse at
//! random, so that the best node does not take everything and overheat. A saturated tunnel loses
//! to any other. Should the winner's tunnel belong to another shard, a few nodes with tunnels of
//! this shard get a second chance: one that is as good but for the dice spares the client's move.
//!
//! The tunnels of one node share its line. Of those, one of this shard is taken unless it is
//! saturated and another is not; of several, the one with the fewest sessions.
//!
//! A session that edges have failed goes to a node that has not failed it yet, as long as there is
//! one, else to a tunnel that has not.

use std::{rc::Rc, sync::Arc, time::Duration};

use rand::{Rng, RngExt};

use crate::{
    directory::{Directory, NodeTunnels, ShardId, TunnelEntry, TunnelKey},
    limits::{CANDIDATES, LOCAL_CANDIDATES, LOCAL_PREFERENCE_PERCENT, UNKNOWN_RTT},
    mesh::Failed,
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

/// Chooses a tunnel that is none of the `failed`; `None` where no such tunnel is ready.
pub fn choose(core: &Core, failed: &[Failed]) -> Option<Route> {
    let directory = core.directory.borrow();
    let key = best(&directory, failed, &mut *core.rng.borrow_mut())
        .or_else(|| spare(&directory, failed))?
        .key;
    if key.shard != core.shard {
        return Some(Route::There(key));
    }
    core.tunnels
        .borrow()
        .get(key)
        .map(|tunnel| Route::Here(Rc::clone(tunnel)))
}

/// The best tunnel of a handful of nodes that are drawn from all of `directory` and are not among the
/// failed ones; `None` where there is none.
pub fn best<'a>(
    directory: &'a Directory,
    failed: &[Failed],
    rng: &mut impl Rng,
) -> Option<&'a Arc<TunnelEntry>> {
    let here = directory.shard();
    let usable = |node: &&NodeTunnels| failed.iter().all(|failed| failed.node != node.node());
    // As few have failed as there are more candidates: one is left, where there is one.
    let drawn: [_; CANDIDATES] = directory.all().sample(rng);
    let winner = drawn
        .into_iter()
        .flatten()
        .filter(usable)
        .filter_map(|node| lightest(node.tunnels(), here))
        .min_by_key(|entry| score(entry, rng))?;
    if winner.key.shard == here {
        return Some(winner);
    }
    let drawn: [_; LOCAL_CANDIDATES] = directory.local().sample(rng);
    let local = drawn
        .into_iter()
        .flatten()
        .filter(usable)
        .filter_map(|node| lightest(node.tunnels(), here))
        .filter(|entry| as_good(entry, winner));
    Some(
        local
            .min_by_key(|entry| round_trip(entry))
            .unwrap_or(winner),
    )
}

/// Another tunnel of a node that has failed the session: its line may be as good as ever.
fn spare<'a>(directory: &'a Directory, failed: &[Failed]) -> Option<&'a Arc<TunnelEntry>> {
    let usable = |entry: &&Arc<TunnelEntry>| failed.iter().all(|failed| failed.tunnel != entry.key);
    failed
        .iter()
        .filter_map(|failed| directory.all().get(failed.node))
        .filter_map(|node| lightest(node.tunnels().iter().filter(usable), directory.shard()))
        .min_by_key(|entry| round_trip(entry))
}

/// The one of a node's tunnels that a new session does best in.
fn lightest<'a>(
    tunnels: impl IntoIterator<Item = &'a Arc<TunnelEntry>>,
    here: ShardId,
) -> Option<&'a Arc<TunnelEntry>> {
    tunnels.into_iter().min_by_key(|entry| {
        (
            entry.is_saturated(),
            entry.key.shard != here,
            entry.sessions(),
        )
    })
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
    use titan_proto::{mux::Reset, reason::Reason};

    use super::*;

    const HERE: ShardId = ShardId(0);
    const THERE: ShardId = ShardId(1);

    /// A directory of nodes with one tunnel each, all numbered in order.
    fn directory(tunnels: &[(ShardId, u64, bool)]) -> Directory {
        let mut directory = Directory::new(HERE);
        for (number, &(shard, rtt_ms, saturated)) in (0..).zip(tunnels) {
            let entry = entry(shard, number.into(), number);
            entry.update(Some(Duration::from_millis(rtt_ms)), 0, saturated);
            directory.insert(entry);
        }
        directory
    }

    fn entry(shard: ShardId, serial: u32, node: u8) -> Arc<TunnelEntry> {
        let key = TunnelKey {
            shard,
            slot: serial,
            serial,
        };
        Arc::new(TunnelEntry::for_tests(key, node))
    }

    /// How often each tunnel is chosen in a thousand times.
    fn chosen(directory: &Directory) -> HashMap<u32, u32> {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut counts = HashMap::new();
        for _ in 0..1000 {
            let entry = best(directory, &[], &mut rng).expect("there are tunnels");
            *counts.entry(entry.key.serial).or_default() += 1;
        }
        counts
    }

    fn failed(entry: &TunnelEntry) -> Failed {
        Failed {
            tunnel: entry.key,
            node: entry.node,
            reset: Reset::new(Reason::EdgeGone),
        }
    }

    #[test]
    fn no_tunnel_no_route() {
        let mut rng = SmallRng::seed_from_u64(1);
        assert!(best(&directory(&[]), &[], &mut rng).is_none());
        assert!(spare(&directory(&[]), &[]).is_none());
    }

    #[test]
    fn a_node_counts_once_however_many_tunnels_it_has() {
        let mut directory = Directory::new(HERE);
        directory.insert(entry(HERE, 0, 0));
        for serial in 1..=9 {
            directory.insert(entry(HERE, serial, 1));
        }
        let alone = chosen(&directory)[&0];
        assert!((400..600).contains(&alone), "{alone} of 1000");
    }

    #[test]
    fn of_a_nodes_tunnels_the_local_one_with_the_fewest_sessions_is_taken() {
        let mut directory = Directory::new(HERE);
        let tunnels = [(HERE, 7, false), (HERE, 3, false), (THERE, 0, false)];
        let mut entries = Vec::new();
        for (serial, (shard, sessions, saturated)) in (0..).zip(tunnels) {
            let entry = entry(shard, serial, 1);
            entry.update(None, sessions, saturated);
            directory.insert(Arc::clone(&entry));
            entries.push(entry);
        }
        assert_eq!(chosen(&directory), HashMap::from([(1, 1000)]));
        entries[0].update(None, 7, true);
        entries[1].update(None, 3, true);
        assert_eq!(chosen(&directory), HashMap::from([(2, 1000)]), "full");
    }

    #[test]
    fn what_failed_a_session_does_not_get_it_back() {
        let mut directory = Directory::new(HERE);
        let mut rng = SmallRng::seed_from_u64(1);
        let tunnels = [entry(HERE, 0, 0), entry(THERE, 1, 0), entry(HERE, 2, 1)];
        tunnels
            .iter()
            .for_each(|entry| directory.insert(Arc::clone(entry)));
        let mut gone = vec![failed(&tunnels[0])];
        for _ in 0..100 {
            let other = best(&directory, &gone, &mut rng).expect("another node");
            assert_eq!(other.key, tunnels[2].key);
        }
        gone.push(failed(&tunnels[2]));
        assert!(best(&directory, &gone, &mut rng).is_none());
        let spared = spare(&directory, &gone).expect("another tunnel of a node");
        assert_eq!(spared.key, tunnels[1].key);
        gone.push(failed(&tunnels[1]));
        assert!(spare(&directory, &gone).is_none());
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
