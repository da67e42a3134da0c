//! Who is online, in memory: PoPs by their heartbeats, nodes by their PoPs' word.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use titan_proto::control::{NodeId, PopId};
use tokio::time::Instant;

use crate::{
    limits,
    store::{Heartbeat, HeartbeatOutcome, LivePop, NodeLocation, PopPresence},
};

/// Every PoP that sent a heartbeat lately, and the nodes they hold.
///
/// Invariant: `holders[n]` names exactly the PoPs whose `nodes` hold `n`, each once.
#[derive(Debug, Default)]
pub(super) struct Presence {
    pops: HashMap<PopId, PopState>,
    /// The PoPs that hold a node, the one that reported it last at the end. More than one where a
    /// node has moved on before its former PoP noticed.
    holders: HashMap<NodeId, Vec<NodeLocation>>,
}

#[derive(Debug)]
struct PopState {
    boot_id: String,
    sequence: u64,
    /// Whether `nodes` is not what the PoP holds, until it has sent the whole list.
    awaits_full: bool,
    presence: PopPresence,
    expires: Instant,
    nodes: HashSet<NodeId>,
}

impl Presence {
    /// Takes in a heartbeat that arrived at `now`.
    pub(super) fn record(
        &mut self,
        id: &PopId,
        heartbeat: Heartbeat,
        now: Instant,
        ttl: Duration,
    ) -> HeartbeatOutcome {
        self.expire(now);
        let Heartbeat {
            boot_id,
            sequence,
            presence,
            full,
            connected,
            disconnected,
        } = heartbeat;
        let (awaits_full, nodes) = match self.pops.get_mut(id) {
            Some(pop) if pop.boot_id == boot_id && sequence <= pop.sequence => {
                return HeartbeatOutcome::Stale;
            }
            Some(pop) if pop.boot_id == boot_id => {
                (pop.awaits_full, std::mem::take(&mut pop.nodes))
            }
            _ => {
                self.forget(id);
                (true, HashSet::new())
            }
        };
        let expires = now + ttl;
        let awaits_full = awaits_full && !full;
        let state = PopState {
            boot_id,
            sequence,
            awaits_full,
            presence,
            expires,
            nodes,
        };
        self.pops.insert(id.clone(), state);
        if awaits_full {
            return HeartbeatOutcome::Resync;
        }
        if full {
            self.release_all_but(id, &connected);
        } else {
            self.release(id, &disconnected);
        }
        let refused = connected
            .into_iter()
            .filter(|&(node, at)| !self.hold(id, node, at))
            .count();
        if refused > 0 {
            tracing::warn!(pop = %id, refused, "[DIAG] a PoP reports more nodes than it may hold");
        }
        HeartbeatOutcome::Applied
    }

    /// What this PoP said last.
    pub(super) fn pop(&mut self, id: &PopId, now: Instant) -> Option<PopPresence> {
        self.expire(now);
        self.pops.get(id).map(|pop| pop.presence.clone())
    }

    /// Every PoP that is online.
    pub(super) fn live(&mut self, now: Instant) -> Vec<LivePop> {
        self.expire(now);
        let live = |(id, pop): (&PopId, &PopState)| LivePop {
            id: id.clone(),
            presence: pop.presence.clone(),
        };
        self.pops.iter().map(live).collect()
    }

    /// Where each node is.
    pub(super) fn locate(&mut self, ids: &[NodeId], now: Instant) -> Vec<Option<NodeLocation>> {
        self.expire(now);
        ids.iter()
            .map(|id| self.holders.get(id)?.last().cloned())
            .collect()
    }

    /// Counts a node that was just sent to the PoP; its next heartbeat puts the number right.
    pub(super) fn expect_tunnel(&mut self, id: &PopId) {
        if let Some(pop) = self.pops.get_mut(id) {
            pop.presence.tunnels = pop.presence.tunnels.saturating_add(1);
        }
    }

