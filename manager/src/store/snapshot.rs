//! Everything that lasts, to be carried from one store to another.

use std::fmt;

use super::{
    AdminToken, Block, EmbeddedStore, EnrolmentKey, KeyedRequest, Node, Pop, RedisStore, Result,
    User,
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
    /// Absent where no manager has run on the store yet.
    pub(crate) signing_key: Option<[u8; 32]>,
    /// The last version that was given to any user, also to one that is gone.
    pub(crate) last_version: u64,
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
            signing_key,
            last_version: _,
        } = self;
        write!(
            f,
            "{} users, {} nodes, {} PoPs, {} enrolment keys, {} admin tokens, {} blocks, \
             {} keyed requests, {} signing key",
            users.len(),
            nodes.len(),
            pops.len(),
            enrolment_keys.len(),
            admin_tokens.len(),
            blocks.len(),
            keyed_requests.len(),
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
