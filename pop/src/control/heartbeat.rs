//! Heartbeats: the manager learns which nodes are here, the PoP learns whom to believe.
//!
//! Nodes travel as changes since the last heartbeat that was answered. A node whose tunnel comes
//! and goes between two heartbeats is reported as it is in the end. When the manager does not hold
//! the state that the changes continue, it asks for the whole list.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use titan_proto::control::{NodeConnected, NodeId, PopHeartbeat, PopHeartbeatReply};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout_at},
};

use super::{Advertised, Manager, manager::ManagerError};
use crate::{
    directory::TunnelKey,
    limits::{FIRST_HEARTBEAT_INTERVAL, HEARTBEAT_DEBOUNCE, HEARTBEAT_INTERVAL},
    mesh::{Mesh, News, Status, TokenAuthority},
    metrics::Metrics,
};

/// Something the manager should hear of soon.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// A tunnel of a node is ready.
    Up(TunnelKey, NodeId, IpAddr),
    /// A tunnel of a node takes no more sessions.
    Down(TunnelKey, NodeId),
    /// The PoP takes no new nodes.
    Draining,
}

/// The task that sends them.
pub(super) struct Heartbeat {
    manager: Manager,
    mesh: Mesh,
    metrics: Arc<Metrics>,
    status: Arc<Status>,
    advertised: Advertised,
    boot_id: String,
    sequence: u64,
    nodes: Nodes,
    authority: Option<TokenAuthority>,
    trouble: bool,
}

impl Heartbeat {
    pub(super) fn new(
        manager: Manager,
        mesh: Mesh,
        metrics: Arc<Metrics>,
        status: Arc<Status>,
        advertised: Advertised,
    ) -> Self {
        let boot_id = format!("{:016x}", rand::random::<u64>());
        let (nodes, authority) = (Nodes::default(), None);
        let (sequence, trouble) = (0, false);
        Self {
            manager,
            mesh,
            metrics,
            status,
            advertised,
            boot_id,
            sequence,
            nodes,
            authority,
            trouble,
        }
    }

    /// Sends heartbeats until `stopped`, and then a last one.
    pub(super) async fn run(
        mut self,
        mut changes: mpsc::UnboundedReceiver<Change>,
        mut stopped: oneshot::Receiver<()>,
    ) {
        loop {
            let interval = self.beat().await;
            let next = Instant::now() + interval;
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.gather(&mut changes, next) => {}
                _ = &mut stopped => break,
            }
        }
        while let Ok(change) = changes.try_recv() {
            self.nodes.apply(change);
        }
        self.beat().await;
    }

    /// Waits for a change and then a moment for more of them.
    async fn gather(&mut self, changes: &mut mpsc::UnboundedReceiver<Change>, next: Instant) {
        let Some(first) = changes.recv().await else {
            return sleep_until(next).await;
        };
        self.nodes.apply(first);
        let soon = (Instant::now() + HEARTBEAT_DEBOUNCE).min(next);
        while let Ok(Some(change)) = timeout_at(soon, changes.recv()).await {
            self.nodes.apply(change);
        }
    }

    /// Sends one heartbeat and says how long to wait for the next.
    async fn beat(&mut self) -> Duration {
        self.sequence += 1;
        let heartbeat = self.compose();
        match self.manager.heartbeat(&heartbeat).await {
            Ok(reply) => {
                self.nodes.answered(reply.resync);
                let at_once = reply.resync && !heartbeat.full;
                self.accept(reply);
                if at_once {
                    Duration::ZERO
                } else {
                    HEARTBEAT_INTERVAL
                }
            }
            Err(error) => self.unanswered(&error),
        }
    }

    fn compose(&self) -> PopHeartbeat {
        let (connected, disconnected) = self.nodes.report();
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        PopHeartbeat {
            boot_id: self.boot_id.clone(),
            sequence: self.sequence,
            tunnel_url: self.advertised.tunnel_url.clone(),
            proxy_addr: self.advertised.proxy_addr.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tunnels: number(self.metrics.sum(|m| m.tunnels_active.get())),
            sessions: number(self.metrics.sum(|m| m.sessions_active.get())),
            accepting: !self.status.is_draining(),
            full: self.nodes.full,
            connected,
            disconnected,
        }
    }

    /// Takes in who we are and whom to believe. It outlives the manager's absence.
    fn accept(&mut self, reply: PopHeartbeatReply) {
        if std::mem::take(&mut self.trouble) {
            tracing::info!("the manager answers again");
        }
        let mut key = [0; 32];
        if hex::decode_to_slice(&reply.token_key, &mut key).is_err() {
            tracing::error!("the manager's token key is not 64 hexadecimal digits; ignored");
            return;
        }
        let authority = TokenAuthority {
            pop: reply.pop,
            key,
        };
        if self.authority.as_ref() != Some(&authority) {
            tracing::info!(pop = %authority.pop, "registered with the manager");
            self.mesh
                .broadcast(&News::Authority(Arc::new(authority.clone())), None);
            self.authority = Some(authority);
            self.status.set_authority_known();
        }
    }

    fn unanswered(&mut self, error: &ManagerError) -> Duration {
        if !std::mem::replace(&mut self.trouble, true) {
            tracing::warn!(%error, "no heartbeat; known users are served meanwhile");
        }
        match self.authority {
            Some(_) => HEARTBEAT_INTERVAL,
            None => FIRST_HEARTBEAT_INTERVAL,
        }
    }
}

