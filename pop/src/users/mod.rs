//! Who may use the PoP, and how much each relays: the shard's memory of users and of logins that were
//! verified, what each user may do at once and in all, and the users' meters.
//!
//! ```text
//!   Accounts ── one for the process: Account of each user, its connections, rates, package
//!      Shares ── one for each shard: Share of an account, what its sessions here ask for each byte
//! ```
//!
//! A password is checked against its argon2 hash once, on the control side; what a shard remembers
//! is an HMAC of it under a key that exists only in this process. The data path compares 32 bytes.

mod account;
mod accounts;
mod bucket;
mod cache;
mod digest;
mod line;
mod meters;
mod share;

use std::sync::Arc;

use titan_proto::control::UserRecord;

pub use account::{Account, Terms};
pub use accounts::{Accounts, Moment, Seat};
pub use bucket::Bucket;
pub use cache::{Cache, Lookup};
pub use digest::{LoginDigest, LoginKey};
pub use meters::{Metered, Meters, UsageDelta};
pub use share::{Lane, Member, Package, Share, Shares};

use self::line::Line;

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
