//! The command line.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{runtime::Builder, task::LocalSet};

use crate::{
    counts::{self, Baseline},
    delay::{self, Link},
    hold::{self, Unit},
    load::{self, Plan, Route, Work},
    report::{Report, chart, compare, page, table},
    sample::Roles,
    scenario::{Bench, Lengths, Scenario, seconds},
    stall, storm,
    subject::{Io, Peer, Subject, Titan},
    target::{self, Endpoints},
    via::{Login, Via},
};

/// Whole-system measurement of Titan IP Overlay, beside other programs in the same run.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve source, sink, echo and one-byte answers, and print where
    Target(TargetArgs),
    /// Load a way to the target and measure what it costs given processes
    Load(LoadArgs),
    /// Hold sessions or tunnels open and measure what each costs given processes
    Idle(IdleArgs),
    /// Measure one session alone and beside sessions that are never read
    Stall(StallArgs),
    /// Connect edges, cut them all, and measure how they come back
    Storm(StormArgs),
    /// Relay TCP with a delay, and with a rate, losses and small pieces if wanted
    Delay(DelayArgs),
    /// Start everything, run all scenarios, print a table and write the figures
    Run(RunArgs),
    /// Show two files of figures beside each other
    Compare {
        /// The first
        a: PathBuf,
        /// The second
        b: PathBuf,
    },
    /// Print a file of figures as tables, and draw its charts
    Show {
        /// The file
        report: PathBuf,
        /// Directory for the charts
        #[arg(long)]
        charts: Option<PathBuf>,
        /// Markdown file whose figures to replace
        #[arg(long)]
        page: Option<PathBuf>,
    },
    /// Draw flame graphs of PoP and edge under each kind of load
    Flame(FlameArgs),
    /// Count instructions with callgrind and compare them with perf/baseline.json
    Counts {
        /// Replace the baseline
        #[arg(long)]
        write_baseline: bool,
    },
    #[command(hide = true)]
    HoldSessions(HoldSessionsArgs),
    #[command(hide = true)]
    HoldTunnels(HoldTunnelsArgs),
}

#[derive(Args)]
struct TargetArgs {
    /// Address to serve on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// First of four ports, in the order source, sink, echo, answer; without it, free ones
    #[arg(long)]
    port: Option<u16>,
}

/// Where load goes.
#[derive(Args)]
pub(crate) struct RouteArgs {
    /// Go through this SOCKS5 proxy
    #[arg(long, value_name = "ADDR", conflicts_with = "connect")]
    socks5: Option<SocketAddr>,
    /// Go through this proxy by HTTP CONNECT
    #[arg(long, value_name = "ADDR")]
    connect: Option<SocketAddr>,
    /// Log in with this
    #[arg(long, value_name = "USER:PASSWORD")]
    login: Option<Login>,
    /// What `titan-perf target` has printed
    #[arg(long, value_name = "JSON", value_parser = endpoints)]
    target: Endpoints,
    /// Processes to charge
    #[arg(long, value_name = "ROLE=PID,…", default_value = "")]
    watch: Roles,
}

#[derive(Args)]
struct LoadArgs {
    /// What the clients do
    work: Work,
    #[command(flatten)]
    route: RouteArgs,
    /// Clients at a time
    #[arg(long, default_value_t = 16)]
    sessions: usize,
    /// Time of the measurement
    #[arg(long = "seconds", value_parser = seconds, default_value = "5")]
    duration: Duration,
    /// Load before the measurement
    #[arg(long = "warm-up-seconds", value_parser = seconds, default_value = "0.5")]
    warm_up: Duration,
}

#[derive(Args)]
struct IdleArgs {
    #[command(subcommand)]
    unit: IdleUnit,
}

#[derive(Subcommand)]
enum IdleUnit {
    /// Sessions to the echo service
    Sessions {
        #[command(flatten)]
        route: RouteArgs,
        #[command(flatten)]
        idle: IdleLengths,
    },
    /// Tunnels of simulated edges
    Tunnels {
        #[command(flatten)]
        control: ControlArgs,
        /// Processes to charge
        #[arg(long, value_name = "ROLE=PID,…", default_value = "")]
        watch: Roles,
        #[command(flatten)]
        idle: IdleLengths,
    },
}

#[derive(Args)]
struct IdleLengths {
    /// How many
    #[arg(long, default_value_t = 1_000)]
    count: usize,
    /// Time for which they are held and the CPU clocks are watched
    #[arg(long = "seconds", value_parser = seconds, default_value = "15")]
    duration: Duration,
}

/// A manager, and the right to enrol edges there.
#[derive(Args)]
struct ControlArgs {
    /// URL of the manager
    #[arg(long, value_name = "URL")]
    manager: String,
    /// Key that the edges enrol with
    #[arg(long, value_name = "KEY")]
    enrolment_key: String,
}

