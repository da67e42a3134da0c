//! The store on Redis: one server, one behind Sentinels, or a Cluster; any number of managers.
//!
//! Each operation is one command or one script, or several of which the last one counts. What they
//! write is as durable as the server is configured to make it: `docs/redis-keys.md` says how, and
//! a manager warns at its start where it finds otherwise.

mod endpoint;
mod events;
mod fitness;
mod import;
mod keys;
mod link;
mod names;
mod nodes;
mod operators;
mod pops;
mod presence;
mod scripts;
mod table;
mod usage;
mod usage_import;
mod usage_view;
mod users;

use std::{sync::atomic::AtomicUsize, time::Duration};

use async_trait::async_trait;
use redis::cmd;
use titan_proto::control::{
    Change, Event, NodeId, PopId, UsageBatch, UsagePoint, UsageResolution, UsageStream,
    UsageTotals, UserName,
};

use super::{
    Added, AdminToken, Block, BlockId, Digest, EnrolmentKey, Heartbeat, HeartbeatOutcome, LivePop,
    NewUser, Node, NodeLocation, NonceClaim, Pop, PopPresence, Reservation, Result, SecretHash,
    Standing, Store, TokenRemoved, UnixTime, Usage, UsageApplied, User, UserChange, UserUpdated,
};
use crate::config::RedisUrl;
use link::Link;
use names::{ADMIN_TOKENS, BLOCKS, ENROLMENT_KEYS, NODES, Names, POPS, USERS};

/// A store on Redis.
pub(crate) struct RedisStore {
    link: Link,
    names: Names,
    /// The outbox of events to look into next.
    next_outbox: AtomicUsize,
}

impl RedisStore {
    /// Connects to the Redis at `url` and makes sure that a manager can rely on it.
    ///
    /// # Errors
    /// It does not answer, refuses the login, is too old, or holds another format.
    pub(crate) async fn open(url: &RedisUrl) -> Result<Self> {
        let store = Self::connect(url)?;
        store.check_server().await?;
        store.check_format().await?;
        Ok(store)
    }

