//! What the manager remembers, behind one trait.
//!
//! Every operation is atomic by itself and needs no transaction around it, so that it can be a
//! script of a few commands on Redis as well as a transaction of an embedded database. What an
//! operation changed is durable when its future resolves, except for presence (who is online),
//! which every store may forget and PoPs then tell again.

#[cfg(test)]
mod contract;
mod embedded;
mod records;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use titan_proto::control::{Event, NodeId, PopId, UserName};

use crate::{config::StoreUrl, error::StoreError};

pub(crate) use embedded::EmbeddedStore;
pub(crate) use records::{
    AdminToken, EnrolmentKey, Heartbeat, HeartbeatOutcome, LivePop, NewUser, Node, NodeLocation,
    NonceClaim, Pop, PopPresence, SecretHash, UnixTime, User, UserChange, UserUpdated,
};

/// Opens the store that `url` names.
///
/// # Errors
/// The store cannot be reached or was written by another version.
pub(crate) async fn open(url: &StoreUrl) -> Result<Arc<dyn Store>> {
    match url {
        StoreUrl::Embedded(path) => Ok(Arc::new(EmbeddedStore::open(path).await?)),
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
    /// event itself, in the same transaction. The last [`limits::MAX_EVENTS`](crate::limits::MAX_EVENTS)
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

    /// A key for challenges, which lives as long as what [`Store::claim_nonce`] remembers: once the
    /// claims are forgotten, every challenge made before is void.
    async fn challenge_key(&self) -> Result<[u8; 32]>;
    /// Marks a nonce as used for `ttl`.
    async fn claim_nonce(&self, nonce: [u8; 16], ttl: Duration) -> Result<NonceClaim>;
}
