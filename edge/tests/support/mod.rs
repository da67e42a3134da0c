//! What the tests put around an edge: a manager and PoPs that really speak the protocols.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    missing_docs,
    reason = "each test binary uses its part of this"
)]

pub mod manager;
pub mod pop;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use titan_edge::{Config, Edge, IoChoice, Metrics, StartError};
use titan_proto::{addr::Target, control::NodeId};
use tokio::net::TcpListener;

use manager::TestManager;
use pop::{PopTunnel, TestPop};

/// Longest wait for anything in a test. Reached only by a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An edge, its manager, its PoP and the tunnel between them.
pub struct Net {
    pub manager: TestManager,
    pub pop: TestPop,
    pub tunnel: PopTunnel,
    pub edge: RunningEdge,
}

/// An edge with the directory of its identity.
pub struct RunningEdge {
    edge: Option<Edge>,
    _data: tempfile::TempDir,
}

impl Net {
    /// Starts everything and waits for the tunnel.
    pub async fn start(io: IoChoice, change: impl FnOnce(&mut Config)) -> Self {
        let manager = TestManager::start().await;
        let pop = TestPop::bind().await;
        manager.add_pop("pop-1", &pop.url());
        let edge = RunningEdge::start(io, &manager, change);
        let tunnel = pop.accept().await;
        Self {
            manager,
            pop,
            tunnel,
            edge,
        }
    }

    /// Everything, with an edge that may reach private addresses, as the tests' targets are.
    pub async fn open(io: IoChoice) -> Self {
        Self::start(io, |config| config.allow_private = true).await
    }
}

impl RunningEdge {
    pub fn start(io: IoChoice, manager: &TestManager, change: impl FnOnce(&mut Config)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::new(&manager.url(), data.path()).unwrap();
        config.enrolment_key = Some(manager::ENROLMENT_KEY.into());
        config.io = io;
        change(&mut config);
        let edge = match Edge::start(config) {
            Ok(edge) => edge,
            Err(StartError::UringUnavailable(error)) => {
                panic!("these tests cover io_uring, which this system does not give: {error}")
            }
            Err(error) => panic!("{error}"),
        };
        Self {
            edge: Some(edge),
            _data: data,
        }
    }

    pub fn node_id(&self) -> NodeId {
        self.edge.as_ref().unwrap().node_id()
    }

    pub fn metrics(&self) -> Arc<Metrics> {
        self.edge.as_ref().unwrap().metrics()
    }

    pub fn stop(&self) {
        self.edge.as_ref().unwrap().stop();
    }

    /// Waits for the end without blocking the test's own tasks.
    pub async fn join(mut self) {
        let edge = self.edge.take().unwrap();
        let joined = tokio::task::spawn_blocking(move || edge.join());
        tokio::time::timeout(PATIENCE, joined)
            .await
            .expect("the edge stops")
            .unwrap();
    }
}

/// A listener for a target, and its address as a target.
pub async fn target() -> (TcpListener, Target) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let target = as_target(listener.local_addr().unwrap());
    (listener, target)
}

pub fn as_target(address: SocketAddr) -> Target {
    Target::parse_authority(address.to_string().as_bytes()).unwrap()
}

pub fn named(authority: &str) -> Target {
    Target::parse_authority(authority.as_bytes()).unwrap()
}

/// Bytes that repeat only after 2^64: a swap or a loss changes their hash.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Waits until the system shows what is expected.
pub async fn until(mut reached: impl FnMut() -> bool) {
    let waiting = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("reached");
}

/// Runs each test on both kinds of I/O.
#[macro_export]
macro_rules! on_both {
    ($($name:ident)*) => {
        mod uring {$(
            #[tokio::test]
            async fn $name() {
                super::$name(titan_edge::IoChoice::Uring).await;
            }
        )*}
        mod epoll {$(
            #[tokio::test]
            async fn $name() {
                super::$name(titan_edge::IoChoice::Epoll).await;
            }
        )*}
    };
}
