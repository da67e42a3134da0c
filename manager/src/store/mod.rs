//! What the manager remembers, behind one trait.
//!
//! Every operation is atomic by itself and needs no transaction around it, so that it can be a
//! script of a few commands on Redis as well as a transaction of an embedded database. What an
//! operation changed is durable when its future resolves, except for presence (who is online),
//! which every store may forget and PoPs then tell again.

mod blocks;
#[cfg(test)]
mod contract;
mod embedded;
mod idempotency;
mod package;
mod records;
mod redis;
mod snapshot;
mod terms;
mod usage;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use titan_proto::control::{
    Event, NodeId, PopId, UsageBatch, UsagePoint, UsageResolution, UsageStream, UsageTotals,
    UserName,
};

use crate::{config::StoreUrl, error::StoreError};

pub(crate) use blocks::{Block, BlockId};
pub(crate) use embedded::EmbeddedStore;
pub(crate) use idempotency::{Digest, KeyedRequest, Reservation};
pub(crate) use package::{Package, PackageChange, PackageError, bytes_left};
pub(crate) use records::{
    Added, AdminToken, EnrolmentKey, Heartbeat, HeartbeatOutcome, LivePop, NewUser, Node,
    NodeLocation, NonceClaim, Pop, PopPresence, SecretHash, TokenRemoved, UnixTime, User,
    UserChange, UserUpdated,
};
pub(crate) use redis::RedisStore;
pub(crate) use snapshot::migrate;
pub(crate) use terms::{ChangeError, Labels, merge_labels, merge_limits};
pub(crate) use usage::{PopShare, Standing, Usage, UsageApplied, kept_for};

/// Opens the store that `url` names.
///
/// # Errors
/// The store cannot be reached or was written by another version.
pub(crate) async fn open(url: &StoreUrl) -> Result<Arc<dyn Store>> {
    match url {
        StoreUrl::Embedded(path) => Ok(Arc::new(EmbeddedStore::open(path).await?)),
        StoreUrl::Redis(url) => Ok(Arc::new(RedisStore::open(url).await?)),
    }
}

/// Result of an operation of the store.
pub(crate) type Result<T> = std::result::Result<T, StoreError>;