/// Which nodes are here, and what of it the manager does not know yet.
#[derive(Debug)]
struct Nodes {
    /// A node that reconnects has two tunnels for a while; it leaves with the last one.
    tunnels: HashMap<NodeId, Vec<(TunnelKey, IpAddr)>>,
    changed: HashSet<NodeId>,
    full: bool,
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            tunnels: HashMap::new(),
            changed: HashSet::new(),
            full: true,
        }
    }
}

impl Nodes {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Up(key, node, address) => {
                self.tunnels.entry(node).or_default().push((key, address));
                self.changed.insert(node);
            }
            Change::Down(key, node) => {
                let Some(tunnels) = self.tunnels.get_mut(&node) else {
                    return;
                };
                tunnels.retain(|(other, _)| *other != key);
                if tunnels.is_empty() {
                    self.tunnels.remove(&node);
                }
                self.changed.insert(node);
            }
            Change::Draining => {}
        }
    }

    /// Nodes that came and nodes that left.
    fn report(&self) -> (Vec<NodeConnected>, Vec<NodeId>) {
        let connected = |&node: &NodeId| {
            let (_, address) = self.tunnels.get(&node)?.last()?;
            Some(NodeConnected {
                node,
                address: *address,
            })
        };
        if self.full {
            return (
                self.tunnels.keys().filter_map(connected).collect(),
                Vec::new(),
            );
        }
        let here = self.changed.iter().filter_map(connected).collect();
        let gone = self
            .changed
            .iter()
            .filter(|node| !self.tunnels.contains_key(node))
            .copied();
        (here, gone.collect())
    }

    /// The manager has heard the last report, and may want all of it.
    fn answered(&mut self, resync: bool) {
        self.changed.clear();
        self.full = resync;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::ShardId;

    fn key(serial: u32) -> TunnelKey {
        TunnelKey {
            shard: ShardId(0),
            slot: 0,
            serial,
        }
    }

    fn node(number: u8) -> NodeId {
        NodeId::from_public_key(&[number; 32])
    }

    fn up(serial: u32, number: u8) -> Change {
        Change::Up(key(serial), node(number), IpAddr::from([192, 0, 2, number]))
    }

    fn ids(connected: &[NodeConnected]) -> Vec<NodeId> {
        connected.iter().map(|connected| connected.node).collect()
    }

    #[test]
    fn changes_accumulate_until_they_are_answered() {
        let mut nodes = Nodes::default();
        nodes.answered(false);
        nodes.apply(up(1, 1));
        assert_eq!(ids(&nodes.report().0), [node(1)]);
        assert_eq!(ids(&nodes.report().0), [node(1)], "not answered yet");
        nodes.answered(false);
        assert_eq!(nodes.report(), (vec![], vec![]));
        nodes.apply(Change::Down(key(1), node(1)));
        assert_eq!(nodes.report(), (vec![], vec![node(1)]));
    }

    #[test]
    fn a_node_with_a_second_tunnel_has_not_left() {
        let mut nodes = Nodes::default();
        nodes.apply(up(1, 1));
        nodes.answered(false);
        nodes.apply(up(2, 1));
        nodes.apply(Change::Down(key(1), node(1)));
        let (here, gone) = nodes.report();
        assert_eq!((ids(&here), gone), (vec![node(1)], vec![]));
    }

    #[test]
    fn the_whole_list_goes_out_first_and_on_demand() {
        let mut nodes = Nodes::default();
        assert!(nodes.full);
        nodes.apply(up(1, 1));
        nodes.answered(true);
        assert_eq!(ids(&nodes.report().0), [node(1)]);
        nodes.answered(false);
        assert!(nodes.report().0.is_empty());
    }
}
