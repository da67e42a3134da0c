//! The program `titan-edge`: configuration, log, signals, and an [`Edge`] in between.

#![forbid(unsafe_code)]

use std::{env, io, io::IsTerminal, process::ExitCode, thread};

use anyhow::Context;
use clap::Parser;
use titan_edge::{Cli, Config, Edge, LogConfig, LogFormat, Stopper};
use tokio::{
    runtime::{self, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let (config, log) = match configuration() {
        Ok(configuration) => configuration,
        Err(exit) => return exit,
    };
    let done = match start_log(&log) {
        Ok(()) => run(config).map_err(|error| (ExitCode::FAILURE, error)),
        Err(error) => Err((ExitCode::from(EX_USAGE), error)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err((exit, error)) => {
            eprintln!("titan-edge: {error:#}");
            exit
        }
    }
}

/// Reads flags, environment and file; answers `--help` and bad ones itself.
fn configuration() -> Result<(Config, LogConfig), ExitCode> {
    let cli = Cli::try_parse().map_err(|error| {
        let asked_for = !error.use_stderr();
        // The terminal may be gone; there is nobody left to tell.
        let _ = error.print();
        if asked_for {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EX_USAGE)
        }
    })?;
    let checked = Cli::check_environment(env::vars_os().map(|(name, _)| name));
    checked.and_then(|()| cli.into_config()).map_err(|error| {
        eprintln!("titan-edge: {error}");
        ExitCode::from(EX_USAGE)
    })
}

fn start_log(log: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).context("`log_level`")?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        // Otherwise a log that cannot be written (a closed pipe) ends in a panic.
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

fn run(config: Config) -> anyhow::Result<()> {
    // The usual soft limit, 1024, exists for programs that use `select`.
    if let Err(error) = rlimit::increase_nofile_limit(rlimit::INFINITY) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    // Before anything runs that a signal should find its way to.
    let signals = Signals::listen().context("signals")?;
    let edge = Edge::start(config)?;
    signals.stop(edge.stopper())?;
    edge.join();
    Ok(())
}

/// SIGTERM and SIGINT. The first lets sessions finish, the second ends the process.
struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (terminate, interrupt) = {
            let _context = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            )
        };
        Ok(Self {
            runtime,
            terminate,
            interrupt,
        })
    }

    /// Waits on a thread of its own.
    fn stop(mut self, stopper: Stopper) -> anyhow::Result<()> {
        let wait = move || {
            self.next();
            tracing::info!("stopping; a second signal ends the process at once");
            stopper.stop();
            self.next();
            std::process::exit(EXIT_INTERRUPTED);
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(wait)
            .context("signal thread")?;
        Ok(())
    }

    fn next(&mut self) {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
        });
    }
}

/// `EX_USAGE` of sysexits.h: the command or its configuration is wrong.
const EX_USAGE: u8 = 64;

/// What a shell calls a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;
