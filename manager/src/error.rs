//! What can go wrong below the HTTP API, and whose fault it is.

use std::{io, path::PathBuf};

/// A fault of the store or of the machine under it. Never the caller's fault: what a caller can
/// get wrong (a name that exists, a record that does not) is an ordinary result.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The embedded database failed.
    #[error("embedded store: {0}")]
    Embedded(#[source] Box<redb::Error>),
    /// The database file cannot be made or opened.
    #[error("embedded store {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A stored record is not what this version writes.
    #[error("record {key:?} of table {table}: {source}")]
    Record {
        /// The table it is in.
        table: String,
        /// Its key.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The store was written by a version of the manager with another layout.
    #[error("the store has schema {found}, this version knows {known}")]
    Schema {
        /// Schema of the store.
        found: u64,
        /// Schema of this program.
        known: u64,
    },
    /// The runtime is stopping and ran the operation no more.
    #[error("the store is stopping")]
    Stopped,
    /// Redis does not answer, or says that it cannot for now. Whether a change that was under way
    /// was made is not known. Worth another try later.
    #[error("redis does not answer: {0}")]
    Unavailable(String),
    /// A record was changed by others each time this change was tried. Nothing was changed.
    #[error("record {0:?} is changed by too many at once")]
    Contended(String),
    /// Redis refused a command that this version relies on.
    #[error("redis: {0}")]
    Redis(#[source] Box<redis::RedisError>),
    /// The store is none that a manager should run on. The operator's to mend.
    #[error("{0}")]
    Unfit(String),
}

impl StoreError {
    /// Whether the same operation may well succeed a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Stopped | Self::Unavailable(_) | Self::Contended(_)
        )
    }
}

/// Lets `?` turn each of redb's error types into [`StoreError`].
macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Embedded(Box::new(error.into()))
            }
        }
    )*};
}
from_redb!(
    DatabaseError,
    TransactionError,
    TableError,
    StorageError,
    CommitError
);

/// A fault while an identity (token, key, password) is made or checked.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file that keeps a secret cannot be read or written.
    #[error("secret file {path}: {source}", path = path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Argon2 refused; with our parameters this means that memory ran out.
    #[error("password hashing: {0}")]
    Hash(argon2::password_hash::Error),
    /// The runtime is stopping and ran the hashing no more.
    #[error("the manager is stopping")]
    Stopped,
    /// The signing key in the store is no key, or a token cannot be signed with it.
    #[error("tunnel token: {0}")]
    Token(String),
}

/// Why the manager did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The configured address.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The store or a secret is not usable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl From<StoreError> for ServerError {
    fn from(error: StoreError) -> Self {
        Self::Identity(IdentityError::Store(error))
    }
}
