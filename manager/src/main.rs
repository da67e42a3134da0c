//! `titan-manager`: the control plane as a program of its own.

#![forbid(unsafe_code)]

use std::{
    io::{IsTerminal, stderr},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use titan_manager::{Config, LogFormat, Server, Settings, StoreUrl, migrate, replace_admin_token};
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
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Copy everything that lasts from an embedded store into an empty Redis, and exit
    ///
    /// The other settings for Redis (password file, CA file, prefix) stand before `migrate`.
    Migrate {
        /// The store to copy, with no manager running on it
        #[arg(long, value_name = "embedded:PATH")]
        from: StoreUrl,
        /// The Redis to fill
        #[arg(long, value_name = "URL")]
        to: StoreUrl,
    },
}

/// What the program is asked to do.
enum Task {
    Serve,
    NewAdminToken,
    Migrate { from: StoreUrl },
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let (mut settings, mut task) = (cli.settings, Task::Serve);
    if let Some(Command::Migrate { from, to }) = cli.command {
        (settings.store, task) = (Some(to), Task::Migrate { from });
    } else if cli.new_admin_token {
        task = Task::NewAdminToken;
    }
    let configured = Config::load(cli.config.as_deref(), settings)
        .map_err(anyhow::Error::from)
        .and_then(|config| start_logging(&config).map(|()| config));
    let config = match configured {
        Ok(config) => config,
        Err(error) => {
            eprintln!("titan-manager: {error:#}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match run(config, task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config, task: Task) -> anyhow::Result<()> {
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match task {
            Task::NewAdminToken => {
                let file = config.admin_token_file.clone();
                return Ok(replace_admin_token(&config, &file).await?);
            }
            Task::Migrate { from } => {
                println!("copied {}", migrate(&from, &config.store).await?);
                return Ok(());
            }
            Task::Serve => {}
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
