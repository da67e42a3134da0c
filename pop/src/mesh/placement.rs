//! Which shard a new tunnel goes to, and how many tunnels each node has.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use titan_proto::control::NodeId;

use crate::{directory::ShardId, limits::MAX_TUNNELS_PER_NODE};

/// Tunnels by shard and by node, those included that have not said HELLO yet. The shards share it
/// under a lock, which they take once when a tunnel comes and once when it goes: two tunnels of a
/// node that come to two listeners at the same time must know of each other.
#[derive(Debug, Clone)]
pub(super) struct Placement(Arc<Mutex<Reserved>>);

#[derive(Debug)]
struct Reserved {
    /// Tunnels of each shard.
    shards: Box<[u32]>,
    /// The shards of each node's tunnels, one entry for each tunnel.
    nodes: HashMap<NodeId, Vec<ShardId>>,
}

/// A tunnel's place on a shard, given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    node: NodeId,
    shard: ShardId,
    placement: Placement,
}

impl Reservation {
    /// The shard that owns the tunnel, or will.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The edge at the tunnel's other end.
    pub fn node(&self) -> NodeId {
        self.node
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.placement.lock().release(self.node, self.shard);
    }
}

impl Placement {
    pub(super) fn new(shards: u16) -> Self {
        Self(Arc::new(Mutex::new(Reserved {
            shards: vec![0; shards.into()].into(),
            nodes: HashMap::new(),
        })))
    }

    /// Reserves a place for a tunnel of `node` that `local` has accepted; `None` where the node has
    /// as many tunnels as it may.
    pub(super) fn reserve(&self, node: NodeId, local: ShardId) -> Option<Reservation> {
        let shard = self.lock().reserve(node, local)?;
        Some(Reservation {
            node,
            shard,
            placement: self.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Reserved> {
        // Every change is one step: a panic elsewhere leaves the numbers right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved {
    fn reserve(&mut self, node: NodeId, local: ShardId) -> Option<ShardId> {
        let of_node = self.nodes.get(&node).map_or(&[][..], Vec::as_slice);
        if of_node.len() >= MAX_TUNNELS_PER_NODE {
            return None;
        }
        let here = |shard| of_node.iter().filter(|&&other| other == shard).count();
        let (shard, load) = (0..)
            .map(ShardId)
            .zip(&mut self.shards)
            .min_by_key(|(shard, load)| (**load, here(*shard), *shard != local))?;
        *load += 1;
        self.nodes.entry(node).or_default().push(shard);
        Some(shard)
    }

    fn release(&mut self, node: NodeId, shard: ShardId) {
        if let Some(load) = self.shards.get_mut(shard.index()) {
            *load = load.saturating_sub(1);
        }
        let Entry::Occupied(mut of_node) = self.nodes.entry(node) else {
            return;
        };
        if let Some(place) = of_node.get().iter().position(|&other| other == shard) {
            of_node.get_mut().swap_remove(place);
        }
        if of_node.get().is_empty() {
            of_node.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_public_key(&[number; 32])
    }

    fn reserve(placement: &Placement, number: u8, local: u16) -> Reservation {
        let place = placement.reserve(node(number), ShardId(local));
        place.expect("there is room")
    }

    #[test]
    fn the_emptiest_shard_is_chosen_and_the_local_one_among_equals() {
        let placement = Placement::new(3);
        let first = reserve(&placement, 1, 1);
        assert_eq!(first.shard(), ShardId(1));
        let others = [reserve(&placement, 2, 1), reserve(&placement, 3, 1)];
        assert_eq!(
            others.each_ref().map(Reservation::shard),
            [ShardId(0), ShardId(2)]
        );
        drop(first);
        assert_eq!(reserve(&placement, 4, 0).shard(), ShardId(1), "given back");
    }

    #[test]
    fn among_equally_loaded_shards_one_without_the_node_is_preferred() {
        let placement = Placement::new(2);
        let _mine = reserve(&placement, 1, 0);
        let _other = reserve(&placement, 2, 0);
        // Both shards have one tunnel now; the node has its own on the local one.
        assert_eq!(reserve(&placement, 1, 0).shard(), ShardId(1));
    }

    #[test]
    fn a_node_has_so_many_tunnels_and_no_more() {
        let placement = Placement::new(2);
        let mut places: Vec<_> = (0..MAX_TUNNELS_PER_NODE)
            .map(|_| reserve(&placement, 1, 0))
            .collect();
        assert!(placement.reserve(node(1), ShardId(0)).is_none());
        assert!(placement.reserve(node(2), ShardId(0)).is_some());
        places.pop();
        assert!(placement.reserve(node(1), ShardId(0)).is_some());
        drop(places);
        assert!(placement.lock().nodes.is_empty(), "nothing is left behind");
        assert_eq!(*placement.lock().shards, [0, 0]);
    }
}
