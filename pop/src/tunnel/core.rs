//! What the tasks of one shard share.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use rand::{SeedableRng, rngs::SmallRng};
use titan_proto::mux::Memory;

use super::{Authority, Banished, Table};
use crate::{
    config::Config,
    directory::{Directory, ShardId},
    mesh::{Mesh, Report},
    metrics::ShardMetrics,
    net::{BufferPool, Lobby, OnceEvent},
    users::{Meters, Shares},
};

/// One core's share of the PoP. Nothing in it is seen by another thread but what says so.
#[derive(Debug)]
pub struct Core {
    /// Which shard this is.
    pub shard: ShardId,
    /// The settings.
    pub config: Arc<Config>,
    /// The way to the other threads.
    pub mesh: Mesh,
    /// This shard's counters.
    pub metrics: Arc<ShardMetrics>,
    /// What each user relays.
    pub meters: Meters,
    /// Whether that can be kept; no new sessions are let in where not.
    pub is_metering: Cell<bool>,
    /// Read buffers.
    pub pool: BufferPool,
    /// What the sessions of this shard may hold, together.
    pub memory: Memory,
    /// Ready tunnels of all shards.
    pub directory: RefCell<Directory>,
    /// This shard's own tunnels, ready or not.
    pub tunnels: RefCell<Table>,
    /// Which tunnel tokens are believed; nothing before the manager was reached once.
    pub authority: RefCell<Option<Rc<Authority>>>,
    /// Nodes that were sent away, whose old tokens are not.
    pub banished: RefCell<Banished>,
    /// What the users with sessions here may do.
    pub shares: Shares,
    /// Places for clients in their handshake.
    pub clients: Rc<Lobby>,
    /// Places for edges in their upgrade.
    pub edges: Rc<Lobby>,
    /// Randomness for choices; nothing secret comes from it.
    pub rng: RefCell<SmallRng>,
    /// Set when the PoP drains: by then every session must have ended.
    pub draining: Cell<Option<Instant>>,
    /// The PoP begins to drain: what only waits need not.
    pub drain_begun: OnceEvent,
}

impl Core {
    /// An empty shard.
    pub fn new(
        shard: ShardId,
        config: Arc<Config>,
        mesh: Mesh,
        metrics: Arc<ShardMetrics>,
    ) -> Rc<Self> {
        let lobby = || Lobby::new(config.max_handshakes, config.max_handshakes_per_address);
        let (clients, edges) = (lobby(), lobby());
        let memory = Memory::new(config.session_memory());
        metrics.session_memory_limit.set(memory.limit());
        Rc::new(Self {
            shard,
            config,
            mesh,
            metrics,
            meters: Meters::default(),
            is_metering: Cell::new(true),
            pool: BufferPool::default(),
            memory,
            directory: RefCell::new(Directory::new(shard)),
            tunnels: RefCell::new(Table::new(shard)),
            authority: RefCell::default(),
            banished: RefCell::default(),
            shares: Shares::default(),
            clients,
            edges,
            rng: RefCell::new(SmallRng::from_rng(&mut rand::rng())),
            draining: Cell::new(None),
            drain_begun: OnceEvent::default(),
        })
    }

    /// Hands over what users have relayed since the last time.
    pub fn report_usage(&self) {
        let used = self.meters.read();
        if !used.is_empty() {
            self.mesh.report(Report::Usage(used));
        }
    }

    /// Whether the PoP drains.
    pub fn is_draining(&self) -> bool {
        self.draining.get().is_some()
    }
}