#[derive(Args)]
struct StallArgs {
    #[command(flatten)]
    route: RouteArgs,
    /// Sessions that are never read
    #[arg(long, default_value_t = 50)]
    stalled: usize,
    /// Time of each of three measurements
    #[arg(long = "seconds", value_parser = seconds, default_value = "3")]
    duration: Duration,
}

#[derive(Args)]
struct StormArgs {
    #[command(flatten)]
    control: ControlArgs,
    /// How many
    #[arg(long, default_value_t = 1_000)]
    edges: usize,
    /// Processes to charge
    #[arg(long, value_name = "ROLE=PID,…", default_value = "")]
    watch: Roles,
}

#[derive(Args)]
struct FlameArgs {
    /// Kinds of load; all without any
    work: Vec<Work>,
    /// Time of each recording
    #[arg(long = "seconds", value_parser = seconds, default_value = "4")]
    duration: Duration,
    /// How PoP and edge wait for their sockets
    #[arg(long, default_value = "auto")]
    io: Io,
    /// Directory for the graphs
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/out"))]
    out: PathBuf,
}

#[derive(Args)]
struct HoldSessionsArgs {
    #[arg(long)]
    first: usize,
    #[arg(long)]
    count: usize,
    #[arg(long)]
    route: String,
}

#[derive(Args)]
struct HoldTunnelsArgs {
    #[arg(long)]
    first: usize,
    #[arg(long)]
    count: usize,
    #[command(flatten)]
    control: ControlArgs,
}

#[derive(Args)]
struct DelayArgs {
    /// Address to listen on
    #[arg(long)]
    listen: SocketAddr,
    /// Address to relay to
    #[arg(long)]
    to: SocketAddr,
    #[command(flatten)]
    link: Link,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    lengths: Lengths,
    /// Run only these scenarios
    #[arg(long, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Run only beside these peers; "none" for none
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Shards of the PoP
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// How PoP and edge wait for their sockets
    #[arg(long, default_value = "auto")]
    io: Io,
    /// File for the figures
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/out/report.json"))]
    out: PathBuf,
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// What went wrong, for people.
    pub fn run(self) -> Result<()> {
        raise_file_limit()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            tokio::select! {
                done = self.command.run() => done,
                // Dropping the command ends what it has started.
                _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
            }
        })
    }
}

impl Command {
    async fn run(self) -> Result<()> {
        match self {
            Self::Target(args) => {
                let endpoints = target::start(args.listen, args.port)?;
                println!("{}", serde_json::to_string(&endpoints)?);
                std::future::pending().await
            }
            Self::Delay(args) => {
                println!("{} to {}", args.listen, args.to);
                delay::serve(args.listen, args.to, args.link).await
            }
            Self::Load(args) => args.run().await,
            Self::Idle(args) => args.unit.run().await,
            Self::Stall(args) => {
                let (route, watch) = (args.route.route(), &args.route.watch);
                print(&stall::measure(&route, watch, args.stalled, args.duration).await?)
            }
            Self::Storm(StormArgs {
                control,
                edges,
                watch,
            }) => {
                let (url, key) = (&control.manager, &control.enrolment_key);
                print(&storm::run(url, key, edges, &watch).await?)
            }
            Self::Compare { a, b } => {
                let (a, b) = (Report::read(&a)?, Report::read(&b)?);
                println!("{}", compare::markdown(&a, &b));
                compare::unsteady(&a, &b)
                    .iter()
                    .for_each(|what| println!("! {what}"));
                Ok(())
            }
            Self::Show {
                report,
                charts,
                page,
            } => {
                let report = Report::read(&report)?;
                println!("{}", table::markdown(&report));
                if let Some(charts) = charts {
                    chart::write_all(&report, &charts)?;
                }
                page.map_or(Ok(()), |path| page::update(&report, &path))
            }
            Self::Flame(args) => args.run().await,
            Self::Counts { write_baseline } => count(write_baseline),
            Self::HoldSessions(args) => {
                hold::sessions(&serde_json::from_str(&args.route)?, args.first, args.count).await
            }
            Self::HoldTunnels(HoldTunnelsArgs {
                first,
                count,
                control,
            }) => hold::tunnels(&control.manager, &control.enrolment_key, first, count).await,
            Self::Run(args) => args.run().await,
        }
    }
}

impl RouteArgs {
    fn route(&self) -> Route {
        let login = self.login.clone();
        let via = match (self.socks5, self.connect) {
            (Some(proxy), _) => Via::Socks5 { proxy, login },
            (_, Some(proxy)) => Via::Connect { proxy, login },
            _ => Via::Direct,
        };
        Route {
            via,
            endpoints: self.target,
        }
    }
}

