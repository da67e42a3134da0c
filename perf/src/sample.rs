//! What the processes under test have used: their CPU clocks and their resident memory.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result};
use nix::{time::clock_getcpuclockid, unistd::Pid};
use serde::{Deserialize, Serialize};

/// Processes by the part they play, such as `pop` and `edge`. A part may be played by several
/// processes, which are then summed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Roles(BTreeMap<String, Vec<u32>>);

/// CPU time by role.
pub type Cpu = BTreeMap<String, Duration>;

/// Resident bytes by role.
pub type Resident = BTreeMap<String, u64>;

impl Roles {
    /// Adds a process.
    pub fn add(&mut self, role: &str, pid: u32) {
        self.0.entry(role.to_owned()).or_default().push(pid);
    }

    /// Whether there is no process.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The processes of `role`.
    pub fn pids(&self, role: &str) -> &[u32] {
        self.0.get(role).map_or(&[], Vec::as_slice)
    }

    /// Every process.
    pub fn all(&self) -> impl Iterator<Item = (&str, u32)> {
        let each = |(role, pids): (_, &Vec<u32>)| {
            let role: &String = role;
            let role = role.as_str();
            pids.clone().into_iter().map(move |pid| (role, pid))
        };
        self.0.iter().flat_map(each)
    }

    /// CPU time used so far, by role.
    ///
    /// # Errors
    /// A process has ended.
    pub fn cpu(&self) -> Result<Cpu> {
        self.sum(cpu_time)
    }

    /// Resident memory now, by role.
    ///
    /// # Errors
    /// A process has ended.
    pub fn resident(&self) -> Result<Resident> {
        self.sum(resident)
    }

    fn sum<T: std::iter::Sum>(&self, of: fn(u32) -> Result<T>) -> Result<BTreeMap<String, T>> {
        self.0
            .iter()
            .map(|(role, pids)| {
                let sum = pids.iter().map(|&pid| of(pid)).sum::<Result<T>>();
                let sum = sum.with_context(|| format!("{role} has ended"))?;
                Ok((role.clone(), sum))
            })
            .collect()
    }
}

impl std::str::FromStr for Roles {
    type Err = anyhow::Error;

    /// Reads `role=pid,role=pid`.
    fn from_str(text: &str) -> Result<Self> {
        let mut roles = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (role, pid) = part.split_once('=').context("expected role=pid")?;
            roles.add(role, pid.parse().context("pid")?);
        }
        Ok(roles)
    }
}

/// CPU time of a process since its start, threads that have ended included; kernel and user.
///
/// # Errors
/// There is no such process.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let pid = Pid::from_raw(i32::try_from(pid)?);
    Ok(clock_getcpuclockid(pid)?.now()?.into())
}

/// Resident memory of a process in bytes, as the page tables have it: `statm` lags behind them.
///
/// # Errors
/// There is no such process, or it is another user's.
pub fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("no Rss line")?.trim().parse()?;
    Ok(kib * 1024)
}

/// Files that a process has open.
///
/// # Errors
/// There is no such process, or it is another user's.
pub fn open_files(pid: u32) -> Result<usize> {
    let path = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&path).with_context(|| path.clone())?.count())
}

/// What was used between two looks.
pub fn used(before: &Cpu, after: &Cpu) -> Cpu {
    let since = |role: &String, cpu: &Duration| {
        cpu.saturating_sub(before.get(role).copied().unwrap_or_default())
    };
    after
        .iter()
        .map(|(role, cpu)| (role.clone(), since(role, cpu)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_on_the_cpu_clock_and_memory_in_the_resident_set() {
        let me = std::process::id();
        let (cpu, rss) = (cpu_time(me).unwrap(), resident(me).unwrap());
        let bytes = vec![1u8; 64 << 20];
        assert_eq!(
            bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>(),
            64 << 20
        );
        assert!(cpu_time(me).unwrap() > cpu);
        assert!(resident(me).unwrap() >= rss + (60 << 20));
    }

    #[test]
    fn roles_are_read_and_summed() {
        let me = std::process::id();
        let roles: Roles = format!("pop={me},edge={me},edge={me}").parse().unwrap();
        assert_eq!(roles.pids("edge"), [me, me]);
        let cpu = roles.cpu().unwrap();
        assert!(cpu["edge"] > cpu["pop"]);
        assert!("pop".parse::<Roles>().is_err());
    }

    #[test]
    fn an_open_file_is_counted() {
        let me = std::process::id();
        let before = open_files(me).unwrap();
        let files: Vec<_> = (0..100).map(|_| tempfile::tempfile().unwrap()).collect();
        assert!(open_files(me).unwrap() >= before + 50, "{}", files.len());
    }

    #[test]
    fn a_process_that_has_ended_is_an_error() {
        let roles: Roles = "pop=4194305".parse().unwrap();
        assert!(roles.cpu().is_err() && roles.resident().is_err());
    }
}