    /// Forgets the PoP and what it said of its nodes.
    pub(super) fn forget(&mut self, id: &PopId) {
        if let Some(pop) = self.pops.remove(id) {
            pop.nodes
                .into_iter()
                .for_each(|node| release_holder(&mut self.holders, node, id));
        }
    }

    fn expire(&mut self, now: Instant) {
        let is_over = |(id, pop): (&PopId, &PopState)| (pop.expires <= now).then(|| id.clone());
        let over: Vec<PopId> = self.pops.iter().filter_map(is_over).collect();
        over.iter().for_each(|id| self.forget(id));
    }

    /// Notes that the PoP holds the node. False: it holds too many already.
    fn hold(&mut self, id: &PopId, node: NodeId, address: IpAddr) -> bool {
        let Some(pop) = self.pops.get_mut(id) else {
            return false;
        };
        if pop.nodes.len() >= limits::MAX_NODES_PER_POP && !pop.nodes.contains(&node) {
            return false;
        }
        let holders = self.holders.entry(node).or_default();
        if pop.nodes.insert(node) {
            holders.push(NodeLocation {
                pop: id.clone(),
                address,
            });
        } else if let Some(holder) = holders.iter_mut().find(|holder| holder.pop == *id) {
            holder.address = address;
        }
        true
    }

    fn release(&mut self, id: &PopId, nodes: &[NodeId]) {
        let Some(pop) = self.pops.get_mut(id) else {
            return;
        };
        for node in nodes.iter().filter(|node| pop.nodes.remove(node)) {
            release_holder(&mut self.holders, *node, id);
        }
    }

    fn release_all_but(&mut self, id: &PopId, kept: &[(NodeId, IpAddr)]) {
        let kept: HashSet<NodeId> = kept.iter().map(|&(node, _)| node).collect();
        let Some(pop) = self.pops.get(id) else { return };
        let gone: Vec<NodeId> = pop.nodes.difference(&kept).copied().collect();
        self.release(id, &gone);
    }
}

fn release_holder(holders: &mut HashMap<NodeId, Vec<NodeLocation>>, node: NodeId, pop: &PopId) {
    if let Some(locations) = holders.get_mut(&node) {
        locations.retain(|holder| holder.pop != *pop);
        if locations.is_empty() {
            holders.remove(&node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(sequence: u64, first: usize, count: usize) -> Heartbeat {
        let node = |number: usize| format!("{number:032x}").parse().expect("a node id");
        let address = IpAddr::from([192, 0, 2, 1]);
        let presence = PopPresence {
            tunnel_url: "ws://p1/tunnel".into(),
            proxy_addr: "p1:1080".into(),
            version: "1".into(),
            region: None,
            tunnels: 0,
            sessions: 0,
            accepting: true,
        };
        Heartbeat {
            boot_id: "run".into(),
            sequence,
            presence,
            full: sequence == 1,
            connected: (first..first + count)
                .map(|number| (node(number), address))
                .collect(),
            disconnected: Vec::new(),
        }
    }

    #[test]
    fn a_pop_cannot_fill_the_memory_bit_by_bit() {
        let (mut presence, now) = (Presence::default(), Instant::now());
        let id = "p1".parse().expect("an id");
        let most = limits::MAX_NODES_PER_POP;
        for (sequence, first) in [(1, 0), (2, most), (3, most - 1)] {
            let heartbeat = heartbeat(sequence, first, if first == 0 { most } else { 2 });
            let outcome = presence.record(&id, heartbeat, now, limits::POP_SILENCE);
            assert_eq!(outcome, HeartbeatOutcome::Applied);
            assert_eq!(
                (presence.holders.len(), presence.pops[&id].nodes.len()),
                (most, most)
            );
        }
        presence.expire(now + limits::POP_SILENCE);
        assert!(presence.holders.is_empty() && presence.pops.is_empty());
    }
}
