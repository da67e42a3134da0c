//! The edges of a soak, which are killed and come back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{ledger::Ledger, site::Site};
use crate::{
    process::Process,
    subject::{Control, Io},
};

/// Edges by number; one that was killed is missing until it is started again.
pub(super) struct Edges {
    control: Control,
    directory: PathBuf,
    io: Io,
    running: BTreeMap<usize, Process>,
    count: usize,
}

impl Edges {
    pub(super) fn new(control: Control, directory: PathBuf, io: Io, count: usize) -> Self {
        Self {
            control,
            directory,
            io,
            running: BTreeMap::new(),
            count,
        }
    }

    /// Starts every edge that does not run and waits for their tunnels.
    ///
    /// # Errors
    /// One cannot be started, or gets no tunnel.
    pub(super) async fn start_missing(&mut self) -> Result<()> {
        for index in 0..self.count {
            if !self.running.contains_key(&index) {
                let edge = self.control.start_edge(&self.directory, index, self.io)?;
                self.running.insert(index, edge);
            }
        }
        self.control.until_tunnels(self.count).await
    }

    /// The processes that run.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.running.values().map(Process::pid).collect()
    }

    /// Fails if an edge has ended by itself.
    ///
    /// # Errors
    /// One has.
    pub(super) fn check(&mut self) -> Result<()> {
        self.running.values_mut().try_for_each(Process::check)
    }

    /// Kills one of them and notes in the ledger whose sessions end with it.
    async fn kill(&mut self, rng: &mut SmallRng, site: &Site, ledger: &Ledger) -> Result<()> {
        let index = rng.random_range(0..self.count);
        let Some(edge) = self.running.remove(&index) else {
            return Ok(());
        };
        let pid = Pid::from_raw(i32::try_from(edge.pid())?);
        // It opens no more connections while we look whose it has.
        kill(pid, Signal::SIGSTOP)?;
        let ports = ports(edge.pid()).context("the edge's connections")?;
        ledger.kill(&site.sessions(&ports));
        edge.kill().await;
        Ok(())
    }

    /// Ends all of them.
    pub(super) async fn stop(self) {
        for edge in self.running.into_values() {
            edge.stop().await;
        }
    }
}

/// Kills an edge from time to time, `mean` apart, and starts it again, until the end.
///
/// # Errors
/// An edge has ended by itself or does not start again.
pub(super) async fn disturb(
    edges: &tokio::sync::Mutex<Edges>,
    mean: Duration,
    seed: u64,
    (site, ledger): (&Site, &Ledger),
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let mut rng = SmallRng::seed_from_u64(seed);
    loop {
        let pause = mean.mul_f64(rng.random_range(0.5..1.5));
        if timeout(pause, stop.wait_for(|&stop| stop)).await.is_ok() {
            return Ok(());
        }
        edges.lock().await.check()?;
        edges.lock().await.kill(&mut rng, site, ledger).await?;
        sleep(Duration::from_millis(rng.random_range(0..3_000))).await;
        edges.lock().await.start_missing().await?;
    }
}

/// Local ports of the IPv4 connections that a process has open.
fn ports(pid: u32) -> Result<BTreeSet<u16>> {
    let mut sockets = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // One that was closed meanwhile is nobody's any more.
        if let Ok(link) = fs::read_link(entry?.path()) {
            let link = link.to_string_lossy();
            let inode = link
                .strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'));
            sockets.extend(inode.map(str::to_owned));
        }
    }
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    // sl, local address as ADDRESS:PORT in hexadecimal, seven more fields, the inode.
    let port = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = fields.get(1)?.split_once(':')?.1;
        let is_its = sockets.contains(*fields.get(9)?);
        is_its.then(|| u16::from_str_radix(port, 16).ok()).flatten()
    };
    Ok(table.lines().skip(1).filter_map(port).collect())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_process_has_the_ports_that_it_has() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(ports(std::process::id()).unwrap().contains(&port));
        drop(listener);
        assert!(!ports(std::process::id()).unwrap().contains(&port));
    }
}
