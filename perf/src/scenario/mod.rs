//! Every scenario on every subject, in one run.

mod delay;
mod idle;
mod narrow;
mod shards;
mod stall;
mod steady;
mod storm;
mod udp;
mod wrk;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
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
    #[arg(long, default_value_t = 3)]
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
    /// Idle sessions that are held
    #[arg(long, default_value_t = 10_000)]
    pub idle_sessions: usize,
    /// Idle sessions of a peer at most: with two descriptors for each, a process reaches the usual
    /// 20,000 with ten thousand
    #[arg(long, default_value_t = 9_000)]
    pub peer_sessions: usize,
    /// Edges that share the idle sessions, for the same reason
    #[arg(long, default_value_t = 2)]
    pub idle_edges: usize,
    /// Idle tunnels that are held while memory is looked at
    #[arg(long, default_value_t = 10_000)]
    pub idle_tunnels: usize,
    /// Idle tunnels that are held while the CPU is: close to the usual 20,000 descriptors
    #[arg(long, default_value_t = 19_000)]
    pub many_tunnels: usize,
    /// Idle tunnels of a peer that has to be told each by its configuration
    #[arg(long, default_value_t = 1_000)]
    pub peer_tunnels: usize,
    /// Time for processes to come to rest before their memory is looked at
    #[arg(long = "settle-seconds", value_parser = seconds, default_value = "2")]
    pub settle: Duration,
    /// Time for which idle tunnels are watched: two heartbeat intervals of 15 s
    #[arg(long = "heartbeat-seconds", value_parser = seconds, default_value = "30")]
    pub heartbeats: Duration,
    /// Measurements of one session beside those that are never read
    #[arg(long, default_value_t = 2)]
    pub stall_rounds: usize,
    /// Sessions that are never read
    #[arg(long, default_value_t = 50)]
    pub stalled: usize,
    /// Sessions that are never read, when there are thousands
    #[arg(long, default_value_t = 5_000)]
    pub many_stalled: usize,
    /// Load on a narrow link before each measurement: windows settle within a few round trips
    #[arg(long = "narrow-warm-up-seconds", value_parser = seconds, default_value = "1")]
    pub narrow_warm_up: Duration,
    /// Time of each measurement on a narrow link
    #[arg(long = "narrow-seconds", value_parser = seconds, default_value = "6")]
    pub narrow: Duration,
    /// Datagrams and their rate
    #[command(flatten)]
    pub datagrams: crate::udp::Plan,
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
    started: Instant,
}

/// Which scenarios to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// CPU per GB, echo and connection, and memory under bulk load.
    Steady,
    /// CPU per GB of a PoP with two shards beside one with one.
    Shards,
    /// Memory of idle sessions.
    Sessions,
    /// Throughput beside stalled sessions, and the memory they take.
    Stall,
    /// The same with thousands of stalled sessions.
    ManyStalled,
    /// First byte and throughput with a delay between the sides.
    Delay,
    /// Small echoes beside a session that fills a narrow link.
    Narrow,
    /// Memory and CPU of idle tunnels.
    Tunnels,
    /// Edges that all come back at once.
    Storm,
    /// Datagrams through SOCKS5 UDP ASSOCIATE.
    Udp,
    /// wrk through the HTTP proxy and against the manager.
    Wrk,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 11] = [
        Self::Steady,
        Self::Shards,
        Self::Sessions,
        Self::Stall,
        Self::ManyStalled,
        Self::Delay,
        Self::Narrow,
        Self::Tunnels,
        Self::Storm,
        Self::Udp,
        Self::Wrk,
    ];

    /// Its name on the command line.
    fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
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
        let (target, endpoints) = targets(&[]).await?;
        let started = Instant::now();
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
            let (name, start) = (scenario.name(), Instant::now());
            self.say(&format!("== {name}"));
            if let Err(error) = self.scenario(scenario).await {
                let failure = format!("{name}: {error:#}");
                self.say(&format!("FAILED {failure}"));
                self.report.failures.push(failure);
            }
            let took = start.elapsed().as_secs_f64();
            self.report.times.push((name, took));
        }
        self.target.stop().await;
        self.report
    }

    async fn scenario(&mut self, scenario: Scenario) -> Result<()> {
        match scenario {
            Scenario::Steady => steady::run(self).await,
            Scenario::Shards => shards::run(self).await,
            Scenario::Sessions => idle::sessions(self).await,
            Scenario::Stall => stall::run(self).await,
            Scenario::ManyStalled => stall::many(self).await,
            Scenario::Delay => delay::run(self).await,
            Scenario::Narrow => narrow::run(self).await,
            Scenario::Tunnels => idle::tunnels(self).await,
            Scenario::Storm => storm::run(self).await,
            Scenario::Udp => udp::run(self).await,
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

/// Starts targets with further arguments, in a process of their own.
async fn targets(args: &[&str]) -> Result<(Process, Endpoints)> {
    let listen = format!("--listen={}", Ipv4Addr::LOCALHOST);
    let this = std::env::current_exe()?;
    let args = [&["target", &*listen], args].concat();
    let mut target = Process::start(&this, &args, &[], Path::new("/dev/stderr"))?;
    let endpoints = serde_json::from_str(&target.line(START_TIMEOUT).await?)?;
    Ok((target, endpoints))
}

/// Reads a number of seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