/// The manager's memory.
///
/// Lists are in the order of the ids and go on behind `after`. A `bool` tells whether something
/// was created or found.
#[async_trait]
pub(crate) trait Store: Send + Sync + 'static {
    /// Whether the store answers.
    async fn ping(&self) -> Result<()>;

    /// Adds a user unless the name is taken (`None`).
    async fn create_user(&self, user: NewUser) -> Result<Option<User>>;
    /// The user of this name.
    async fn user(&self, name: &UserName) -> Result<Option<User>>;
    /// Up to `limit` users.
    async fn list_users(&self, after: Option<&UserName>, limit: usize) -> Result<Vec<User>>;
    /// Changes a user and raises its version; with `expected` only if that is its version now.
    ///
    /// No two states of users of one name ever have the same version, not even when the user was
    /// deleted in between: PoPs remember verified logins by it.
    async fn update_user(
        &self,
        name: &UserName,
        expected: Option<u64>,
        change: UserChange,
    ) -> Result<UserUpdated>;
    /// Forgets a user.
    async fn delete_user(&self, name: &UserName) -> Result<bool>;

    /// Adds a node, or renews version and region of the one that has this id. Returns it as it is
    /// stored now.
    async fn enrol_node(&self, node: Node) -> Result<Node>;
    /// The node with this id.
    async fn node(&self, id: NodeId) -> Result<Option<Node>>;
    /// Up to `limit` nodes.
    async fn list_nodes(&self, after: Option<NodeId>, limit: usize) -> Result<Vec<Node>>;
    /// Remembers the PoP a node was sent to and its program's version, and counts it among the
    /// PoP's expected tunnels until the PoP's next heartbeat. False: there is no such node.
    async fn record_assignment(&self, id: NodeId, pop: &PopId, version: &str) -> Result<bool>;
    /// Forgets a node.
    async fn delete_node(&self, id: NodeId) -> Result<bool>;
    /// Has every PoP send a node away.
    async fn kick_node(&self, id: NodeId) -> Result<bool>;

    /// Up to `limit` events behind `cursor`, oldest first; `None` where the store does not hold
    /// what follows that cursor.
    ///
    /// An operation that changes or deletes a user, and one that kicks or deletes a node, writes its
    /// event itself, in the same transaction: none is lost, though one may be told late or twice where a
    /// manager or a part of the store failed. The last [`limits::MAX_EVENTS`](crate::limits::MAX_EVENTS)
    /// are kept at least.
    async fn events_after(&self, cursor: u64, limit: usize) -> Result<Option<Vec<Event>>>;
    /// The cursor of the last event; 0 before the first.
    async fn latest_event(&self) -> Result<u64>;

    /// Adds a PoP unless its id is taken.
    async fn create_pop(&self, pop: Pop) -> Result<bool>;
    /// The PoP with this id.
    async fn pop(&self, id: &PopId) -> Result<Option<Pop>>;
    /// Up to `limit` PoPs.
    async fn list_pops(&self, after: Option<&PopId>, limit: usize) -> Result<Vec<Pop>>;
    /// Gives a PoP another credential; the former one is worthless at once.
    async fn replace_pop_credential(&self, id: &PopId, credential: SecretHash) -> Result<bool>;
    /// Forgets a PoP and its presence.
    async fn delete_pop(&self, id: &PopId) -> Result<bool>;

    /// Adds an enrolment key; false when its id is taken.
    async fn create_enrolment_key(&self, key: EnrolmentKey) -> Result<bool>;
    /// The enrolment key with this id.
    async fn enrolment_key(&self, id: &str) -> Result<Option<EnrolmentKey>>;
    /// Up to `limit` enrolment keys.
    async fn list_enrolment_keys(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<EnrolmentKey>>;
    /// Forgets an enrolment key; nodes that used it stay.
    async fn delete_enrolment_key(&self, id: &str) -> Result<bool>;

    /// Whether any admin token exists.
    async fn has_admin_token(&self) -> Result<bool>;
    /// Adds an admin token unless there is one already.
    async fn create_first_admin_token(&self, token: AdminToken) -> Result<bool>;
    /// Makes `token` the only admin token.
    async fn replace_admin_tokens(&self, token: AdminToken) -> Result<()>;
    /// The admin token with this id.
    async fn admin_token(&self, id: &str) -> Result<Option<AdminToken>>;

    /// Up to `limit` admin tokens.
    async fn list_admin_tokens(&self, after: Option<&str>, limit: usize)
    -> Result<Vec<AdminToken>>;
    /// Adds an admin token, up to [`limits::MAX_ADMIN_TOKENS`](crate::limits::MAX_ADMIN_TOKENS).
    async fn create_admin_token(&self, token: AdminToken) -> Result<Added>;
    /// Forgets an admin token, unless it is the last that opens everything for ever.
    async fn delete_admin_token(&self, id: &str) -> Result<TokenRemoved>;
    /// Notes that an admin token was used at `now`, if it exists.
    async fn touch_admin_token(&self, id: &str, now: UnixTime) -> Result<()>;

    /// Takes the idempotency key whose digest is `id` for a request, for
    /// [`limits::IDEMPOTENCY_LIFETIME`](crate::limits::IDEMPOTENCY_LIFETIME), unless it is taken.
    async fn reserve_request(
        &self,
        id: Digest,
        request: Digest,
        now: UnixTime,
    ) -> Result<Reservation>;
    /// Remembers what the request under `id` was answered.
    async fn complete_request(&self, id: Digest, answer: Vec<u8>) -> Result<()>;
    /// Forgets the request under `id`, which was not carried out.
    async fn release_request(&self, id: Digest) -> Result<()>;

    /// Adds a block, up to [`limits::MAX_BLOCKS`](crate::limits::MAX_BLOCKS).
    async fn create_block(&self, block: Block) -> Result<Added>;
    /// Up to `limit` blocks, in the order of their [`BlockId`]s.
    async fn list_blocks(&self, after: Option<&str>, limit: usize) -> Result<Vec<Block>>;
    /// The first of `ids` of which there is a block.
    async fn find_block(&self, ids: Vec<BlockId>) -> Result<Option<Block>>;
    /// Forgets a block.
    async fn delete_block(&self, id: &str) -> Result<bool>;

    /// The Ed25519 seed that tunnel tokens are signed with; `candidate` becomes it if there is none.
    async fn signing_key(&self, candidate: [u8; 32]) -> Result<[u8; 32]>;

    /// Takes in what a PoP says about itself and its nodes, valid for `ttl`.
    ///
    /// See `PopHeartbeat` for the meaning of boot id, sequence and `full`.
    async fn record_heartbeat(
        &self,
        id: &PopId,
        heartbeat: Heartbeat,
        ttl: Duration,
    ) -> Result<HeartbeatOutcome>;
    /// What this PoP said last, unless that is too long ago.
    async fn pop_presence(&self, id: &PopId) -> Result<Option<PopPresence>>;
    /// Every PoP whose presence has not expired.
    async fn live_pops(&self) -> Result<Vec<LivePop>>;
    /// Where each of `ids` is connected, in the same order; `None` for those offline.
    async fn locate_nodes(&self, ids: &[NodeId]) -> Result<Vec<Option<NodeLocation>>>;

    /// Counts what a PoP has relayed in one interval, exactly once: a batch whose sequence was counted
    /// before changes nothing, one that does not follow the last is refused. `batch.at` is by this
    /// manager's clock.
    ///
    /// A stream's first batch makes it the current one of its PoP: of former ones no sessions run
    /// any more. Streams are remembered for good, because a batch may be sent again at any time.
    ///
    /// A store whose users do not lie together may count part by part, if it remembers for each part
    /// the last sequence of each (PoP, stream) and raises that of the PoP when all are counted: so a
    /// batch that was counted in part is completed when it is sent again.
    async fn apply_usage(
        &self,
        pop: &PopId,
        stream: UsageStream,
        batch: UsageBatch,
    ) -> Result<UsageApplied>;
    /// What was counted for a user, who need not exist any more; `None` where nothing ever was.
    /// A user who is created has used nothing, whoever had the name before.
    async fn usage(&self, name: &UserName) -> Result<Option<Usage>>;
    /// What was counted for a user from the point that `from` lies in to the one before `until`,
    /// every point included.
    async fn usage_series(
        &self,
        name: &UserName,
        resolution: UsageResolution,
        from: UnixTime,
        until: UnixTime,
    ) -> Result<Vec<UsagePoint>>;
    /// The `limit` users for whom most bytes were counted since the point that `from` lies in, most
    /// first.
    async fn top_usage(
        &self,
        resolution: UsageResolution,
        from: UnixTime,
        limit: usize,
    ) -> Result<Vec<(UserName, UsageTotals)>>;
    /// Where each of `names` stands, in the same order.
    async fn standings(&self, names: &[UserName]) -> Result<Vec<Standing>>;

    /// A key for challenges, which lives as long as what [`Store::claim_nonce`] remembers: once the
    /// claims are forgotten, every challenge made before is void.
    async fn challenge_key(&self) -> Result<[u8; 32]>;
    /// Marks a nonce as used for `ttl`.
    async fn claim_nonce(&self, nonce: [u8; 16], ttl: Duration) -> Result<NonceClaim>;
}
