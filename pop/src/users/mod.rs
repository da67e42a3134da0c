//! Who may use the PoP, and how much each relays: the shard's memory of users and of logins that were
//! verified, and the users' meters.
//!
//! A password is checked against its argon2 hash once, on the control side; what a shard remembers
//! is an HMAC of it under a key that exists only in this process. The data path compares 32 bytes.

mod cache;
mod digest;
mod meters;

use std::sync::Arc;

use titan_proto::control::UserRecord;

pub use cache::{Cache, Lookup};
pub use digest::{LoginDigest, LoginKey};
pub use meters::{Metered, Meters, UsageDelta};

/// What the control side found out about a login.
#[derive(Debug, Clone)]
pub enum LoginAnswer {
    /// The password is the user's.
    Verified(Arc<UserRecord>),
    /// It is not.
    WrongPassword,
    /// There is no such user.
    Unknown,
    /// The manager does not answer and the user is not known here, or too many wait.
    Unavailable,
}
