//! `titan up`: manager, PoP and edges in one process on this machine.
//!
//! Everything it makes lies under one folder, so that a second start finds the same user, nodes and
//! keys, and deleting the folder leaves nothing behind:
//!
//! ```text
//! titan-data/
//!   manager.redb      users, nodes, PoPs, keys
//!   admin-token       for `titan user …` and the API
//!   pop-credential    what the PoP shows to the manager
//!   enrolment-key     what the edges enrolled with
//!   demo-password     the user `demo`
//!   pop/              what users have relayed and the manager has not counted yet
//!   edge-1/ edge-2/…  each edge's identity
//! ```

mod network;
mod ready;

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use network::Network;

/// Start a manager, a PoP and edges on this machine.
#[derive(clap::Args)]
pub(crate) struct Up {
    /// Folder for everything that is kept.
    #[arg(long, value_name = "DIR", default_value = "titan-data")]
    data: PathBuf,
    /// Where SOCKS5 and HTTP proxy clients connect.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1080")]
    proxy: SocketAddr,
    /// How many edges to run.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=MAX_EDGES))]
    edges: u16,
    /// How many tunnels each edge keeps open, 1 to 16.
    #[arg(long, value_name = "N", default_value_t)]
    tunnels: titan_edge::TunnelCount,
    /// Let the edges connect to private networks and to this machine itself.
    #[arg(long)]
    allow_private: bool,
    /// Print one JSON object when ready, instead of text for people.
    #[arg(long)]
    json: bool,
    /// Where the manager's API listens.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    manager_listen: SocketAddr,
    /// Where the edges connect to the PoP.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    tunnel_listen: SocketAddr,
    /// Where the PoP answers for its health and metrics.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6060")]
    admin_listen: SocketAddr,
    /// Threads of the PoP; 0: one for each core.
    #[arg(long, value_name = "N", default_value_t = 0)]
    shards: u16,
    /// How PoP and edges wait for their sockets.
    #[arg(long, value_enum, default_value_t)]
    io: Io,
    /// Which log lines go to standard error: a level, or directives as in `warn,titan_pop=debug`.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log_level: String,
}

/// How sockets are waited for.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Io {
    /// io_uring where the kernel gives it, epoll elsewhere.
    #[default]
    Auto,
    /// io_uring, or refuse to start.
    Uring,
    /// epoll.
    Epoll,
}

/// Most edges in one process: each has a thread of its own.
const MAX_EDGES: i64 = 100;

impl Up {
    /// Runs until SIGINT or SIGTERM.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        crate::logging::start(&self.log_level)?;
        // The usual soft limit, 1024, exists for programs that use `select`.
        if let Err(error) = rlimit::increase_nofile_limit(rlimit::INFINITY) {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
        // Before anything starts: a signal during the start must not leave half a network behind.
        let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("signals")?;
        let network = Network::start(&self).await?;
        tokio::select! {
            ready = network.wait_until_online() => {
                ready?;
                ready::print(&network, self.json)?;
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tokio::select! {
            () = network.stop() => {}
            // A second signal: now.
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    }
}
