//! Where a run takes place: hardware, kernel, limits, commit.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

/// What figures depend on besides the programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor as the kernel names it.
    pub cpu: String,
    /// Cores that may be used.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Whether io_uring is allowed (`kernel.io_uring_disabled` is 0).
    pub io_uring: bool,
    /// Most open files of a process.
    pub open_files: u64,
    /// Longest accept queue, `net.core.somaxconn`.
    pub somaxconn: u64,
    /// The compiler, as it names itself.
    pub rustc: String,
    /// The commit, with `+` where the working tree differed.
    pub commit: String,
    /// Versions of the other programs.
    pub programs: Vec<String>,
}

impl Machine {
    /// This one.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn here() -> Result<Self> {
        let uring = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        Ok(Self {
            cpu: field("/proc/cpuinfo", "model name")?,
            cores: std::thread::available_parallelism()?.get(),
            memory_mib: number(&field("/proc/meminfo", "MemTotal")?)? / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            io_uring: uring.is_ok_and(|text| text.trim() == "0"),
            open_files: getrlimit(Resource::RLIMIT_NOFILE)?.1,
            somaxconn: number(&fs::read_to_string("/proc/sys/net/core/somaxconn")?)?,
            rustc: output("rustc", &["--version"]),
            commit: commit(),
            programs: programs(),
        })
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let Self {
            cpu,
            cores,
            memory_mib,
            kernel,
            open_files,
            ..
        } = self;
        format!(
            "{cpu}, {cores} cores, {memory} GiB; Linux {kernel}; {open_files} open files",
            memory = memory_mib.div_ceil(1024),
        )
    }
}

/// Now, RFC 3339, UTC.
pub(super) fn now() -> Result<String> {
    let now = output("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]);
    (!now.is_empty())
        .then_some(now)
        .context("date does not tell the time")
}

fn commit() -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let commit = output("git", &["-C", root, "rev-parse", "--short=12", "HEAD"]);
    let changes = output(
        "git",
        &["-C", root, "status", "--porcelain", "--untracked-files=no"],
    );
    if changes.is_empty() {
        commit
    } else {
        commit + "+"
    }
}

fn programs() -> Vec<String> {
    let of = |program: &str, args: &[&str]| {
        output(program, args)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let rathole = crate::subject::tools().join("rathole");
    let versions = [
        of("haproxy", &["-v"]),
        format!("rathole {}", version_line(&rathole.display().to_string())),
        of(
            "dpkg-query",
            &["-W", "-f=${Package} ${Version}", "microsocks"],
        ),
        of("dpkg-query", &["-W", "-f=${Package} ${Version}", "wrk"]),
    ];
    versions
        .into_iter()
        .filter(|version| !version.is_empty())
        .collect()
}

/// The version in the description that rathole gives of its build.
fn version_line(program: &str) -> String {
    let text = output(program, &["--version"]);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Build Version:"));
    line.map_or_else(
        || "not installed".to_owned(),
        |version| version.trim().to_owned(),
    )
}

/// What a program says; nothing if it is not there.
fn output(program: &str, args: &[&str]) -> String {
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(args).env("PATH", path).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

fn field(path: &str, name: &str) -> Result<String> {
    let text = fs::read_to_string(path)?;
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    Ok(value
        .with_context(|| format!("no {name} in {path}"))?
        .1
        .trim()
        .to_owned())
}

fn number(text: &str) -> Result<u64> {
    let digits = text.split_whitespace().next().unwrap_or_default();
    digits
        .parse()
        .with_context(|| format!("{text:?} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_describes_itself() {
        let machine = Machine::here().unwrap();
        assert!(machine.cores > 0 && machine.memory_mib > 0 && machine.open_files > 0);
        assert!(!machine.kernel.is_empty() && !machine.line().is_empty());
        assert!(now().unwrap().ends_with('Z'));
    }
}
