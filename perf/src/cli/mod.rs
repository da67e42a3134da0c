//! The command line.

mod alone;
mod whole;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

use alone::{
    DelayArgs, HoldSessionsArgs, HoldTunnelsArgs, IdleArgs, LoadArgs, NarrowArgs, StallArgs,
    StormArgs, TargetArgs, UdpArgs,
};
use whole::{CompareArgs, CountsArgs, FlameArgs, RunArgs, ShowArgs, SoakArgs};

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
    /// Measure small echoes beside a session that fills a link
    Narrow(NarrowArgs),
    /// Echo datagrams through SOCKS5 UDP ASSOCIATE
    Udp(UdpArgs),
    /// Connect edges, cut them all, and measure how they come back
    Storm(StormArgs),
    /// Relay TCP with a delay, and with a rate, losses and small pieces if wanted
    Delay(DelayArgs),
    /// Start everything, run all scenarios, print a table and write the figures
    Run(RunArgs),
    /// Load manager, PoP and edges for minutes or hours while edges are killed, and check that
    /// nothing is lost, changed or left behind
    Soak(SoakArgs),
    /// Show two files of figures beside each other
    Compare(CompareArgs),
    /// Print a file of figures as tables, and draw its charts
    Show(ShowArgs),
    /// Draw flame graphs of PoP and edge under each kind of load
    Flame(FlameArgs),
    /// Count instructions with callgrind and compare them with perf/baseline.json
    Counts(CountsArgs),
    #[command(hide = true)]
    HoldSessions(HoldSessionsArgs),
    #[command(hide = true)]
    HoldTunnels(HoldTunnelsArgs),
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
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            // Dropping the command ends what it has started.
            tokio::select! {
                done = self.command.run() => done,
                // Helpers are ended this way when their work is done.
                _ = terminate.recv() => Ok(()),
                _ = interrupt.recv() => bail!("interrupted"),
            }
        })
    }
}

impl Command {
    async fn run(self) -> Result<()> {
        match self {
            Self::Target(args) => args.run().await,
            Self::Load(args) => args.run().await,
            Self::Idle(args) => args.run().await,
            Self::Stall(args) => args.run().await,
            Self::Narrow(args) => args.run().await,
            Self::Udp(args) => args.run().await,
            Self::Storm(args) => args.run().await,
            Self::Soak(args) => args.run().await,
            Self::Delay(args) => args.run().await,
            Self::Run(args) => args.run().await,
            Self::Compare(args) => args.run(),
            Self::Show(args) => args.run(),
            Self::Flame(args) => args.run().await,
            Self::Counts(args) => args.run(),
            Self::HoldSessions(args) => args.run().await,
            Self::HoldTunnels(args) => args.run().await,
        }
    }
}

/// As many open files as the system allows: this program holds both ends of thousands of
/// connections.
fn raise_file_limit() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("raising the limit of open files")
}
