//! Every node with ready tunnels, as each shard knows them.
//!
//! Each shard holds a directory of its own, kept current by messages from the shards that own
//! tunnels, so that a choice takes no lock and no cache line is written to read it. What changes
//! all the time (round trip, load) lives in atomics that the owner writes and everybody reads; a
//! reader may see a value that is a moment old, which a choice among random candidates forgives.
//!
//! Nodes are drawn, not tunnels: a node that keeps sixteen tunnels open has no more line than one
//! that keeps one, and must not get sixteen times the sessions.
//!
//! One table for the process was refused: it would be copied as a whole, or locked, for each of a
//! hundred thousand tunnels that comes or goes.

mod entry;

use std::{collections::HashMap, sync::Arc};

use rand::{Rng, RngExt};
use titan_proto::control::NodeId;

pub use entry::{ShardId, TunnelEntry, TunnelKey};

/// One shard's copy of the directory. Adding, removing and drawing are O(1) in the number of nodes.
#[derive(Debug)]
pub struct Directory {
    shard: ShardId,
    all: NodeSet,
    local: NodeSet,
}

impl Directory {
    /// An empty directory for `shard`.
    pub fn new(shard: ShardId) -> Self {
        Self {
            shard,
            all: NodeSet::default(),
            local: NodeSet::default(),
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
    pub fn remove(&mut self, entry: &TunnelEntry) {
        self.local.remove(entry);
        self.all.remove(entry);
    }

    /// The shard whose copy this is.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The nodes with their tunnels of all shards.
    pub fn all(&self) -> &NodeSet {
        &self.all
    }

    /// The nodes that have tunnels of this shard, with those.
    pub fn local(&self) -> &NodeSet {
        &self.local
    }
}

/// A node and its ready tunnels, of which there is at least one.
#[derive(Debug)]
pub struct NodeTunnels {
    node: NodeId,
    tunnels: Vec<Arc<TunnelEntry>>,
}

impl NodeTunnels {
    /// The node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Its tunnels, in no particular order.
    pub fn tunnels(&self) -> &[Arc<TunnelEntry>] {
        &self.tunnels
    }
}

/// A set of nodes from which some can be drawn at random.
#[derive(Debug, Default)]
pub struct NodeSet {
    nodes: Vec<NodeTunnels>,
    /// Where in `nodes` a node stands. Invariant: `nodes[places[id]].node == id`.
    places: HashMap<NodeId, usize>,
}

impl NodeSet {
    /// Adds a tunnel to its node.
    pub fn insert(&mut self, entry: Arc<TunnelEntry>) {
        let (node, next) = (entry.node, self.nodes.len());
        let place = *self.places.entry(node).or_insert(next);
        match self.nodes.get_mut(place) {
            Some(known) if known.tunnels.iter().any(|other| other.key == entry.key) => {}
            Some(known) => known.tunnels.push(entry),
            None => self.nodes.push(NodeTunnels {
                node,
                tunnels: vec![entry],
            }),
        }
    }

    /// Removes a tunnel, and with its last one the node; `false` where it was not there.
    pub fn remove(&mut self, entry: &TunnelEntry) -> bool {
        let Some(&place) = self.places.get(&entry.node) else {
            return false;
        };
        let Some(known) = self.nodes.get_mut(place) else {
            return false;
        };
        let before = known.tunnels.len();
        known.tunnels.retain(|other| other.key != entry.key);
        let (left, removed) = (known.tunnels.len(), known.tunnels.len() < before);
        if left == 0 {
            self.remove_node(entry.node, place);
        }
        removed
    }

    fn remove_node(&mut self, node: NodeId, place: usize) {
        self.places.remove(&node);
        self.nodes.swap_remove(place);
        if let Some(moved) = self.nodes.get(place) {
            self.places.insert(moved.node, place);
        }
    }

    /// A node by its id.
    pub fn get(&self, node: NodeId) -> Option<&NodeTunnels> {
        self.nodes.get(*self.places.get(&node)?)
    }

    /// Whether a tunnel is among theirs.
    pub fn contains(&self, entry: &TunnelEntry) -> bool {
        let known = self.get(entry.node);
        known.is_some_and(|node| node.tunnels.iter().any(|other| other.key == entry.key))
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Draws up to `N` distinct nodes at random, by Floyd's algorithm: no draw is thrown away.
    pub fn sample<const N: usize>(&self, rng: &mut impl Rng) -> [Option<&NodeTunnels>; N] {
        let count = self.nodes.len();
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
        chosen.map(|index| self.nodes.get(index))
    }

    /// All tunnels of all nodes, in no particular order.
    pub fn tunnels(&self) -> impl Iterator<Item = &Arc<TunnelEntry>> {
        self.nodes.iter().flat_map(|node| &node.tunnels)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    /// Tunnel number `serial` of node number `node`.
    fn entry(node: u8, serial: u32) -> Arc<TunnelEntry> {
        let key = TunnelKey {
            shard: ShardId(0),
            slot: serial,
            serial,
        };
        Arc::new(TunnelEntry::for_tests(key, node))
    }

    #[test]
    fn removal_keeps_every_other_node_findable() {
        let mut set = NodeSet::default();
        let entries: Vec<_> = (0..10).map(|number| entry(number, number.into())).collect();
        entries
            .iter()
            .for_each(|entry| set.insert(Arc::clone(entry)));
        for gone in [9, 0, 4] {
            assert!(set.remove(&entries[gone]));
        }
        assert!(!set.remove(&entries[4]));
        let left: HashSet<_> = set.tunnels().map(|entry| entry.key.serial).collect();
        assert_eq!(left, HashSet::from([1, 2, 3, 5, 6, 7, 8]));
        for (node, &place) in &set.places {
            assert_eq!(set.nodes[place].node, *node);
        }
    }

    #[test]
    fn a_node_is_there_once_and_leaves_with_its_last_tunnel() {
        let mut set = NodeSet::default();
        let tunnels: Vec<_> = (0..3).map(|serial| entry(1, serial)).collect();
        for tunnel in [0, 1, 2, 1] {
            set.insert(Arc::clone(&tunnels[tunnel]));
        }
        assert_eq!((set.len(), set.tunnels().count()), (1, 3));
        assert!(set.remove(&tunnels[0]) && set.remove(&tunnels[2]));
        assert_eq!((set.len(), set.tunnels().count()), (1, 1));
        assert!(set.remove(&tunnels[1]));
        assert!(set.is_empty() && set.get(tunnels[1].node).is_none());
    }

    #[test]
    fn a_sample_is_distinct_bounded_and_reaches_everyone() {
        let mut set = NodeSet::default();
        let mut rng = SmallRng::seed_from_u64(1);
        assert!(set.sample::<4>(&mut rng).iter().all(Option::is_none));
        let mut seen = HashSet::new();
        for count in 1..=20 {
            set.insert(entry(count, count.into()));
            for _ in 0..200 {
                let drawn = set.sample::<4>(&mut rng);
                let nodes: Vec<_> = drawn.iter().flatten().map(|node| node.node).collect();
                assert_eq!(nodes.len(), set.len().min(4));
                assert_eq!(nodes.iter().collect::<HashSet<_>>().len(), nodes.len());
                seen.extend(nodes);
            }
        }
        assert_eq!(seen.len(), 20);
    }
}
