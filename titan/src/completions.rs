//! `titan completions`: what makes a shell complete this command's arguments.

use std::io::Write;

use clap_complete::{Shell, generate};

/// Print the completions of a shell, as in `titan completions bash >~/.local/share/bash-completion/completions/titan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints them for `command`.
    pub(crate) fn run(&self, mut command: clap::Command) -> anyhow::Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut command, "titan", &mut script);
        Ok(std::io::stdout().lock().write_all(&script)?)
    }
}
