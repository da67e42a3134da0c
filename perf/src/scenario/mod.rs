//! Every scenario on every subject, in one run.

mod delay;
mod idle;
mod stall;
mod steady;
mod storm;
mod wrk;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    flame, limits::START_TIMEOUT, load::Work, process::Process, report::Report, subject::Subject,
    target::Endpoints,
};

/// How long and how much; the defaults keep a run within ten minutes.
#[derive(Debug, Clone, clap::Args)]
pub struct Lengths {
    /// Measurements of each figure under steady load; the table shows the median
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Sessions of steady load
    #[arg(long, default_value_t = 16)]
    pub sessions: usize,
    /// Time of each measurement
    #[arg(long = "seconds", value_parser = seconds, default_value = "2")]
    pub duration: Duration,
    /// Load before each measurement
    #[arg(long = "warm-up-seconds", value_parser = seconds, default_value = "0.5")]
    pub warm_up: Duration,
    /// Idle sessions that are held. Programs with two descriptors a session reach 20,000 with ten
    /// thousand
    #[arg(long, default_value_t = 8_000)]
    pub idle_sessions: usize,
    /// Idle tunnels that are held
    #[arg(long, default_value_t = 10_000)]
    pub idle_tunnels: usize,
    /// Idle tunnels of a peer that has to be told each by its configuration
    #[arg(long, default_value_t = 1_000)]
    pub peer_tunnels: usize,
    /// Time for processes to come to rest before their memory is looked at
    #[arg(long = "settle-seconds", value_parser = seconds, default_value = "2")]
    pub settle: Duration,
    /// Time for which idle tunnels are watched; one heartbeat interval is 15 s
    #[arg(long = "heartbeat-seconds", value_parser = seconds, default_value = "15")]
    pub heartbeats: Duration,
    /// Measurements of one session beside those that are never read
    #[arg(long, default_value_t = 3)]
    pub stall_rounds: usize,
    /// Sessions that are never read
    #[arg(long, default_value_t = 50)]
    pub stalled: usize,
    /// Edges of a storm
    #[arg(long, default_value_t = 2_000)]
    pub storm: usize,
    /// Time of each measurement with wrk
    #[arg(long = "wrk-seconds", value_parser = seconds, default_value = "10")]
    pub wrk: Duration,
}

/// A run under way.
pub struct Bench {
    subjects: Vec<Subject>,
    endpoints: Endpoints,
    lengths: Lengths,
    report: Report,
    target: Process,
    started: std::time::Instant,
}

/// Which scenarios to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// CPU per GB, echo and connection.
    Steady,
    /// Memory of idle sessions.
    Sessions,
    /// Throughput beside stalled sessions, and the memory they take.
    Stall,
    /// First byte and throughput with a delay between the sides.
    Delay,
    /// Memory and CPU of idle tunnels.
    Tunnels,
    /// Edges that all come back at once.
    Storm,
    /// wrk through the HTTP proxy and against the manager.
    Wrk,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 7] = [
        Self::Steady,
        Self::Sessions,
        Self::Stall,
        Self::Delay,
        Self::Tunnels,
        Self::Storm,
        Self::Wrk,
    ];
}

impl Default for Lengths {
    fn default() -> Self {
        // What the command line has without arguments.
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            lengths: Lengths,
        }
        <Only as clap::Parser>::parse_from(["titan-perf"]).lengths
    }
}

impl Bench {
    /// Starts the targets, in a process of their own.
    ///
    /// # Errors
    /// They do not start.
    pub async fn new(subjects: Vec<Subject>, lengths: Lengths, report: Report) -> Result<Self> {
        let log = Path::new("/dev/stderr");
        let listen = format!("--listen={}", Ipv4Addr::LOCALHOST);
        let this = std::env::current_exe()?;
        let mut target = Process::start(&this, &["target", &listen], &[], log)?;
        let endpoints = serde_json::from_str(&target.line(START_TIMEOUT).await?)?;
        let started = std::time::Instant::now();
        Ok(Self {
            subjects,
            endpoints,
            lengths,
            report,
            target,
            started,
        })
    }

    /// Runs `scenarios` and gives what was found. A scenario that fails is noted there, and the
    /// next one runs.
    pub async fn run(mut self, scenarios: &[Scenario]) -> Report {
        for &scenario in scenarios {
            self.say(&format!("== {scenario:?}"));
            if let Err(error) = self.scenario(scenario).await {
                let failure = format!("{scenario:?}: {error:#}");
                self.say(&format!("FAILED {failure}"));
                self.report.failures.push(failure);
            }
        }
        self.target.stop().await;
        self.report
    }

    async fn scenario(&mut self, scenario: Scenario) -> Result<()> {
        match scenario {
            Scenario::Steady => steady::run(self).await,
            Scenario::Sessions => idle::sessions(self).await,
            Scenario::Stall => stall::run(self).await,
            Scenario::Delay => delay::run(self).await,
            Scenario::Tunnels => idle::tunnels(self).await,
            Scenario::Storm => storm::run(self).await,
            Scenario::Wrk => wrk::run(self).await,
        }
    }

    /// Draws flame graphs of the first subject under each of `works`.
    ///
    /// # Errors
    /// It fails under load, or a program that draws is missing.
    pub async fn draw(
        self,
        works: &[Work],
        duration: Duration,
        directory: &Path,
    ) -> Result<Vec<PathBuf>> {
        let subject = self.subjects.first().context("nothing to draw")?;
        let running = subject.start(&self.stage()).await?;
        let mut files = Vec::new();
        for &work in works {
            files.extend(flame::draw(&running, work, duration, directory).await?);
        }
        running.stop().await;
        self.target.stop().await;
        Ok(files)
    }

    fn say(&self, text: &str) {
        eprintln!("{:>4} s  {text}", self.started.elapsed().as_secs());
    }
}

/// Reads a number of seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
