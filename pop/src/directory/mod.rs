//! Every ready tunnel of the PoP, as each shard knows them.
//!
//! Each shard holds a directory of its own, kept current by messages from the shards that own
//! tunnels, so that a choice takes no lock and no cache line is written to read it. What changes
//! all the time (round trip, load) lives in atomics that the owner writes and everybody reads; a
//! reader may see a value that is a moment old, which a choice among random candidates forgives.
//!
//! One table for the process was refused: it would be copied as a whole, or locked, for each of a
//! hundred thousand tunnels that comes or goes.

mod entry;

use std::{
    collections::{HashMap, hash_map},
    sync::Arc,
};

use rand::{Rng, RngExt};

pub use entry::{ShardId, TunnelEntry, TunnelKey};

/// One shard's copy of the directory. Adding, removing and drawing are O(1).
#[derive(Debug)]
pub struct Directory {
    shard: ShardId,
    all: TunnelSet,
    local: TunnelSet,
}

impl Directory {
    /// An empty directory for `shard`.
    pub fn new(shard: ShardId) -> Self {
        Self {
            shard,
            all: TunnelSet::default(),
            local: TunnelSet::default(),
        }
    }

    /// Adds a tunnel that is ready for sessions.
    pub fn insert(&mut self, entry: Arc<TunnelEntry>) {
        if entry.key.shard == self.shard {
            self.local.insert(Arc::clone(&entry));
        }
        self.all.insert(entry);
    }

    /// Removes a tunnel that takes no more sessions.
    pub fn remove(&mut self, key: TunnelKey) {
        self.local.remove(key);
        self.all.remove(key);
    }

    /// The shard whose copy this is.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The tunnels of all shards.
    pub fn all(&self) -> &TunnelSet {
        &self.all
    }

    /// The tunnels of this shard.
    pub fn local(&self) -> &TunnelSet {
        &self.local
    }
}

/// A set of tunnels from which some can be drawn at random.
#[derive(Debug, Default)]
pub struct TunnelSet {
    entries: Vec<Arc<TunnelEntry>>,
    /// Where in `entries` a tunnel stands. Invariant: `entries[places[key]].key == key`.
    places: HashMap<TunnelKey, usize>,
}

impl TunnelSet {
    /// Adds a tunnel.
    pub fn insert(&mut self, entry: Arc<TunnelEntry>) {
        if let hash_map::Entry::Vacant(place) = self.places.entry(entry.key) {
            place.insert(self.entries.len());
            self.entries.push(entry);
        }
    }

    /// Removes a tunnel and gives it back.
    pub fn remove(&mut self, key: TunnelKey) -> Option<Arc<TunnelEntry>> {
        let place = self.places.remove(&key)?;
        let removed = self.entries.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.key, place);
        }
        Some(removed)
    }

    /// Whether a tunnel is among them.
    pub fn contains(&self, key: TunnelKey) -> bool {
        self.places.contains_key(&key)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Draws up to `N` distinct tunnels at random, by Floyd's algorithm: no draw is thrown away.
    pub fn sample<const N: usize>(&self, rng: &mut impl Rng) -> [Option<&Arc<TunnelEntry>>; N] {
        let count = self.entries.len();
        let mut chosen = [usize::MAX; N];
        for (slot, limit) in (count.saturating_sub(N)..count).enumerate() {
            let drawn = rng.random_range(0..=limit);
            let fresh = if chosen.contains(&drawn) {
                limit
            } else {
                drawn
            };
            if let Some(place) = chosen.get_mut(slot) {
                *place = fresh;
            }
        }
        chosen.map(|index| self.entries.get(index))
    }

    /// All tunnels, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TunnelEntry>> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    fn entry(serial: u32) -> Arc<TunnelEntry> {
        Arc::new(TunnelEntry::for_tests(TunnelKey {
            shard: ShardId(0),
            slot: serial,
            serial,
        }))
    }

    #[test]
    fn removal_keeps_every_other_tunnel_findable() {
        let mut set = TunnelSet::default();
        let entries: Vec<_> = (0..10).map(entry).collect();
        entries
            .iter()
            .for_each(|entry| set.insert(Arc::clone(entry)));
        set.insert(Arc::clone(&entries[3]));
        for gone in [9, 0, 4] {
            assert!(set.remove(entries[gone].key).is_some());
        }
        assert!(set.remove(entries[4].key).is_none());
        let left: HashSet<_> = set.iter().map(|entry| entry.key.serial).collect();
        assert_eq!(left, HashSet::from([1, 2, 3, 5, 6, 7, 8]));
        for (key, &place) in &set.places {
            assert_eq!(set.entries[place].key, *key);
        }
    }

    #[test]
    fn a_sample_is_distinct_bounded_and_reaches_everyone() {
        let mut set = TunnelSet::default();
        let mut rng = SmallRng::seed_from_u64(1);
        assert!(set.sample::<4>(&mut rng).iter().all(Option::is_none));
        let mut seen = HashSet::new();
        for count in 1..=20 {
            set.insert(entry(count));
            for _ in 0..200 {
                let drawn = set.sample::<4>(&mut rng);
                let keys: Vec<_> = drawn.iter().flatten().map(|entry| entry.key).collect();
                assert_eq!(keys.len(), set.len().min(4));
                assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
                seen.extend(keys);
            }
        }
        assert_eq!(seen.len(), 20);
    }
}
