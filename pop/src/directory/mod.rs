//! Every ready tunnel of the PoP, as each shard knows them.
//!
//! Each shard holds a directory of its own, kept current by messages from the shards that own
//! tunnels, so that a choice takes no lock and no cache line is written to read it. What changes
//! all the time (round trip, load) lives in atomics that the owner writes and everybody reads; a
//! reader may see a value that is a moment old, which a choice among random candidates forgives.

mod entry;

use std::{collections::HashMap, sync::Arc};

use rand::{Rng, RngExt};

pub use entry::{ShardId, TunnelEntry, TunnelKey};

/// One shard's copy of the directory. Adding, removing and drawing are O(1).
#[derive(Debug, Default)]
pub struct Directory {
    entries: Vec<Arc<TunnelEntry>>,
    /// Where in `entries` a tunnel stands. Invariant: `entries[places[key]].key == key`.
    places: HashMap<TunnelKey, usize>,
}

impl Directory {
    /// Adds a tunnel that is ready for sessions.
    pub fn insert(&mut self, entry: Arc<TunnelEntry>) {
        if let std::collections::hash_map::Entry::Vacant(place) = self.places.entry(entry.key) {
            place.insert(self.entries.len());
            self.entries.push(entry);
        }
    }

    /// Removes a tunnel that takes no more sessions.
    pub fn remove(&mut self, key: TunnelKey) {
        let Some(place) = self.places.remove(&key) else { return };
        self.entries.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.key, place);
        }
    }

    /// Ready tunnels of the whole PoP.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no tunnel is ready.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Up to `N` distinct tunnels, drawn at random.
    pub fn sample<const N: usize>(
        &self,
        rng: &mut impl Rng,
    ) -> impl Iterator<Item = &Arc<TunnelEntry>> {
        let count = self.entries.len();
        // Floyd's algorithm: distinct indices without rejection.
        let mut chosen = [usize::MAX; N];
        for (slot, limit) in (count.saturating_sub(N)..count).enumerate() {
            let drawn = rng.random_range(0..=limit);
            let seen = chosen.get(..slot).is_some_and(|seen| seen.contains(&drawn));
            if let Some(place) = chosen.get_mut(slot) {
                *place = if seen { limit } else { drawn };
            }
        }
        chosen.into_iter().filter_map(|index| self.entries.get(index))
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
        Arc::new(TunnelEntry::for_tests(TunnelKey { shard: ShardId(0), slot: serial, serial }))
    }

    #[test]
    fn removal_keeps_every_other_tunnel_findable() {
        let mut directory = Directory::default();
        let entries: Vec<_> = (0..10).map(entry).collect();
        entries.iter().for_each(|entry| directory.insert(Arc::clone(entry)));
        directory.insert(Arc::clone(&entries[3]));
        for gone in [9, 0, 4, 4] {
            directory.remove(entries[gone].key);
        }
        let left: HashSet<_> = directory.iter().map(|entry| entry.key.serial).collect();
        assert_eq!(left, HashSet::from([1, 2, 3, 5, 6, 7, 8]));
        for (key, &place) in &directory.places {
            assert_eq!(directory.entries[place].key, *key);
        }
    }

    #[test]
    fn a_sample_is_distinct_bounded_and_reaches_everyone() {
        let mut directory = Directory::default();
        let mut rng = SmallRng::seed_from_u64(1);
        assert_eq!(directory.sample::<4>(&mut rng).count(), 0);
        let mut seen = HashSet::new();
        for count in 1..=20 {
            directory.insert(entry(count));
            for _ in 0..200 {
                let keys: Vec<_> = directory.sample::<4>(&mut rng).map(|entry| entry.key).collect();
                assert_eq!(keys.len(), directory.len().min(4));
                assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
                seen.extend(keys);
            }
        }
        assert_eq!(seen.len(), 20);
    }
}
