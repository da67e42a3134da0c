//! The edge: the exit of the network.
//!
//! An edge dials out to a PoP, keeps one or several tunnels to it open and connects to targets on its behalf.
//! The modules are stages of a connection's life and import in one direction only:
//!
//! ```text
//! main → lib → agent → tunnel → session → {dial, policy, resolve, link} → net
//!      → {manager, backoff} → {identity, config, metrics} → {limits, error}
//! ```
//!
//! Everything an edge does runs on one thread, see [`Edge`].

#![forbid(unsafe_code)]

mod agent;
mod backoff;
mod config;
mod dial;
mod error;
mod identity;
mod limits;
mod link;
mod manager;
mod metrics;
mod net;
mod policy;
mod resolve;
mod session;
mod tunnel;

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
};

use titan_proto::{control::NodeId, mux::Memory};
use tokio::sync::watch;

pub use config::{
    BadTunnelCount, Cli, Config, IoChoice, LogConfig, LogFormat, Secret, TunnelCount,
};
pub use error::{ConfigError, DialPopError, IdentityError, ManagerError, OpenError, StartError};
pub use metrics::{Counter, DatagramDrop, Metrics};

use crate::{
    agent::Agent, identity::Identity, limits::SESSION_MEMORY, manager::Manager, net::Runtime,
    policy::Policy, resolve::Resolver, session::Egress,
};

/// A running edge. Dropping it stops it.
pub struct Edge {
    node_id: NodeId,
    metrics: Arc<Metrics>,
    stopper: Stopper,
    done: mpsc::Receiver<()>,
}

impl Edge {
    /// Starts an edge on a thread of its own. It finds its PoP by itself, and again whenever it
    /// loses it; a manager or PoP that cannot be reached is no error here.
    ///
    /// # Errors
    ///
    /// The identity key cannot be used, io_uring was demanded and is not there, or the system
    /// refuses a thread or descriptors.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let identity = Identity::load_or_create(&config.identity_file)?;
        let node_id = identity.node_id();
        let metrics = Arc::new(Metrics::default());
        let (stop, stop_asked) = watch::channel(false);
        let (started, start) = mpsc::sync_channel(1);
        let (running, done) = mpsc::sync_channel(1);
        let counted = metrics.clone();
        thread::Builder::new()
            .name("titan-edge".to_owned())
            .spawn(move || {
                let runtime = run(&config, identity, &counted, stop_asked, &started);
                // First the news, then the runtime: a lookup that nobody waits for any more may
                // hold its end up for seconds.
                drop(running);
                drop(runtime);
            })
            .map_err(StartError::Runtime)?;
        // The sender is only dropped unused by a panic.
        let died = || {
            Err(StartError::Runtime(io::Error::other(
                "the edge's thread died",
            )))
        };
        start.recv().unwrap_or_else(|_| died())?;
        Ok(Self {
            node_id,
            metrics,
            stopper: Stopper(Arc::new(stop)),
            done,
        })
    }

    /// The node's id, which follows from its identity key.
    pub fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// What the edge counts.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// A handle to stop the edge from elsewhere.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Asks the edge to stop: no new sessions, and those it has may finish until the configured
    /// deadline. Returns at once.
    pub fn stop(&self) {
        self.stopper.stop();
    }

    /// Waits until the edge has stopped.
    pub fn join(self) {
        // Nothing is ever sent: the channel ends when the edge does.
        let _ = self.done.recv();
    }
}

/// Stops an edge; see [`Edge::stopper`].
#[derive(Clone)]
pub struct Stopper(Arc<watch::Sender<bool>>);

impl Stopper {
    /// Does what [`Edge::stop`] does.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// The edge's thread, from its runtime, which it gives back, to its last counter.
fn run(
    config: &Config,
    identity: Identity,
    metrics: &Arc<Metrics>,
    stop: watch::Receiver<bool>,
    started: &mpsc::SyncSender<Result<(), StartError>>,
) -> Option<Runtime> {
    let node = identity.node_id();
    let (runtime, manager) = match prepare(config) {
        Ok(prepared) => prepared,
        Err(error) => {
            let _ = started.send(Err(error));
            return None;
        }
    };
    tracing::info!(%node, io = ?runtime.backend(), "edge started");
    let egress = Egress {
        backend: runtime.backend(),
        policy: Policy::new(config.allow_private),
        resolver: Resolver::new(),
        metrics: metrics.clone(),
        memory: Memory::new(SESSION_MEMORY),
        datagram_buffer: std::cell::RefCell::default(),
    };
    // Whoever started us may be gone; then the agent finds itself stopped.
    let _ = started.send(Ok(()));
    let agent = Agent::new(identity, manager, egress, config, stop);
    runtime.block_on(agent.run());
    tracing::info!(%node, "edge stopped: {metrics}");
    Some(runtime)
}

fn prepare(config: &Config) -> Result<(Runtime, Manager), StartError> {
    let runtime = Runtime::new(config.io)?;
    let manager = Manager::new(&config.manager, config.enrolment_key.clone())
        .map_err(|error| StartError::Runtime(io::Error::other(error)))?;
    Ok((runtime, manager))
}
