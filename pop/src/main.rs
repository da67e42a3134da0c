//! `titan-pop`: the ingress gateway as a process of its own.

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use titan_pop::{
    Config, ConfigError, Pop,
    config::{LogFormat, Overrides},
};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The ingress gateway of Titan IP Overlay.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// TOML file with settings; every key can also be given below.
    #[arg(long, env = "TITAN_POP_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                EXIT_USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let config = match read_config(&args) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("titan-pop: bad configuration: {error}");
            return EXIT_USAGE.into();
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("titan-pop: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<()> {
    start_log(&config)?;
    // The usual soft limit, 1024, exists for programs that use `select`.
    if let Err(error) = rlimit::increase_nofile_limit(rlimit::INFINITY) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let pop = Pop::start(config).context("cannot start")?;
    pop.drain_on_signals();
    pop.join();
    Ok(())
}

fn read_config(args: &Args) -> Result<Config, ConfigError> {
    let text = match &args.config {
        Some(path) => std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.clone(),
            source,
        })?,
        None => String::new(),
    };
    Config::parse(&text, &args.overrides)
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_level).context("log_level")?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // Otherwise a log that cannot be written (a closed pipe) ends in a panic.
        .log_internal_errors(false);
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// `EX_USAGE` of sysexits.h: the command line or the configuration is wrong.
const EXIT_USAGE: u8 = 64;
