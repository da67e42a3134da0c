//! What the tests of the gateway share: a manager, edges and clients that do as they are told, and
//! a PoP between them.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

pub mod client;
pub mod edge;
pub mod manager;
pub mod raw;

use std::time::Duration;

use tempfile::TempDir;
use titan_pop::{Config, Pop, config::IoChoice};

pub use self::{
    client::Client,
    edge::{Edge, Manner},
    manager::Manager,
};

/// The user that every test manager knows.
pub const USER: &str = "alice";
/// Her password.
pub const PASSWORD: &str = "correct horse";

/// Longest any single step may take. Nothing here waits for time to pass; this only turns a hang
/// into a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Both ways in which a shard can wait.
pub const DRIVERS: [IoChoice; 2] = [IoChoice::Uring, IoChoice::Epoll];

/// A PoP with its manager.
pub struct World {
    pub manager: Manager,
    pub pop: Pop,
    /// Where the PoP keeps what must last.
    pub data: TempDir,
}

impl World {
    /// One shard, otherwise as by default.
    pub async fn start(io: IoChoice) -> Self {
        Self::start_with(io, |_| {}).await
    }

    /// A PoP whose settings `adjust` changes; returns when it knows whom to believe.
    pub async fn start_with(io: IoChoice, adjust: impl FnOnce(&mut Config)) -> Self {
        let data = TempDir::new().expect("a folder");
        Self::start_again(Manager::start().await, data, io, adjust).await
    }

    /// A PoP that finds what another one has left in `data`.
    pub async fn start_again(
        manager: Manager,
        data: TempDir,
        io: IoChoice,
        adjust: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = Config::new(manager.url(), manager::CREDENTIAL);
        let any = "127.0.0.1:0".parse().expect("an address");
        (
            config.proxy_listen,
            config.tunnel_listen,
            config.admin_listen,
        ) = (any, any, any);
        (config.shards, config.io) = (1, io);
        config.data_dir = data.path().to_owned();
        // A test that ends has no use for the sessions it leaves.
        config.drain_s = 0;
        adjust(&mut config);
        let pop = Pop::start(config).expect("the PoP starts");
        let world = Self { manager, pop, data };
        eventually("ready", async || {
            let is_followed = world.manager.state.lock().expect("not poisoned").followed;
            is_followed && world.get("/readyz").await.starts_with("HTTP/1.1 200")
        })
        .await;
        world
    }

    /// Connects an edge and waits until every shard can route to it.
    pub async fn edge(&self) -> Edge {
        self.edge_that(Manner::Serves).await
    }

    /// The same for an edge that treats all its sessions alike.
    pub async fn edge_that(&self, manner: Manner) -> Edge {
        let before = self.metric("tunnels_active").await;
        let token = self.manager.token(before);
        let edge = Edge::connect_as(manner, self.pop.tunnel_addr(), &token).await;
        let edge = edge.expect("the PoP takes the edge");
        self.tunnels(before + 1).await;
        edge
    }

    /// Waits until that many tunnels are ready.
    pub async fn tunnels(&self, count: u64) {
        eventually("tunnels", async || {
            self.metric("tunnels_active").await == count
        })
        .await;
        // The other shards hear of it by message; a listing shows that they were told.
        eventually("listing", async || {
            let listing = self.get("/debug/tunnels").await;
            listing.matches("\"node\"").count() as u64 == count
        })
        .await;
    }

    /// A counter or gauge without labels, or with them as they are printed.
    pub async fn metric(&self, name: &str) -> u64 {
        let page = self.get("/metrics").await;
        let line = |wanted: &str| {
            page.lines()
                .find_map(|line| line.strip_prefix(wanted)?.strip_prefix(' ')?.parse().ok())
        };
        let (base, labels) = name.split_once('{').unwrap_or((name, ""));
        let brace = if labels.is_empty() { "" } else { "{" };
        line(&format!("titan_pop_{base}_total{brace}{labels}"))
            .or_else(|| line(&format!("titan_pop_{name}")))
            .unwrap_or_else(|| panic!("no metric {name} in\n{page}"))
    }

    /// Waits until a metric has a value.
    pub async fn metric_becomes(&self, name: &str, value: u64) {
        eventually(name, async || self.metric(name).await == value).await;
    }

    /// An answer of the admin pages, head and all.
    pub async fn get(&self, path: &str) -> String {
        let mut client = Client::connect(self.pop.admin_addr()).await;
        client
            .send(format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            ))
            .await;
        client.rest().await
    }

    /// A client of the proxy port.
    pub async fn client(&self) -> Client {
        Client::connect(self.pop.proxy_addr()).await
    }

    /// Ends the PoP and waits for its threads; gives what is left.
    pub async fn stop(self) -> (Manager, TempDir) {
        self.pop.drain();
        let Self { manager, pop, data } = self;
        within(
            "the PoP ends",
            tokio::task::spawn_blocking(move || pop.join()),
        )
        .await
        .expect("ends");
        (manager, data)
    }
}

/// Fails unless `future` is done within [`PATIENCE`].
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

/// Asks again and again until the answer is yes.
pub async fn eventually(what: &str, mut question: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !question().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
