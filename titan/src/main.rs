//! `titan`, the operator's command.

#![forbid(unsafe_code)]

mod arguments;
mod block;
mod client;
mod completions;
mod logging;
mod node;
mod output;
mod pop;
mod terms;
mod token;
mod up;
mod usage;
mod user;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs and operates a Titan IP Overlay network.
#[derive(Parser)]
#[command(name = "titan", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(up::Up),
    User(user::UserCommand),
    Node(node::NodeCommand),
    Pop(pop::PopCommand),
    Block(block::BlockCommand),
    Token(token::TokenCommand),
    Completions(completions::Completions),
    Usage(usage::UsageCommand),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Up(command) => command.run().await,
        Command::User(command) => command.run().await,
        Command::Node(command) => command.run().await,
        Command::Pop(command) => command.run().await,
        Command::Block(command) => command.run().await,
        Command::Token(command) => command.run().await,
        Command::Completions(command) => command.run(Cli::command()),
        Command::Usage(command) => command.run().await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("titan: {error:#}");
            ExitCode::FAILURE
        }
    }
}
