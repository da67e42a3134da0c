//! Why a PoP could not start, and why a configuration is none.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why a PoP could not start. None of these is worth a retry without a change by the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error("cannot listen for {role} on {address}: {source}")]
    Listen {
        /// What the listener is for: `proxy clients`, `tunnels` or `admin requests`.
        role: &'static str,
        /// The configured address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// io_uring was demanded by configuration and is not to be had.
    #[error(
        "io_uring is not available ({0}); set `io = \"auto\"` or `io = \"epoll\"`, or allow it"
    )]
    IoUring(io::Error),
    /// The credential file could not be read.
    #[error("cannot read the credential from {path}: {source}")]
    Credential {
        /// The configured file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The spool of usage cannot be used.
    #[error("cannot keep usage in {path}: {source}")]
    Spool {
        /// The configured folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The client for the manager could not be made.
    #[error("cannot make the manager's client: {0}")]
    ManagerClient(String),
    /// A thread, a runtime or a descriptor could not be had.
    #[error("cannot start {what}: {source}")]
    System {
        /// What was to be started.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Why a configuration is not one. The program that gets it exits with status 64.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The text is no TOML, a key is unknown, or a value has the wrong type.
    #[error("{0}")]
    Parse(String),
    /// A value is of the right type but makes no sense.
    #[error("{key}: {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}
