//! What can go wrong with an edge as a whole. What goes wrong with one session is a
//! [`Reason`](titan_proto::reason::Reason) that travels to the PoP.

use std::{io, path::PathBuf, time::Duration};

use titan_proto::control::PopId;

/// Why a configuration is of no use. The program exits with status 64.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is no TOML, or holds an unknown key or a value of the wrong type.
    #[error("{path}: {message}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why, on one line.
        message: String,
    },
    /// A setting without which there is nothing to do.
    #[error("`{0}` is missing: set it in the file, as TITAN_EDGE_{1} or as --{2}")]
    Missing(&'static str, &'static str, &'static str),
    /// A setting with a value that cannot be meant.
    #[error("`{key}`: {message}")]
    Invalid {
        /// The setting.
        key: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// An environment variable with our prefix that names no setting.
    #[error("environment variable {0} names no setting")]
    UnknownVariable(String),
}

/// Why the identity key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read, or not be written on the first start.
    #[error("identity key {path}: {source}")]
    Io {
        /// The key file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file holds no Ed25519 key in PKCS#8 PEM form.
    #[error("identity key {path} is no Ed25519 private key in PKCS#8 PEM form")]
    Malformed {
        /// The key file.
        path: PathBuf,
    },
    /// Others than the owner may read the key.
    #[error("identity key {path} can be read by others (mode {mode:03o}); chmod 600 it")]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Why an edge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The identity key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// `io = "uring"` was asked for and the system does not give it.
    #[error("io_uring is not available here ({0}); use io = \"auto\" or \"epoll\"")]
    UringUnavailable(io::Error),
    /// The runtime, its thread or the HTTP client cannot be made.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

/// Why the manager did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// No answer: unreachable, timed out or cut off.
    #[error("the manager cannot be reached: {0}")]
    Unreachable(String),
    /// An answer that is an error (RFC 9457).
    #[error("the manager answered {status}: {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The problem's detail or title.
        detail: String,
    },
    /// An answer that is not what the API promises.
    #[error("the manager's answer makes no sense: {0}")]
    Malformed(String),
    /// The manager does not know this node and there is no key to enrol it with.
    #[error("this node is not enrolled and no enrolment key is configured")]
    NotEnrolled,
}

/// Why a tunnel could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no assignment and no valid older one.
    #[error(transparent)]
    Manager(#[from] ManagerError),
    /// The PoP could not be reached or did not upgrade the connection.
    #[error("PoP {pop}: {source}")]
    Pop {
        /// The PoP.
        pop: PopId,
        /// What happened.
        source: DialPopError,
    },
}

/// Why a PoP could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialPopError {
    /// The tunnel URL is not `ws://host:port/path`.
    #[error("tunnel URL: {0}")]
    Url(String),
    /// Its name has no address, or no address took the connection.
    #[error("cannot connect: {}", .0.label().replace('_', " "))]
    Connect(titan_proto::reason::Reason),
    /// The connection failed during the upgrade.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// The PoP did not answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The PoP refused the upgrade.
    #[error("upgrade refused: {0}")]
    Upgrade(titan_proto::ws::upgrade::UpgradeError),
}
