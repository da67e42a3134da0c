//! What is measured: this project's own programs, and others that a user would pick instead.

mod peer;
mod titan;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{
    delay::Link,
    fleet::Admin,
    load::Route,
    process::{Process, free_address},
    sample::{Resident, Roles},
    scrape::Scrape,
    target::Endpoints,
    via::Login,
};
pub use peer::{Kind, Peer, tools};
pub use titan::{Io, Titan};

/// Something that carries connections.
#[derive(Debug, Clone)]
pub enum Subject {
    /// Manager, PoP and edge of this workspace.
    Titan(Titan),
    /// What a script in `perf/peers` starts.
    Peer(Peer),
}

/// Under which circumstances a subject is started.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The targets.
    pub endpoints: Endpoints,
    /// A link between the two sides: of the tunnel, or between a relay and its targets.
    pub link: Option<Link>,
    /// Idle tunnels that a peer shall hold besides its own.
    pub tunnels: usize,
}

impl Subject {
    /// Its name in tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Titan(_) => titan::NAME,
            Self::Peer(peer) => peer.name(),
        }
    }

    /// Starts it and waits until a connection goes through.
    ///
    /// # Errors
    /// One of its programs does not start or does not serve; the message holds what it logged.
    pub async fn start(&self, stage: &Stage) -> Result<Running> {
        let mut parts = Parts::new(self.name())?;
        let started = match self {
            Self::Titan(titan) => titan.start(&mut parts, stage).await,
            Self::Peer(peer) => peer.start(&mut parts, stage).await,
        };
        match started {
            Ok(started) => Ok(Running {
                name: self.name().to_owned(),
                parts,
                started,
            }),
            Err(error) => {
                let logs = parts.logs();
                parts.stop().await;
                Err(error).with_context(|| format!("starting {}\n{logs}", self.name()))
            }
        }
    }
}

/// A subject that runs.
#[derive(Debug)]
pub struct Running {
    /// Its name in tables.
    pub name: String,
    parts: Parts,
    started: Started,
}

/// What there is to know of a subject that runs.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) roles: Roles,
    pub(crate) fresh: Resident,
    pub(crate) route: Route,
    pub(crate) control: Option<Control>,
}

/// The control plane of [`Subject::Titan`].
#[derive(Debug, Clone)]
pub struct Control {
    /// The manager.
    pub admin: Admin,
    /// Its URL.
    pub url: String,
    /// A key that edges enrol with.
    pub enrolment_key: String,
    /// The user of the route.
    pub login: Login,
    /// The PoP's admin port, once there is a PoP.
    pub pop: Option<Scrape>,
}

impl Running {
    /// The processes that figures are charged to.
    pub fn roles(&self) -> &Roles {
        &self.started.roles
    }

    /// Their memory before any load: this project's before the first login, whose check takes
    /// memory that an allocator may keep and give to buffers later.
    pub fn fresh(&self) -> &Resident {
        &self.started.fresh
    }

    /// How clients reach the targets through it.
    pub fn route(&self) -> &Route {
        &self.started.route
    }

    /// Its control plane, if it has one that this tool knows.
    pub fn control(&self) -> Option<&Control> {
        self.started.control.as_ref()
    }

    /// Fails if one of its programs has ended.
    ///
    /// # Errors
    /// One has; the message holds what was logged.
    pub fn check(&mut self) -> Result<()> {
        self.parts.check()
    }

    /// Where its files are, for as long as it runs.
    pub fn directory(&self) -> &Path {
        self.parts.directory()
    }

    /// What its programs have logged last.
    pub fn logs(&self) -> String {
        self.parts.logs()
    }

    /// Ends every program of it.
    pub async fn stop(self) {
        self.parts.stop().await;
    }
}

/// Programs and files of a subject.
#[derive(Debug)]
pub(crate) struct Parts {
    scratch: TempDir,
    processes: Vec<Process>,
}

impl Parts {
    fn new(name: &str) -> Result<Self> {
        let prefix = format!("titan-perf-{name}-");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).disable_cleanup(keeps_files());
        // Memory, where there is such a place: the disk of this machine is not what is measured.
        let memory = Path::new("/dev/shm");
        let scratch = if memory.is_dir() {
            builder.tempdir_in(memory)
        } else {
            builder.tempdir()
        }?;
        Ok(Self {
            scratch,
            processes: Vec::new(),
        })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Takes charge of a program that was started elsewhere.
    pub(crate) fn keep(&mut self, process: Process) {
        self.processes.push(process);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    pub(crate) fn spawn(
        &mut self,
        program: &Path,
        args: &[&str],
        env: &[(&str, String)],
    ) -> Result<&mut Process> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let log = self.path(&format!("{name}.log"));
        self.processes
            .push(Process::start(program, args, env, &log)?);
        self.processes.last_mut().context("just pushed")
    }

    /// Puts `link` in front of every address of `to`, one link for all, and gives the addresses to
    /// dial instead.
    pub(crate) async fn delay(
        &mut self,
        link: &Link,
        to: &[SocketAddr],
    ) -> Result<Vec<SocketAddr>> {
        let (mut listen, mut args) = (Vec::new(), vec!["delay".to_owned()]);
        for to in to {
            let near = free_address()?;
            args.extend([format!("--listen={near}"), format!("--to={to}")]);
            listen.push(near);
        }
        args.extend(link.args());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let relay = self.spawn(&std::env::current_exe()?, &args, &[])?;
        relay.line(crate::limits::START_TIMEOUT).await?;
        Ok(listen)
    }

    fn check(&mut self) -> Result<()> {
        let ended = self.processes.iter_mut().try_for_each(Process::check);
        ended.with_context(|| self.logs())
    }

    /// The last lines of every log.
    fn logs(&self) -> String {
        let Ok(entries) = std::fs::read_dir(self.scratch.path()) else {
            return String::new();
        };
        let mut text = String::new();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.extension().is_some_and(|extension| extension == "log") {
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines.len().saturating_sub(LOG_TAIL);
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                text += &format!("--- {name}\n{}\n", lines[tail..].join("\n"));
            }
        }
        text
    }

    async fn stop(mut self) {
        // Last started, first stopped: an edge goes before its PoP.
        while let Some(process) = self.processes.pop() {
            process.stop().await;
        }
    }
}

/// Whether files of a run are left behind, to look into what went wrong.
fn keeps_files() -> bool {
    std::env::var_os("TITAN_PERF_KEEP").is_some()
}

/// Lines of each log in an error message.
const LOG_TAIL: usize = 15;
