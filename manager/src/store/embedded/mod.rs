//! The embedded store: one redb file, and memory for what need not last.
//!
//! redb reads and writes by blocking calls, and a commit waits for the disk: each runs on tokio's
//! blocking threads. redb lets one writer in at a time, which makes every write here atomic.

mod nonces;
mod operators;
mod presence;
mod tables;
mod usage;
mod usage_snapshot;

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rand::RngExt;
use redb::Database;
use titan_proto::control::{
    Change, Event, NodeId, PopId, UsageBatch, UsagePoint, UsageResolution, UsageStream,
    UsageTotals, UserName,
};
use tokio::{task::spawn_blocking, time::Instant};

use crate::{error::StoreError, limits};

use super::{
    Added, AdminToken, Block, BlockId, Digest, EnrolmentKey, Heartbeat, HeartbeatOutcome, LivePop,
    NewUser, Node, NodeLocation, NonceClaim, Pop, PopPresence, Reservation, Result, SecretHash,
    Standing, Store, TokenRemoved, UnixTime, Usage, UsageApplied, User, UserChange, UserUpdated,
    snapshot::Snapshot,
};
use nonces::Nonces;
use presence::Presence;
use tables::{ADMIN_TOKENS, BLOCKS, ENROLMENT_KEYS, NODES, POPS, Reader, USERS, Writer};

/// A store in one file of this machine.
pub(crate) struct EmbeddedStore {
    database: Arc<Database>,
    presence: Mutex<Presence>,
    nonces: Mutex<Nonces>,
    /// Of this process, like the claimed nonces.
    challenge_key: [u8; 32],
}

