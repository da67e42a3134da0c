//! Everything that lasts, to be carried from one store to another.

use std::fmt;

use titan_proto::control::{
    PopId, UsagePoint, UsageResolution, UsageStream, UsageTotals, UserName,
};

use super::{
    AdminToken, Block, EmbeddedStore, EnrolmentKey, KeyedRequest, Node, Pop, PopShare, RedisStore,
    Result, User,
};
use crate::{config::StoreUrl, error::StoreError};

/// What a store holds, but for what it may forget. Whoever adds a table adds it here; both sides
/// name every field, so that none is left behind.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) users: Vec<User>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) pops: Vec<Pop>,
    pub(crate) enrolment_keys: Vec<EnrolmentKey>,
    pub(crate) admin_tokens: Vec<AdminToken>,
    pub(crate) blocks: Vec<Block>,
    /// By the digests of their keys, in hexadecimal digits.
    pub(crate) keyed_requests: Vec<(String, KeyedRequest)>,
    pub(crate) usage: UsageSnapshot,
    /// Absent where no manager has run on the store yet.
    pub(crate) signing_key: Option<[u8; 32]>,
    /// The last version that was given to any user, also to one that is gone.
    pub(crate) last_version: u64,
}

/// What was counted, also for users who are gone.
#[derive(Debug, Default)]
pub(crate) struct UsageSnapshot {
    pub(crate) totals: Vec<CountedTotals>,
    /// The last sequence that was counted of each stream of each PoP.
    pub(crate) streams: Vec<(PopId, UsageStream, u64)>,
    /// The stream of each PoP that began last.
    pub(crate) current: Vec<(PopId, UsageStream)>,
    pub(crate) shares: Vec<CountedShare>,
    pub(crate) points: Vec<(UserName, UsageResolution, UsagePoint)>,
}

/// A user's totals.
#[derive(Debug)]
pub(crate) struct CountedTotals {
    pub(crate) name: UserName,
    /// Since the user was created.
    pub(crate) total: UsageTotals,
    /// Since the user's package began.
    pub(crate) package: UsageTotals,
}

/// What a PoP said last about a user.
#[derive(Debug)]
pub(crate) struct CountedShare {
    pub(crate) name: UserName,
    /// The stream in which it was said.
    pub(crate) stream: UsageStream,
    /// With the number of sessions as it was said, whether or not the stream has ended since.
    pub(crate) share: PopShare,
}

/// How many of everything there are.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            users,
            nodes,
            pops,
            enrolment_keys,
            admin_tokens,
            blocks,
            keyed_requests,
            usage,
            signing_key,
            last_version: _,
        } = self;
        write!(
            f,
            "{} users, {} nodes, {} PoPs, {} enrolment keys, {} admin tokens, {} blocks, \
             {} keyed requests, usage of {} users, {} signing key",
            users.len(),
            nodes.len(),
            pops.len(),
            enrolment_keys.len(),
            admin_tokens.len(),
            blocks.len(),
            keyed_requests.len(),
            usage.totals.len(),
            if signing_key.is_some() { "1" } else { "no" },
        )
    }
}

/// Copies everything that lasts from an embedded store into an empty Redis. Returns what was copied.
///
/// # Errors
/// The source is no embedded store, is missing, in use or holds a table that is not known here;
/// the target is no Redis or not empty; or either failed.
pub(crate) async fn migrate(from: &StoreUrl, to: &StoreUrl) -> Result<Snapshot> {
    let (StoreUrl::Embedded(path), StoreUrl::Redis(url)) = (from, to) else {
        let message = "migrate copies from embedded:PATH to a Redis, and nothing else";
        return Err(StoreError::Unfit(message.into()));
    };
    // Opening would make a new one.
    let is_there = path.try_exists().map_err(|source| StoreError::File {
        path: path.clone(),
        source,
    })?;
    if !is_there {
        return Err(StoreError::Unfit(format!(
            "there is no store at {}",
            path.display()
        )));
    }
    let snapshot = EmbeddedStore::open(path).await?.snapshot().await?;
    RedisStore::import(url, &snapshot).await?;
    Ok(snapshot)
}
