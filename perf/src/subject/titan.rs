//! Manager, PoP and edge, each as the program an operator runs.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context, Result, ensure};

use super::{Control, Parts, Stage, Started};
use crate::{
    fleet::{Admin, Manager},
    load::Route,
    process::{Process, free_address, sibling, until_ok},
    sample::Roles,
    scrape::Scrape,
    via::{Login, Via},
};

/// The name in tables.
pub(super) const NAME: &str = "titan";

/// How this project's programs are started.
#[derive(Debug, Clone)]
pub struct Titan {
    /// Threads of the PoP that carry connections.
    pub shards: usize,
    /// How PoP and edge wait for their sockets.
    pub io: Io,
    /// Edges that are started besides PoP and manager.
    pub edges: usize,
}

/// How PoP and edge wait for their sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Io {
    /// What they choose.
    #[default]
    Auto,
    /// io_uring.
    Uring,
    /// epoll.
    Epoll,
}

impl Default for Titan {
    fn default() -> Self {
        Self {
            shards: 1,
            io: Io::Auto,
            edges: 1,
        }
    }
}

impl Titan {
    pub(super) async fn start(&self, parts: &mut Parts, stage: &Stage) -> Result<Started> {
        let mut roles = Roles::default();
        let mut control = start_manager(parts, &mut roles).await?;
        let proxy = self
            .start_pop(parts, &mut roles, &mut control, stage)
            .await?;
        let via = Via::Socks5 {
            proxy,
            login: Some(control.login.clone()),
        };
        for index in 0..self.edges {
            let edge = control.start_edge(parts.directory(), index, self.io)?;
            roles.add("edge", edge.pid());
            parts.keep(edge);
        }
        if self.edges > 0 {
            control.until_tunnels(self.edges).await?;
        }
        let fresh = roles.resident()?;
        if self.edges > 0 {
            let probe = || via.dial(stage.endpoints.echo, None);
            until_ok("a connection through PoP and edge", probe).await?;
        }
        let route = Route {
            via,
            endpoints: stage.endpoints,
        };
        Ok(Started {
            roles,
            fresh,
            route,
            control: Some(control),
        })
    }

    async fn start_pop(
        &self,
        parts: &mut Parts,
        roles: &mut Roles,
        control: &mut Control,
        stage: &Stage,
    ) -> Result<SocketAddr> {
        let (proxy, tunnel, admin) = (free_address()?, free_address()?, free_address()?);
        let dial = match &stage.link {
            Some(link) => parts.delay(link, &[tunnel]).await?[0],
            None => tunnel,
        };
        let credential = control.admin.create_pop("perf").await?;
        let (url, shards, io) = (&control.url, self.shards, self.io.as_str());
        let data = parts.directory().join("pop");
        // All clients and edges come from this one address.
        let config = format!(
            "manager_url = \"{url}\"\ncredential = \"{credential}\"\ndata_dir = {data:?}\n\
             proxy_listen = \"{proxy}\"\ntunnel_listen = \"{tunnel}\"\nadmin_listen = \"{admin}\"\n\
             advertise_tunnel_url = \"ws://{dial}/tunnel\"\nshards = {shards}\nio = \"{io}\"\n\
             max_handshakes_per_address = 0\nlog_level = \"warn\"\n"
        );
        run(parts, roles, "pop", &config)?;
        let pop = Scrape::new(&format!("http://{admin}"))?;
        until_ok("the PoP", || pop.ready()).await?;
        control.pop = Some(pop);
        Ok(proxy)
    }
}

impl Control {
    /// Starts the edge of that number, with its key and its log in `directory`. Started again
    /// there, it is the same node.
    ///
    /// # Errors
    /// The program is missing, or a file cannot be written.
    pub fn start_edge(&self, directory: &Path, index: usize, io: Io) -> Result<Process> {
        let (url, key, io) = (&self.url, &self.enrolment_key, io.as_str());
        let data = directory.join(format!("edge-{index}"));
        let config = format!(
            "manager_url = \"{url}\"\ndata_dir = {data:?}\nenrolment_key = \"{key}\"\nio = \"{io}\"\n\
             allow_private = true\nlog_level = \"warn\"\n"
        );
        let file = directory.join(format!("edge-{index}.toml"));
        std::fs::write(&file, config)?;
        let file = file.to_str().context("the path is no UTF-8")?;
        let log = directory.join(format!("titan-edge-{index}.log"));
        let mut edge = Process::start(&sibling("titan-edge")?, &["--config", file], &[], &log)?;
        edge.ignore_output();
        Ok(edge)
    }

    /// Waits until the PoP has that many tunnels.
    ///
    /// # Errors
    /// It does not get them in time, or there is no PoP.
    pub async fn until_tunnels(&self, count: usize) -> Result<()> {
        let pop = self.pop.as_ref().context("there is no PoP")?;
        until_ok("every edge's tunnel", async || {
            let tunnels = pop.page().await?.get("titan_pop_tunnels_active")?;
            #[expect(clippy::cast_precision_loss, reason = "a few")]
            let wanted = count as f64;
            ensure!(tunnels >= wanted, "{tunnels} of {count} tunnels");
            Ok(())
        })
        .await
    }
}

impl Io {
    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        }
    }
}

async fn start_manager(parts: &mut Parts, roles: &mut Roles) -> Result<Control> {
    let listen = free_address()?;
    let (store, token_file) = (parts.path("manager.redb"), parts.path("admin-token"));
    let store = format!("embedded:{}", store.display());
    let config = format!(
        "listen = \"{listen}\"\nstore = {store:?}\nadmin_token_file = {token_file:?}\n\
         log_level = \"warn\"\n"
    );
    run(parts, roles, "manager", &config)?;
    let url = format!("http://{listen}");
    let manager = Manager::new(&url)?;
    until_ok("the manager", || manager.health()).await?;
    let token = std::fs::read_to_string(&token_file).context("the admin token")?;
    let admin = Admin {
        manager,
        token: token.trim().to_owned(),
    };
    let login = Login {
        user: "perf".into(),
        password: "perf-password".into(),
    };
    admin.create_user(&login).await?;
    let enrolment_key = admin.create_enrolment_key().await?;
    Ok(Control {
        admin,
        url,
        enrolment_key,
        login,
        pop: None,
    })
}

/// Starts `titan-{role}` with a configuration file.
fn run(parts: &mut Parts, roles: &mut Roles, role: &str, config: &str) -> Result<()> {
    let config = parts.write(&format!("{role}.toml"), config)?;
    let config = config.to_str().context("the path is no UTF-8")?.to_owned();
    let program = sibling(&format!("titan-{role}"))?;
    let process = parts.spawn(&program, &["--config", &config], &[])?;
    process.ignore_output();
    roles.add(role, process.pid());
    Ok(())
}
