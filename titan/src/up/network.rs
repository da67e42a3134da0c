//! The three planes, started in the order in which they need each other.

use std::{
    fs::DirBuilder,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use titan_edge::Edge;
use titan_manager::Server;
use titan_pop::Pop;
use titan_proto::control::{NodeId, NodeView, Page, PopId, UserName};
use tokio::{sync::oneshot, task::JoinHandle, time};

use super::{Io, Up};

/// Everything that `titan up` has started.
pub(super) struct Network {
    pub(super) manager: SocketAddr,
    pub(super) admin_token_file: PathBuf,
    /// The password of the user `demo`, while it is the one that was made.
    pub(super) password: Option<String>,
    pub(super) pop: Pop,
    edges: Vec<Edge>,
    admin_token: String,
    stop_manager: oneshot::Sender<()>,
    manager_task: JoinHandle<()>,
}

/// The user that is made on the first start.
pub(super) const DEMO_USER: &str = "demo";
const POP_ID: &str = "local";

/// How long the edges may take to come online: a minute is far more than loopback needs, and short
/// enough for somebody who waits at a terminal.
const ONLINE_WITHIN: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(50);

impl Network {
    /// Starts manager, PoP and edges.
    pub(super) async fn start(up: &Up) -> anyhow::Result<Self> {
        // Private: secrets lie in it.
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&up.data);
        made.with_context(|| format!("cannot make {}", up.data.display()))?;
        let secrets = Secrets { data: &up.data };

        let server = Server::bind(manager_config(up)).await.context("manager")?;
        let manager = server.local_addr();
        let bootstrap = server.bootstrap();
        let pop_id: PopId = POP_ID.parse()?;
        let demo: UserName = DEMO_USER.parse()?;
        let admin_token = bootstrap.admin_token(&secrets.file("admin-token")).await?;
        let credential = bootstrap
            .pop(&pop_id, None, &secrets.file("pop-credential"))
            .await?;
        let key = bootstrap
            .enrolment_key(None, &secrets.file("enrolment-key"))
            .await?;
        let password = bootstrap
            .user(&demo, &secrets.file("demo-password"))
            .await?;

        let (stop_manager, stopped) = oneshot::channel();
        let manager_task = tokio::spawn(server.run(async move {
            // The sender is dropped where it is not used.
            let _ = stopped.await;
        }));
        let pop = Pop::start(pop_config(up, manager, credential)).context("PoP")?;
        let edges = (1..=up.edges)
            .map(|number| start_edge(up, manager, &key, number))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            manager,
            admin_token_file: secrets.file("admin-token"),
            password,
            pop,
            edges,
            admin_token,
            stop_manager,
            manager_task,
        })
    }

    /// Waits until the manager knows that every edge holds a tunnel.
    pub(super) async fn wait_until_online(&self) -> anyhow::Result<()> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let wait = async {
            loop {
                match self.online(&client).await {
                    Ok(online) if self.nodes().all(|node| online.contains(&node)) => return,
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "the manager does not answer yet"),
                }
                time::sleep(ASK_EVERY).await;
            }
        };
        if time::timeout(ONLINE_WITHIN, wait).await.is_err() {
            bail!("the edges are not online after {ONLINE_WITHIN:?}; see the log lines above");
        }
        Ok(())
    }

    /// The edges' ids.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.edges.iter().map(Edge::node_id)
    }

    /// Drains everything: running sessions get their time.
    pub(super) async fn stop(self) {
        let Self {
            pop,
            edges,
            stop_manager,
            manager_task,
            ..
        } = self;
        let data_plane = tokio::task::spawn_blocking(move || {
            pop.drain();
            edges.iter().for_each(Edge::stop);
            pop.join();
            edges.into_iter().for_each(Edge::join);
        });
        // A panic in there was reported where it happened.
        let _ = data_plane.await;
        drop(stop_manager);
        let _ = manager_task.await;
    }

    async fn online(&self, client: &reqwest::Client) -> reqwest::Result<Vec<NodeId>> {
        let url = format!("http://{}/api/v1/nodes?limit=200", self.manager);
        let answer = client
            .get(url)
            .bearer_auth(&self.admin_token)
            .send()
            .await?;
        let page: Page<NodeView> = answer.error_for_status()?.json().await?;
        let online = page.items.into_iter().filter(|node| node.online);
        Ok(online.map(|node| node.id).collect())
    }
}

/// Where each secret is kept.
struct Secrets<'a> {
    data: &'a Path,
}

impl Secrets<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }
}

fn manager_config(up: &Up) -> titan_manager::Config {
    titan_manager::Config {
        listen: up.manager_listen,
        store: titan_manager::StoreUrl::Embedded(up.data.join("manager.redb")),
        admin_token_file: up.data.join("admin-token"),
        ..titan_manager::Config::default()
    }
}

fn pop_config(up: &Up, manager: SocketAddr, credential: String) -> titan_pop::Config {
    let mut config = titan_pop::Config::new(manager_url(manager), credential);
    config.data_dir = up.data.join("pop");
    config.proxy_listen = up.proxy;
    config.tunnel_listen = up.tunnel_listen;
    config.admin_listen = up.admin_listen;
    config.shards = up.shards;
    config.io = match up.io {
        Io::Auto => titan_pop::config::IoChoice::Auto,
        Io::Uring => titan_pop::config::IoChoice::Uring,
        Io::Epoll => titan_pop::config::IoChoice::Epoll,
    };
    config
}

fn start_edge(up: &Up, manager: SocketAddr, key: &str, number: u16) -> anyhow::Result<Edge> {
    let data = up.data.join(format!("edge-{number}"));
    let mut config = titan_edge::Config::new(&manager_url(manager), &data)?;
    config.enrolment_key = Some(key.into());
    config.allow_private = up.allow_private;
    config.tunnels = up.tunnels;
    config.io = match up.io {
        Io::Auto => titan_edge::IoChoice::Auto,
        Io::Uring => titan_edge::IoChoice::Uring,
        Io::Epoll => titan_edge::IoChoice::Epoll,
    };
    Edge::start(config).with_context(|| format!("edge {number}"))
}

fn manager_url(manager: SocketAddr) -> String {
    format!("http://{}", reachable(manager))
}

/// The address at which somebody on this machine reaches a listener.
pub(super) fn reachable(mut listener: SocketAddr) -> SocketAddr {
    if listener.ip().is_unspecified() {
        listener.set_ip(match listener {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listener
}