    fn connect(url: &RedisUrl) -> Result<Self> {
        Ok(Self {
            link: Link::new(url)?,
            names: Names::new(url.prefix.clone()),
            next_outbox: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn ping(&self) -> Result<()> {
        // A read from where the data is, unlike PING, which a server answers that lost its master.
        self.link
            .read::<Option<String>>(cmd("GET").arg(self.names.format()))
            .await
            .map(|_| ())
    }

    async fn create_user(&self, user: NewUser) -> Result<Option<User>> {
        self.add_user(user).await
    }

    async fn user(&self, name: &UserName) -> Result<Option<User>> {
        self.find_user(name.as_str()).await
    }

    async fn list_users(&self, after: Option<&UserName>, limit: usize) -> Result<Vec<User>> {
        self.users_behind(after.map(UserName::as_str), limit).await
    }

    async fn update_user(
        &self,
        name: &UserName,
        expected: Option<u64>,
        change: UserChange,
    ) -> Result<UserUpdated> {
        self.change_user(name.as_str(), expected, change).await
    }

    async fn delete_user(&self, name: &UserName) -> Result<bool> {
        let change = Change::UserDeleted { name: name.clone() };
        self.remove_telling(USERS, name.as_str(), &change).await
    }

    async fn enrol_node(&self, node: Node) -> Result<Node> {
        self.add_node(node).await
    }

    async fn node(&self, id: NodeId) -> Result<Option<Node>> {
        self.get(NODES, &id.to_string()).await
    }

    async fn list_nodes(&self, after: Option<NodeId>, limit: usize) -> Result<Vec<Node>> {
        let after = after.map(|id| id.to_string());
        self.list(NODES, after.as_deref(), limit).await
    }

    async fn record_assignment(&self, id: NodeId, pop: &PopId, version: &str) -> Result<bool> {
        self.assign_node(id, pop, version).await
    }

    async fn delete_node(&self, id: NodeId) -> Result<bool> {
        let change = Change::NodeDeleted { node: id };
        self.remove_telling(NODES, &id.to_string(), &change).await
    }

    async fn kick_node(&self, id: NodeId) -> Result<bool> {
        self.kick(id).await
    }

    async fn events_after(&self, cursor: u64, limit: usize) -> Result<Option<Vec<Event>>> {
        self.events_behind(cursor, limit).await
    }

    async fn latest_event(&self) -> Result<u64> {
        self.last_event().await
    }

    async fn create_pop(&self, pop: Pop) -> Result<bool> {
        self.create(POPS, pop.id.as_str(), &pop).await
    }

    async fn pop(&self, id: &PopId) -> Result<Option<Pop>> {
        self.get(POPS, id.as_str()).await
    }

    async fn list_pops(&self, after: Option<&PopId>, limit: usize) -> Result<Vec<Pop>> {
        self.list(POPS, after.map(PopId::as_str), limit).await
    }

    async fn replace_pop_credential(&self, id: &PopId, credential: SecretHash) -> Result<bool> {
        self.renew_pop_credential(id, credential).await
    }

    async fn delete_pop(&self, id: &PopId) -> Result<bool> {
        self.remove_pop(id).await
    }

    async fn create_enrolment_key(&self, key: EnrolmentKey) -> Result<bool> {
        self.create(ENROLMENT_KEYS, &key.id, &key).await
    }

    async fn enrolment_key(&self, id: &str) -> Result<Option<EnrolmentKey>> {
        self.get(ENROLMENT_KEYS, id).await
    }

    async fn list_enrolment_keys(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<EnrolmentKey>> {
        self.list(ENROLMENT_KEYS, after, limit).await
    }

    async fn delete_enrolment_key(&self, id: &str) -> Result<bool> {
        self.remove(ENROLMENT_KEYS, id).await
    }

    async fn has_admin_token(&self) -> Result<bool> {
        self.is_empty(ADMIN_TOKENS).await.map(|is_empty| !is_empty)
    }

    async fn create_first_admin_token(&self, token: AdminToken) -> Result<bool> {
        self.add_first_admin_token(&token).await
    }

    async fn replace_admin_tokens(&self, token: AdminToken) -> Result<()> {
        self.keep_one_admin_token(&token).await
    }

    async fn admin_token(&self, id: &str) -> Result<Option<AdminToken>> {
        self.get(ADMIN_TOKENS, id).await
    }

    async fn list_admin_tokens(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<AdminToken>> {
        self.list(ADMIN_TOKENS, after, limit).await
    }

    async fn create_admin_token(&self, token: AdminToken) -> Result<Added> {
        self.add_admin_token(&token).await
    }

    async fn delete_admin_token(&self, id: &str) -> Result<TokenRemoved> {
        self.remove_admin_token(id).await
    }

    async fn touch_admin_token(&self, id: &str, now: UnixTime) -> Result<()> {
        self.note_token_use(id, now).await
    }

    async fn reserve_request(
        &self,
        id: Digest,
        request: Digest,
        now: UnixTime,
    ) -> Result<Reservation> {
        self.reserve(id, request, now).await
    }

    async fn complete_request(&self, id: Digest, answer: Vec<u8>) -> Result<()> {
        self.complete(id, answer).await
    }

    async fn release_request(&self, id: Digest) -> Result<()> {
        self.release(id).await
    }

    async fn create_block(&self, block: Block) -> Result<Added> {
        self.add_block(&block).await
    }

    async fn list_blocks(&self, after: Option<&str>, limit: usize) -> Result<Vec<Block>> {
        self.list(BLOCKS, after, limit).await
    }

    async fn find_block(&self, ids: Vec<BlockId>) -> Result<Option<Block>> {
        self.first_block_of(ids).await
    }

    async fn delete_block(&self, id: &str) -> Result<bool> {
        self.remove(BLOCKS, id).await
    }

    async fn signing_key(&self, candidate: [u8; 32]) -> Result<[u8; 32]> {
        self.signing_key_or(candidate).await
    }

    async fn record_heartbeat(
        &self,
        id: &PopId,
        heartbeat: Heartbeat,
        ttl: Duration,
    ) -> Result<HeartbeatOutcome> {
        self.take_heartbeat(id, heartbeat, ttl).await
    }

    async fn pop_presence(&self, id: &PopId) -> Result<Option<PopPresence>> {
        self.presence_of(id).await
    }

    async fn live_pops(&self) -> Result<Vec<LivePop>> {
        self.live(None).await
    }

    async fn locate_nodes(&self, ids: &[NodeId]) -> Result<Vec<Option<NodeLocation>>> {
        self.locate(ids).await
    }

    async fn apply_usage(
        &self,
        pop: &PopId,
        stream: UsageStream,
        batch: UsageBatch,
    ) -> Result<UsageApplied> {
        self.count_usage(pop, stream, &batch).await
    }

    async fn usage(&self, name: &UserName) -> Result<Option<Usage>> {
        self.usage_of(name).await
    }

    async fn usage_series(
        &self,
        name: &UserName,
        resolution: UsageResolution,
        from: UnixTime,
        until: UnixTime,
    ) -> Result<Vec<UsagePoint>> {
        self.series_of(name, resolution, from, until).await
    }

    async fn top_usage(
        &self,
        resolution: UsageResolution,
        from: UnixTime,
        limit: usize,
    ) -> Result<Vec<(UserName, UsageTotals)>> {
        self.top_users(resolution, from, limit).await
    }

    async fn standings(&self, names: &[UserName]) -> Result<Vec<Standing>> {
        self.standings_of(names).await
    }

    async fn challenge_key(&self) -> Result<[u8; 32]> {
        self.challenge_key_or(rand::random()).await
    }

    async fn claim_nonce(&self, nonce: [u8; 16], ttl: Duration) -> Result<NonceClaim> {
        self.claim(nonce, ttl).await
    }
}

#[cfg(test)]
mod servers;
#[cfg(test)]
mod tests;
