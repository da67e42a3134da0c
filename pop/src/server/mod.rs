//! A whole PoP: listeners, threads, and the handle to them.

mod listeners;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use self::listeners::Listeners;
use crate::{
    admin,
    config::Config,
    control::{self, Advertised, Manager, Spool},
    directory::ShardId,
    error::StartError,
    mesh::{Mailbox, Mesh, Report, Status},
    metrics::Metrics,
    net::{Driver, probe},
    shard,
    users::{Accounts, LoginKey},
};

/// A running PoP. Dropping the handle leaves it running; [`drain`](Self::drain) ends it.
#[derive(Debug)]
pub struct Pop {
    proxy_addr: SocketAddr,
    tunnel_addr: SocketAddr,
    admin_addr: SocketAddr,
    driver: Driver,
    mesh: Mesh,
    threads: Vec<JoinHandle<()>>,
}

impl Pop {
    /// Starts a PoP and returns once it listens. It serves clients when the manager has answered
    /// and an edge has come; until then it says so.
    ///
    /// # Errors
    /// Why it cannot run at all; nothing is left running then but threads that end by themselves.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let manager = Manager::new(&config.manager_url, config.read_credential()?)?;
        let driver = probe(config.io)?;
        let listeners = Listeners::bind(&config)?;
        let spool = Spool::open(&config.data_dir)?;
        let shards = config.shard_count();
        let (mesh, mailboxes, reports) = Mesh::new(shards).map_err(system("the mesh"))?;
        let metrics = Arc::new(Metrics::new(shards));
        let status = Arc::new(Status::default());
        let login_key = LoginKey::random();
        let accounts = Arc::<Accounts>::default();
        let control = control::Setup {
            advertised: Advertised::new(&config, listeners.proxy_addr, listeners.tunnel_addr),
            config: Arc::clone(&config),
            manager,
            spool,
            mesh: mesh.clone(),
            reports,
            metrics: Arc::clone(&metrics),
            status,
            login_key: login_key.clone(),
            accounts: Arc::clone(&accounts),
            shards,
        };
        let mut pop = Self {
            proxy_addr: listeners.proxy_addr,
            tunnel_addr: listeners.tunnel_addr,
            admin_addr: listeners.admin_addr,
            driver,
            mesh,
            threads: Vec::new(),
        };
        let seed = ShardSeed {
            driver,
            config,
            metrics,
            login_key,
            accounts,
        };
        pop.start_shards(&seed, mailboxes, listeners.shards)?;
        pop.start_control(control, listeners.admin)?;
        tracing::info!(
            proxy = %pop.proxy_addr, tunnels = %pop.tunnel_addr, admin = %pop.admin_addr,
            shards, ?driver, "listening"
        );
        Ok(pop)
    }

    /// Where proxy clients connect.
    pub fn proxy_addr(&self) -> SocketAddr {
        self.proxy_addr
    }

    /// Where edges connect.
    pub fn tunnel_addr(&self) -> SocketAddr {
        self.tunnel_addr
    }

    /// Where operators ask for health and metrics.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin_addr
    }

    /// What its threads wait with.
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// Ends the PoP gently: no new connections, edges are sent elsewhere, running sessions get
    /// the configured time. Returns at once.
    pub fn drain(&self) {
        self.mesh.report(Report::Drain);
    }

    /// Drains at the first SIGTERM or SIGINT and ends the process at the second. For a process
    /// that is nothing but a PoP.
    pub fn drain_on_signals(&self) {
        self.mesh.report(Report::WatchSignals);
    }

    /// Waits until the PoP has ended.
    pub fn join(self) {
        for thread in self.threads {
            // A thread that panicked has said so already, and the others are waited for anyway.
            let _ = thread.join();
        }
    }

    fn start_shards(
        &mut self,
        seed: &ShardSeed,
        mailboxes: Vec<Mailbox>,
        listeners: Vec<listeners::ShardListeners>,
    ) -> Result<(), StartError> {
        let (ready, came_up) = mpsc::channel();
        for (id, (mailbox, listeners)) in
            (0..).map(ShardId).zip(mailboxes.into_iter().zip(listeners))
        {
            let setup = shard::Setup {
                id,
                driver: seed.driver,
                config: Arc::clone(&seed.config),
                mesh: self.mesh.clone(),
                mailbox,
                metrics: seed.metrics.shard(id),
                login_key: seed.login_key.clone(),
                accounts: Arc::clone(&seed.accounts),
                proxy: listeners.proxy,
                tunnel: listeners.tunnel,
            };
            let ready = ready.clone();
            self.spawn(format!("shard-{id}"), move || shard::run(setup, &ready))?;
        }
        drop(ready);
        let results: io::Result<()> = came_up.iter().take(self.threads.len()).collect();
        results.map_err(|source| {
            self.drain_shards();
            StartError::System {
                what: "a shard",
                source,
            }
        })
    }

    fn start_control(
        &mut self,
        setup: control::Setup,
        admin: TcpListener,
    ) -> Result<(), StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(system("the control thread's runtime"))?;
        let (metrics, status) = (Arc::clone(&setup.metrics), Arc::clone(&setup.status));
        self.spawn("control".to_owned(), move || {
            runtime.block_on(async {
                let admin = tokio::spawn(admin::run(admin, metrics, status));
                control::run(setup).await;
                admin.abort();
            });
        })
        .inspect_err(|_| self.drain_shards())
    }

    fn spawn(
        &mut self,
        name: String,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), StartError> {
        let thread = thread::Builder::new()
            .name(name)
            .spawn(run)
            .map_err(system("a thread"))?;
        self.threads.push(thread);
        Ok(())
    }

    /// Ends what was started of a PoP that could not be started whole.
    fn drain_shards(&self) {
        let now = std::time::Instant::now();
        self.mesh.broadcast(&crate::mesh::News::Drain(now), None);
    }
}

/// What all shards have in common.
struct ShardSeed {
    driver: Driver,
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    login_key: LoginKey,
    accounts: Arc<Accounts>,
}

fn system(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}