impl IdleUnit {
    async fn run(self) -> Result<()> {
        let (unit, watch, idle) = match self {
            Self::Sessions { route, idle } => {
                (Unit::Session(route.route()), route.watch.clone(), idle)
            }
            Self::Tunnels {
                control,
                watch,
                idle,
            } => {
                let ControlArgs {
                    manager: manager_url,
                    enrolment_key,
                } = control;
                (
                    Unit::Tunnel {
                        manager_url,
                        enrolment_key,
                    },
                    watch,
                    idle,
                )
            }
        };
        print(&hold::measure(&unit, idle.count, idle.duration, &watch).await?)
    }
}

impl LoadArgs {
    async fn run(self) -> Result<()> {
        let Self {
            work,
            sessions,
            duration,
            warm_up,
            ..
        } = self;
        let plan = Plan {
            work,
            sessions,
            warm_up,
            duration,
        };
        let outcome = load::run(&plan, &self.route.route(), &self.route.watch).await?;
        let cpu = |role: &String| Some((role.clone(), outcome.cpu_per_unit(role)?));
        let cpu: std::collections::BTreeMap<_, _> = outcome.cpu.keys().filter_map(cpu).collect();
        let found = serde_json::json!({
            "work": work,
            "sessions": sessions,
            "units": outcome.units,
            "failures": outcome.failures,
            "seconds": outcome.elapsed.as_secs_f64(),
            "units_per_second": outcome.rate(),
            "cpu_seconds_per_unit": cpu,
            "latency": outcome.latency,
        });
        print(&found)
    }
}

impl RunArgs {
    async fn run(self) -> Result<()> {
        let subjects = self.subjects()?;
        let lengths = &self.lengths;
        let settings = [
            ("rounds", lengths.rounds.to_string()),
            ("seconds", lengths.duration.as_secs_f64().to_string()),
            ("sessions", lengths.sessions.to_string()),
            ("idle", lengths.idle.to_string()),
            ("stalled", lengths.stalled.to_string()),
            ("storm", lengths.storm.to_string()),
            ("shards", self.shards.to_string()),
            ("io", format!("{:?}", self.io).to_lowercase()),
        ];
        let settings = settings
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec();
        let report = Report::new(settings)?;
        let scenarios = if self.only.is_empty() {
            Scenario::ALL.to_vec()
        } else {
            self.only
        };
        let report = Bench::new(subjects, self.lengths, report)
            .await?
            .run(&scenarios)
            .await?;
        report.write(&self.out)?;
        println!("{}\n{}", report.machine.line(), table::markdown(&report));
        println!("figures: {}", self.out.display());
        Ok(())
    }

    fn subjects(&self) -> Result<Vec<Subject>> {
        let titan = Titan {
            shards: self.shards,
            io: self.io,
            with_edge: true,
        };
        let mut subjects = vec![Subject::Titan(titan)];
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
        for peer in Peer::all(directory.as_ref())? {
            if self.peers.is_empty() || self.peers.iter().any(|name| name == peer.name()) {
                subjects.push(Subject::Peer(peer));
            }
        }
        Ok(subjects)
    }
}

impl FlameArgs {
    async fn run(self) -> Result<()> {
        let titan = Titan {
            shards: 1,
            io: self.io,
            with_edge: true,
        };
        let report = Report::new(Vec::new())?;
        let bench = Bench::new(vec![Subject::Titan(titan)], Lengths::default(), report).await?;
        let works = if self.work.is_empty() {
            Work::ALL.to_vec()
        } else {
            self.work
        };
        for file in bench.draw(&works, self.duration, &self.out).await? {
            println!("{}", file.display());
        }
        Ok(())
    }
}

fn count(write_baseline: bool) -> Result<()> {
    let now = counts::count_all(&counts::build()?)?;
    let before = Baseline::read().ok();
    for (driver, now) in &now {
        let before = before
            .as_ref()
            .and_then(|baseline| baseline.instructions.get(driver));
        let change = before.map_or(String::new(), |before| {
            format!(" {:+.1} %", (now / before - 1.0) * 100.0)
        });
        println!("{driver:<16} {now:>10.1}{change}");
    }
    if write_baseline {
        let tolerance_percent = before.map_or(TOLERANCE_PERCENT, |before| before.tolerance_percent);
        Baseline {
            rustc: counts::rustc()?,
            tolerance_percent,
            instructions: now,
        }
        .write()?;
    }
    Ok(())
}

fn print(found: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(found)?);
    Ok(())
}

fn endpoints(text: &str) -> Result<Endpoints, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// As many open files as the system allows: this program holds both ends of thousands of
/// connections.
fn raise_file_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the limit of open files")
}

/// What a new baseline tolerates: above the digits that a change elsewhere in a function moves,
/// below what a person would notice.
const TOLERANCE_PERCENT: f64 = 5.0;
