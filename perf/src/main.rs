//! `titan-perf`: see the crate's documentation and `perf/README.md`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match titan_perf::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("titan-perf: {error:#}");
            ExitCode::FAILURE
        }
    }
}
