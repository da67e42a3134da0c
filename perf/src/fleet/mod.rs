//! Many light edges in one process: real identities, tokens of the real manager, real tunnels, and
//! no targets.

mod api;
mod node;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    limits::{REQUESTS_AT_A_TIME, RETRY_FIRST, RETRY_LONGEST},
    load::{Latency, histogram_us},
};
pub use api::{Admin, Manager};
use node::{Node, Tunnel};

/// Edges, enrolled, with or without tunnels.
pub struct Fleet {
    manager: Manager,
    nodes: Vec<Arc<Node>>,
    tunnels: JoinSet<()>,
    lost: Arc<AtomicU64>,
}

/// How it went to bring up every edge's tunnel.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// Time until the last tunnel stood.
    pub elapsed: Duration,
    /// Time until each tunnel stood, from the start of all.
    pub latency: Latency,
    /// Attempts that failed, at the manager or at the PoP.
    pub retries: u64,
}

impl Fleet {
    /// Enrols `count` nodes, the first of which has the number `first`.
    ///
    /// # Errors
    /// The manager refuses one.
    pub async fn enrol(manager: Manager, key: &str, first: usize, count: usize) -> Result<Self> {
        let mut nodes = Vec::with_capacity(count);
        let mut enrolments = JoinSet::new();
        for index in first..first + count {
            if enrolments.len() >= REQUESTS_AT_A_TIME {
                nodes.push(joined(&mut enrolments).await?);
            }
            let (manager, key) = (manager.clone(), key.to_owned());
            enrolments.spawn(async move {
                let node = Node::new(index);
                node.enrol(&manager, &key).await.map(|()| Arc::new(node))
            });
        }
        while !enrolments.is_empty() {
            nodes.push(joined(&mut enrolments).await?);
        }
        Ok(Self {
            manager,
            nodes,
            tunnels: JoinSet::new(),
            lost: Arc::default(),
        })
    }

    /// Brings up every tunnel, `at_a_time` under way at once. An edge that fails tries again after
    /// an exponential pause with full jitter, as the real one does.
    ///
    /// # Errors
    /// A task panicked.
    pub async fn connect(&mut self, at_a_time: usize) -> Result<Round> {
        let start = Instant::now();
        let places = Arc::new(Semaphore::new(at_a_time));
        let (report, mut reports) = mpsc::unbounded_channel();
        for node in &self.nodes {
            let (node, manager, places) =
                (Arc::clone(node), self.manager.clone(), Arc::clone(&places));
            let (report, lost) = (report.clone(), Arc::clone(&self.lost));
            self.tunnels.spawn(async move {
                let place = places.acquire_owned().await;
                let (tunnel, retries) = open(&node, &manager).await;
                drop(place);
                // Nobody listens any more when the whole round was given up.
                let _ = report.send((start.elapsed(), retries));
                drop(report);
                let _ = tunnel.run().await;
                lost.fetch_add(1, Relaxed);
            });
        }
        drop(report);
        let (mut histogram, mut retries) = (histogram_us(), 0);
        while let Some((took, failed)) = reports.recv().await {
            histogram.saturating_record(u64::try_from(took.as_micros())?);
            retries += failed;
        }
        Ok(Round {
            elapsed: start.elapsed(),
            latency: (&histogram).into(),
            retries,
        })
    }

    /// Cuts every tunnel without a word.
    pub async fn cut(&mut self) {
        self.tunnels.shutdown().await;
    }

    /// Tunnels that ended although nobody cut them.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

async fn joined(tasks: &mut JoinSet<Result<Arc<Node>>>) -> Result<Arc<Node>> {
    tasks.join_next().await.context("no task is left")??
}

/// Tries until the node has a tunnel that is ready.
async fn open(node: &Node, manager: &Manager) -> (Tunnel, u64) {
    let mut pause = RETRY_FIRST;
    let mut retries = 0;
    loop {
        let attempt = async {
            let mut tunnel = node.open(manager).await?;
            tunnel.ready().await.map(|()| tunnel)
        };
        match attempt.await {
            Ok(tunnel) => return (tunnel, retries),
            Err(error) if retries == MUTE_AFTER => eprintln!("an edge keeps failing: {error:#}"),
            Err(_) => {}
        }
        retries += 1;
        sleep(pause.mul_f64(rand::random())).await;
        pause = (pause * 2).min(RETRY_LONGEST);
    }
}

/// The failure of an edge that is told: the first ones are what a storm is made of, and later ones
/// would repeat it.
const MUTE_AFTER: u64 = 8;
