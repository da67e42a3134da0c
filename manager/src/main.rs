//! `titan-manager`: the control plane as a program of its own.

#![forbid(unsafe_code)]

use std::{
    io::{IsTerminal, stderr},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use titan_manager::{Config, LogFormat, Server, Settings, replace_admin_token};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit status for a configuration that is not usable: EX_USAGE of sysexits.h.
const EXIT_USAGE: u8 = 64;

/// The control plane of Titan IP Overlay: users, nodes and PoPs behind an HTTP API.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// TOML file with any of the settings below
    #[arg(long, env = "TITAN_MANAGER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write a new admin token to the token file, void all others, and exit
    #[arg(long)]
    new_admin_token: bool,
    #[command(flatten)]
    settings: Settings,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let configured = Config::load(cli.config.as_deref(), cli.settings)
        .map_err(anyhow::Error::from)
        .and_then(|config| start_logging(&config).map(|()| config));
    let config = match configured {
        Ok(config) => config,
        Err(error) => {
            eprintln!("titan-manager: {error:#}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match run(config, cli.new_admin_token) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config, new_admin_token: bool) -> anyhow::Result<()> {
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        if new_admin_token {
            let file = config.admin_token_file.clone();
            return Ok(replace_admin_token(&config, &file).await?);
        }
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let server = Server::bind(config).await?;
        server
            .run(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            })
            .await;
        Ok(())
    })
}

fn start_logging(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_level).context("log_level")?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        // Otherwise a log that cannot be written (a closed pipe) ends in a panic.
        .log_internal_errors(false);
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// Lets the process have as many connections as the system allows it. The usual soft limit, 1024,
/// exists for programs that use `select`.
fn raise_file_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(rlimit::INFINITY) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be done where even standard error is closed.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(EXIT_USAGE)
    } else {
        ExitCode::SUCCESS
    }
}
