//! The control thread: the PoP's side of the manager's API, logins, signals, and the drain.
//!
//! It runs tokio on one thread. Shards tell it what happened ([`Report`]); it tells them what to
//! know ([`News`](crate::mesh::News)). Nothing here is on the path of a byte.

mod accounts;
mod events;
mod heartbeat;
mod logins;
mod manager;
mod signals;
mod usage;
mod verified;

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use self::{events::Follower, heartbeat::Heartbeat, logins::Logins, usage::Usage};
pub use self::{manager::Manager, usage::Spool};
use crate::{
    config::Config,
    directory::ShardId,
    limits::MANAGER_TIMEOUT,
    mesh::{Mesh, News, Report, Status},
    metrics::Metrics,
    users::{Accounts, LoginKey, UsageDelta},
};

/// What the control thread works with.
#[derive(Debug)]
pub struct Setup {
    /// The settings.
    pub config: Arc<Config>,
    /// The manager.
    pub manager: Manager,
    /// Usage that waits for the manager.
    pub spool: Spool,
    /// The way to the shards.
    pub mesh: Mesh,
    /// What the shards say.
    pub reports: mpsc::UnboundedReceiver<Report>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// What the operator's pages show.
    pub status: Arc<Status>,
    /// Where edges and customers reach this PoP.
    pub advertised: Advertised,
    /// The key of login digests.
    pub login_key: LoginKey,
    /// The users of the whole PoP.
    pub accounts: Arc<Accounts>,
    /// How many shards there are.
    pub shards: u16,
}

/// Where edges and customers reach this PoP, as the manager is told.
#[derive(Debug, Clone)]
pub struct Advertised {
    /// The tunnel endpoint, `ws://host:port/tunnel`.
    pub tunnel_url: String,
    /// The proxy port.
    pub proxy_addr: String,
}

impl Advertised {
    /// As configured, else as bound.
    pub fn new(config: &Config, proxy: SocketAddr, tunnel: SocketAddr) -> Self {
        let url = || format!("ws://{}{}", reachable(tunnel), crate::tunnel::TUNNEL_PATH);
        Self {
            tunnel_url: config.advertise_tunnel_url.clone().unwrap_or_else(url),
            proxy_addr: config
                .advertise_proxy_addr
                .clone()
                .unwrap_or_else(|| reachable(proxy).to_string()),
        }
    }
}

/// Runs until every shard has ended.
pub async fn run(setup: Setup) {
    let Setup {
        config,
        manager,
        spool,
        mesh,
        mut reports,
        metrics,
        status,
        advertised,
        login_key,
        accounts,
        shards,
    } = setup;
    let (changes, changed) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let heartbeat = Heartbeat::new(
        manager.clone(),
        mesh.clone(),
        Arc::clone(&metrics),
        Arc::clone(&status),
        advertised,
    );
    let heartbeat = tokio::spawn(heartbeat.run(changed, stopped));
    let (deltas, used) = mpsc::unbounded_channel();
    let bound = config.spool_bound();
    let usage = Usage::new(
        manager.clone(),
        mesh.clone(),
        Arc::clone(&accounts),
        metrics,
        spool,
        bound,
    );
    let usage = tokio::spawn(usage.run(used));
    let watch = tokio::spawn(accounts::watch(Arc::clone(&accounts), mesh.clone()));
    let logins = Logins::new(
        manager.clone(),
        mesh.clone(),
        login_key,
        Arc::clone(&accounts),
    );
    let logins = Arc::new(logins);
    let follower = Follower::new(manager, mesh.clone(), Arc::clone(&logins), accounts);
    let follower = tokio::spawn(follower.run());
    let mut control = Control {
        logins,
        drain: config.drain(),
        mesh,
        status,
        changes,
        deltas,
        running: (0..shards).map(ShardId).collect(),
    };
    while !control.running.is_empty() {
        let Some(report) = reports.recv().await else {
            break;
        };
        control.hear(report);
    }
    watch.abort();
    follower.abort();
    let _ = stop.send(());
    // The last heartbeat says that all nodes are gone.
    let _ = tokio::time::timeout(MANAGER_TIMEOUT, heartbeat).await;
    // Nobody is left to hand usage over; what there is goes to the disk and to the manager.
    drop(control);
    let _ = usage.await;
}

struct Control {
    logins: Arc<Logins>,
    mesh: Mesh,
    status: Arc<Status>,
    changes: mpsc::UnboundedSender<heartbeat::Change>,
    deltas: mpsc::UnboundedSender<Vec<UsageDelta>>,
    drain: Duration,
    running: HashSet<ShardId>,
}

impl Control {
    fn hear(&mut self, report: Report) {
        match report {
            Report::TunnelUp(entry) => {
                let change = heartbeat::Change::Up(entry.key, entry.node, entry.address.ip());
                self.status.tunnels().insert(entry);
                let _ = self.changes.send(change);
            }
            Report::TunnelDown(entry) => {
                if self.status.tunnels().remove(&entry) {
                    let change = heartbeat::Change::Down(entry.key, entry.node);
                    let _ = self.changes.send(change);
                }
            }
            Report::Login(request) => {
                tokio::spawn(Arc::clone(&self.logins).answer(request));
            }
            Report::RefreshUser(name) => {
                let logins = Arc::clone(&self.logins);
                tokio::spawn(async move { logins.refresh(&name).await });
            }
            Report::Usage(used) => {
                let _ = self.deltas.send(used);
            }
            Report::PackageUsedUp(account) => accounts::announce(&self.mesh, &account),
            Report::ShardEnded(shard) => {
                self.running.remove(&shard);
            }
            Report::Drain => self.begin_drain(),
            Report::WatchSignals => signals::watch(self.mesh.clone()),
        }
    }

    fn begin_drain(&self) {
        if self.status.set_draining() {
            tracing::info!(limit_s = self.drain.as_secs(), "draining");
            self.mesh
                .broadcast(&News::Drain(Instant::now() + self.drain), None);
            let _ = self.changes.send(heartbeat::Change::Draining);
        }
    }
}

/// An address that can be connected to: a listener on all addresses is reached on this machine
/// through loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        address.set_ip(loopback);
    }
    address
}
