//! Programs that this one starts, and ends again by their process id.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{Instant, sleep, timeout},
};

use crate::limits::{POLL_INTERVAL, START_TIMEOUT, STOP_TIMEOUT};

/// A program that runs until this is dropped or stopped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: u32,
    output: Option<Lines<BufReader<ChildStdout>>>,
}

impl Process {
    /// Starts `program`. It is ended when this process ends, even by SIGKILL, and its standard
    /// input ends then too. Standard error goes to `log`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(
        program: &Path,
        args: &[&str],
        env: &[(&str, String)],
        log: &Path,
    ) -> Result<Self> {
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)?;
        // setpriv becomes the program: the process id is the program's.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--"])
            .arg(program)
            .args(args)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let pid = child.id().context("the program has ended at once")?;
        let mut process = Self {
            name,
            child,
            pid,
            output: None,
        };
        let output = process.child.stdout.take().context("no output")?;
        process.output = Some(BufReader::new(output).lines());
        Ok(process)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The next line of its output.
    ///
    /// # Errors
    /// None came in time, or the program has ended.
    pub async fn line(&mut self, patience: Duration) -> Result<String> {
        let name = &self.name;
        let lines = self
            .output
            .as_mut()
            .context("the output is not read any more")?;
        let line = timeout(patience, lines.next_line()).await;
        let line = line.with_context(|| format!("{name} has said nothing for {patience:?}"))?;
        line?.with_context(|| format!("{name} has ended; see its log"))
    }

    /// Reads and drops what else it says, so that it is never held up by that.
    pub fn ignore_output(&mut self) {
        if let Some(mut lines) = self.output.take() {
            tokio::spawn(async move { while matches!(lines.next_line().await, Ok(Some(_))) {} });
        }
    }

    /// Ends its standard input, which asks this project's own helpers to end, sends SIGTERM, and
    /// after [`STOP_TIMEOUT`] SIGKILL.
    pub async fn stop(mut self) {
        drop(self.child.stdin.take());
        if let Ok(pid) = i32::try_from(self.pid)
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    /// Ends it by SIGKILL, without a word.
    pub async fn kill(mut self) {
        let _ = self.child.kill().await;
    }

    /// Fails if the program has ended.
    ///
    /// # Errors
    /// It has.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} has ended with {status}", self.name),
            None => Ok(()),
        }
    }
}

/// A port of 127.0.0.1 that nobody listens on now.
///
/// # Errors
/// There is none.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The program `name` beside this one.
///
/// # Errors
/// It is not there.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.is_file() {
        bail!(
            "{} is missing: build the workspace's programs first",
            path.display()
        );
    }
    Ok(path)
}

/// Calls `attempt` until it succeeds, for at most [`START_TIMEOUT`].
///
/// # Errors
/// The last failure of `attempt`.
pub async fn until_ok<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("waiting for {what}"));
            }
            Err(_) => sleep(POLL_INTERVAL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_runs_under_its_own_id_until_it_is_stopped() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let args = ["-c", "echo $$; exec sleep 1000"];
        let mut process = Process::start(Path::new("sh"), &args, &[], log.path()).unwrap();
        let line = process.line(START_TIMEOUT).await.unwrap();
        assert_eq!(line, process.pid().to_string());
        process.check().unwrap();
        let pid = process.pid();
        process.stop().await;
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[tokio::test]
    async fn a_program_that_ends_is_noticed() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let args = ["-c", "echo done; exit 3"];
        let mut process = Process::start(Path::new("sh"), &args, &[], log.path()).unwrap();
        assert_eq!(process.line(START_TIMEOUT).await.unwrap(), "done");
        assert!(process.line(START_TIMEOUT).await.is_err());
        until_ok("the end", || {
            std::future::ready(process.check().err().context("runs"))
        })
        .await
        .unwrap();
    }
}