impl EmbeddedStore {
    /// Opens the file at `path`, and makes it and its folder if missing, for this user's eyes only.
    ///
    /// # Errors
    /// The file cannot be made, is in use by another process, is damaged, or has another schema.
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        let database = spawn_blocking(move || open_database(&path))
            .await
            .map_err(stopped)??;
        Ok(Self {
            database: Arc::new(database),
            presence: Mutex::default(),
            nonces: Mutex::default(),
            challenge_key: rand::rng().random(),
        })
    }

    async fn read<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let database = Arc::clone(&self.database);
        spawn_blocking(move || work(&Reader::begin(&database)?))
            .await
            .map_err(stopped)?
    }

    /// Runs `work` and waits until what it wrote is on disk.
    async fn write<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Writer) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let database = Arc::clone(&self.database);
        spawn_blocking(move || {
            let writer = Writer::begin(&database)?;
            let result = work(&writer)?;
            writer.commit()?;
            Ok(result)
        })
        .await
        .map_err(stopped)?
    }

    /// Everything that lasts.
    ///
    /// # Errors
    /// The file cannot be read, or holds a table that this version does not know.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot> {
        self.read(Reader::snapshot).await
    }

    fn with_presence<R>(&self, work: impl FnOnce(&mut Presence, Instant) -> R) -> R {
        // A panic while it was held can have left no more than a wrong list of nodes behind.
        let mut presence = self.presence.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut presence, Instant::now())
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn ping(&self) -> Result<()> {
        self.read(|_| Ok(())).await
    }

    async fn create_user(&self, user: NewUser) -> Result<Option<User>> {
        self.write(move |writer| {
            let name = user.name.clone();
            if writer.get::<User>(USERS, name.as_str())?.is_some() {
                return Ok(None);
            }
            let user = user.with_version(writer.next_version()?);
            writer.put(USERS, name.as_str(), &user)?;
            usage::forget_totals(writer, &name)?;
            Ok(Some(user))
        })
        .await
    }

    async fn user(&self, name: &UserName) -> Result<Option<User>> {
        let name = name.clone();
        self.read(move |reader| reader.get(USERS, name.as_str()))
            .await
    }

    async fn list_users(&self, after: Option<&UserName>, limit: usize) -> Result<Vec<User>> {
        let after = after.cloned();
        self.read(move |reader| reader.list(USERS, after.as_ref().map(UserName::as_str), limit))
            .await
    }

    async fn update_user(
        &self,
        name: &UserName,
        expected: Option<u64>,
        change: UserChange,
    ) -> Result<UserUpdated> {
        let name = name.clone();
        self.write(move |writer| {
            let Some(user) = writer.get::<User>(USERS, name.as_str())? else {
                return Ok(UserUpdated::Missing);
            };
            if expected.is_some_and(|expected| expected != user.version) {
                return Ok(UserUpdated::Conflict(user.version));
            }
            let begins_anew = change.begins_package_anew(&user);
            let user = match change.apply(user, writer.next_version()?) {
                Ok(user) => user,
                Err(error) => return Ok(UserUpdated::Refused(error)),
            };
            if begins_anew {
                usage::restart_package(writer, &name)?;
            }
            writer.put(USERS, name.as_str(), &user)?;
            let version = user.version;
            writer.append_event(Change::UserChanged { name, version }, limits::MAX_EVENTS)?;
            Ok(UserUpdated::Done(user))
        })
        .await
    }

    async fn delete_user(&self, name: &UserName) -> Result<bool> {
        let name = name.clone();
        self.write(move |writer| {
            let found = writer.remove(USERS, name.as_str())?;
            if found {
                writer.append_event(Change::UserDeleted { name }, limits::MAX_EVENTS)?;
            }
            Ok(found)
        })
        .await
    }

    async fn enrol_node(&self, node: Node) -> Result<Node> {
        self.write(move |writer| {
            let key = node.id.to_string();
            let node = match writer.get::<Node>(NODES, &key)? {
                Some(known) => Node {
                    region: node.region,
                    version: node.version,
                    ..known
                },
                None => node,
            };
            writer.put(NODES, &key, &node)?;
            Ok(node)
        })
        .await
    }

    async fn node(&self, id: NodeId) -> Result<Option<Node>> {
        self.read(move |reader| reader.get(NODES, &id.to_string()))
            .await
    }

    async fn list_nodes(&self, after: Option<NodeId>, limit: usize) -> Result<Vec<Node>> {
        let after = after.map(|id| id.to_string());
        self.read(move |reader| reader.list(NODES, after.as_deref(), limit))
            .await
    }

    async fn record_assignment(&self, id: NodeId, pop: &PopId, version: &str) -> Result<bool> {
        let key = id.to_string();
        let Some(node) = self.node(id).await? else {
            return Ok(false);
        };
        self.with_presence(|presence, _| presence.expect_tunnel(pop));
        // Most edges come back to the same PoP: those cost no wait for the disk.
        if node.pop.as_ref() == Some(pop) && node.version == version {
            return Ok(true);
        }
        let (pop, version) = (pop.clone(), version.to_owned());
        self.write(move |writer| {
            let Some(node) = writer.get::<Node>(NODES, &key)? else {
                return Ok(false);
            };
            writer.put(
                NODES,
                &key,
                &Node {
                    pop: Some(pop),
                    version,
                    ..node
                },
            )?;
            Ok(true)
        })
        .await
    }

    async fn delete_node(&self, id: NodeId) -> Result<bool> {
        self.write(move |writer| {
            let found = writer.remove(NODES, &id.to_string())?;
            if found {
                writer.append_event(Change::NodeDeleted { node: id }, limits::MAX_EVENTS)?;
            }
            Ok(found)
        })
        .await
    }

    async fn kick_node(&self, id: NodeId) -> Result<bool> {
        self.write(move |writer| {
            let found = writer.get::<Node>(NODES, &id.to_string())?.is_some();
            if found {
                writer.append_event(Change::NodeKicked { node: id }, limits::MAX_EVENTS)?;
            }
            Ok(found)
        })
        .await
    }

    async fn events_after(&self, cursor: u64, limit: usize) -> Result<Option<Vec<Event>>> {
        self.read(move |reader| reader.events_after(cursor, limit))
            .await
    }

    async fn latest_event(&self) -> Result<u64> {
        self.read(Reader::latest_event).await
    }

    async fn create_pop(&self, pop: Pop) -> Result<bool> {
        self.write(move |writer| writer.create(POPS, pop.id.as_str(), &pop))
            .await
    }

    async fn pop(&self, id: &PopId) -> Result<Option<Pop>> {
        let id = id.clone();
        self.read(move |reader| reader.get(POPS, id.as_str())).await
    }

    async fn list_pops(&self, after: Option<&PopId>, limit: usize) -> Result<Vec<Pop>> {
        let after = after.cloned();
        self.read(move |reader| reader.list(POPS, after.as_ref().map(PopId::as_str), limit))
            .await
    }

    async fn replace_pop_credential(&self, id: &PopId, credential: SecretHash) -> Result<bool> {
        let id = id.clone();
        self.write(move |writer| {
            let Some(pop) = writer.get::<Pop>(POPS, id.as_str())? else {
                return Ok(false);
            };
            writer.put(POPS, id.as_str(), &Pop { credential, ..pop })?;
            Ok(true)
        })
        .await
    }

    async fn delete_pop(&self, id: &PopId) -> Result<bool> {
        let key = id.clone();
        let found = self
            .write(move |writer| writer.remove(POPS, key.as_str()))
            .await?;
        self.with_presence(|presence, _| presence.forget(id));
        Ok(found)
    }

    async fn create_enrolment_key(&self, key: EnrolmentKey) -> Result<bool> {
        self.write(move |writer| writer.create(ENROLMENT_KEYS, &key.id, &key))
            .await
    }

    async fn enrolment_key(&self, id: &str) -> Result<Option<EnrolmentKey>> {
        let id = id.to_owned();
        self.read(move |reader| reader.get(ENROLMENT_KEYS, &id))
            .await
    }

    async fn list_enrolment_keys(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<EnrolmentKey>> {
        let after = after.map(str::to_owned);
        self.read(move |reader| reader.list(ENROLMENT_KEYS, after.as_deref(), limit))
            .await
    }

    async fn delete_enrolment_key(&self, id: &str) -> Result<bool> {
        let id = id.to_owned();
        self.write(move |writer| writer.remove(ENROLMENT_KEYS, &id))
            .await
    }

    async fn has_admin_token(&self) -> Result<bool> {
        self.read(|reader| reader.is_empty(ADMIN_TOKENS))
            .await
            .map(|empty| !empty)
    }

    async fn create_first_admin_token(&self, token: AdminToken) -> Result<bool> {
        self.write(move |writer| {
            if !writer.is_empty(ADMIN_TOKENS)? {
                return Ok(false);
            }
            writer.create(ADMIN_TOKENS, &token.id, &token)
        })
        .await
    }

    async fn replace_admin_tokens(&self, token: AdminToken) -> Result<()> {
        self.write(move |writer| {
            writer.clear(ADMIN_TOKENS)?;
            writer.put(ADMIN_TOKENS, &token.id, &token)
        })
        .await
    }

    async fn admin_token(&self, id: &str) -> Result<Option<AdminToken>> {
        let id = id.to_owned();
        self.read(move |reader| reader.get(ADMIN_TOKENS, &id)).await
    }

    async fn list_admin_tokens(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<AdminToken>> {
        let after = after.map(str::to_owned);
        self.read(move |reader| reader.list(ADMIN_TOKENS, after.as_deref(), limit))
            .await
    }

    async fn create_admin_token(&self, token: AdminToken) -> Result<Added> {
        self.write(move |writer| operators::add_token(writer, &token))
            .await
    }

    async fn delete_admin_token(&self, id: &str) -> Result<TokenRemoved> {
        let id = id.to_owned();
        self.write(move |writer| operators::remove_token(writer, &id))
            .await
    }

    async fn touch_admin_token(&self, id: &str, now: UnixTime) -> Result<()> {
        let id = id.to_owned();
        self.write(move |writer| operators::touch_token(writer, &id, now))
            .await
    }

    async fn reserve_request(
        &self,
        id: Digest,
        request: Digest,
        now: UnixTime,
    ) -> Result<Reservation> {
        self.write(move |writer| operators::reserve(writer, id, request, now))
            .await
    }

    async fn complete_request(&self, id: Digest, answer: Vec<u8>) -> Result<()> {
        self.write(move |writer| operators::complete(writer, id, answer))
            .await
    }

    async fn release_request(&self, id: Digest) -> Result<()> {
        self.write(move |writer| operators::release(writer, id))
            .await
    }

    async fn create_block(&self, block: Block) -> Result<Added> {
        self.write(move |writer| {
            if writer.len(BLOCKS)? >= limits::MAX_BLOCKS {
                return Ok(Added::Full);
            }
            let id = BlockId::of(&block.target);
            let is_new = writer.create(BLOCKS, id.as_str(), &block)?;
            Ok(if is_new { Added::Done } else { Added::Taken })
        })
        .await
    }

    async fn list_blocks(&self, after: Option<&str>, limit: usize) -> Result<Vec<Block>> {
        let after = after.map(str::to_owned);
        self.read(move |reader| reader.list(BLOCKS, after.as_deref(), limit))
            .await
    }

    async fn find_block(&self, ids: Vec<BlockId>) -> Result<Option<Block>> {
        self.read(move |reader| {
            // Most managers block nobody at most times.
            if reader.is_empty(BLOCKS)? {
                return Ok(None);
            }
            for id in &ids {
                if let found @ Some(_) = reader.get(BLOCKS, id.as_str())? {
                    return Ok(found);
                }
            }
            Ok(None)
        })
        .await
    }

    async fn delete_block(&self, id: &str) -> Result<bool> {
        let id = id.to_owned();
        self.write(move |writer| writer.remove(BLOCKS, &id)).await
    }

    async fn signing_key(&self, candidate: [u8; 32]) -> Result<[u8; 32]> {
        self.write(move |writer| writer.signing_key_or(candidate))
            .await
    }

    async fn record_heartbeat(
        &self,
        id: &PopId,
        heartbeat: Heartbeat,
        ttl: Duration,
    ) -> Result<HeartbeatOutcome> {
        Ok(self.with_presence(|presence, now| presence.record(id, heartbeat, now, ttl)))
    }

    async fn pop_presence(&self, id: &PopId) -> Result<Option<PopPresence>> {
        Ok(self.with_presence(|presence, now| presence.pop(id, now)))
    }

    async fn live_pops(&self) -> Result<Vec<LivePop>> {
        Ok(self.with_presence(|presence, now| presence.live(now)))
    }

    async fn locate_nodes(&self, ids: &[NodeId]) -> Result<Vec<Option<NodeLocation>>> {
        Ok(self.with_presence(|presence, now| presence.locate(ids, now)))
    }

    async fn apply_usage(
        &self,
        pop: &PopId,
        stream: UsageStream,
        batch: UsageBatch,
    ) -> Result<UsageApplied> {
        let (pop, of) = (pop.clone(), pop.clone());
        // A repetition costs no wait for the disk.
        let last = self.read(move |reader| usage::last(reader, &of, stream));
        let last = last.await?;
        if batch.sequence <= last {
            return Ok(UsageApplied::Repeated(last));
        }
        self.write(move |writer| usage::apply(writer, &pop, stream, &batch))
            .await
    }

    async fn usage(&self, name: &UserName) -> Result<Option<Usage>> {
        let name = name.clone();
        self.read(move |reader| usage::read(reader, &name)).await
    }

    async fn usage_series(
        &self,
        name: &UserName,
        resolution: UsageResolution,
        from: UnixTime,
        until: UnixTime,
    ) -> Result<Vec<UsagePoint>> {
        let name = name.clone();
        self.read(move |reader| usage::series(reader, &name, resolution, from, until))
            .await
    }

    async fn top_usage(
        &self,
        resolution: UsageResolution,
        from: UnixTime,
        limit: usize,
    ) -> Result<Vec<(UserName, UsageTotals)>> {
        self.read(move |reader| usage::top(reader, resolution, from, limit))
            .await
    }

    async fn standings(&self, names: &[UserName]) -> Result<Vec<Standing>> {
        let names = names.to_vec();
        self.read(move |reader| usage::standings(reader, &names))
            .await
    }

    async fn challenge_key(&self) -> Result<[u8; 32]> {
        Ok(self.challenge_key)
    }

    async fn claim_nonce(&self, nonce: [u8; 16], ttl: Duration) -> Result<NonceClaim> {
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(nonces.claim(nonce, Instant::now(), ttl))
    }
}

fn open_database(path: &Path) -> Result<Database> {
    make_file(path).map_err(|source| StoreError::File {
        path: path.into(),
        source,
    })?;
    let database = Database::builder()
        .set_cache_size(limits::STORE_CACHE_BYTES)
        .create(path)?;
    let writer = Writer::begin(&database)?;
    writer.prepare()?;
    writer.commit()?;
    Ok(database)
}

/// Makes an empty file where there is none, before redb would make one that anybody may read.
fn make_file(path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    // The file's name must survive a crash of the machine just as its content does.
    let folder = path.canonicalize()?;
    File::open(folder.parent().unwrap_or(Path::new("/")))?.sync_all()
}

// `map_err` hands the error over by value.
#[allow(clippy::needless_pass_by_value)]
fn stopped(error: tokio::task::JoinError) -> StoreError {
    if error.is_panic() {
        tracing::error!(%error, "a store operation panicked");
    }
    StoreError::Stopped
}

#[cfg(test)]
mod tests;
