//! Filling an empty Redis with what another store holds.

use redis::cmd;
use serde::Serialize;

use super::{
    RedisStore,
    fitness::FORMAT,
    names::{
        ADMIN_TOKENS, BLOCKS, ENROLMENT_KEYS, KEYED_REQUESTS, NODES, POPS, TABLES, Table, USERS,
    },
    table::encode,
    users::text_form,
};
use crate::{
    config::RedisUrl,
    error::StoreError,
    limits,
    store::{Block, BlockId, KeyedRequest, Result, snapshot::Snapshot},
};

/// The format while a store is being filled: no manager starts on it.
const IMPORTING: &str = "importing";

impl RedisStore {
    /// Writes `snapshot` into the Redis at `url`, which holds nothing yet, or what an unused store
    /// of this format holds.
    ///
    /// # Errors
    /// Redis fails or is not empty. After a failure half-way it says so at each start and each
    /// import, until its keys are removed.
    pub(crate) async fn import(url: &RedisUrl, snapshot: &Snapshot) -> Result<()> {
        let store = Self::connect(url)?;
        store.check_server().await?;
        store.check_format_before_import().await?;
        store.check_emptiness().await?;
        store.set_format(IMPORTING).await?;
        store.put_all(snapshot).await?;
        store.set_format(&FORMAT.to_string()).await
    }

    async fn check_format_before_import(&self) -> Result<()> {
        let key = self.names.format();
        let found: Option<String> = self.link.read(cmd("GET").arg(&key)).await?;
        match found.as_deref() {
            Some(IMPORTING) => Err(StoreError::Unfit(format!(
                "redis: a migration into {} was left unfinished: remove the keys that begin with its prefix",
                key.trim_end_matches("format")
            ))),
            Some(_) => self.check_format().await,
            None => Ok(()),
        }
    }

    async fn check_emptiness(&self) -> Result<()> {
        for table in TABLES {
            if !self.is_empty(table).await? {
                return Err(StoreError::Unfit(format!(
                    "redis: not empty: there are {}",
                    table.name
                )));
            }
        }
        let has_key: bool = self
            .link
            .read(cmd("EXISTS").arg(self.names.signing_key()))
            .await?;
        match has_key {
            true => Err(StoreError::Unfit(
                "redis: not empty: a manager has run on it".into(),
            )),
            false => Ok(()),
        }
    }

    async fn put_all(&self, snapshot: &Snapshot) -> Result<()> {
        let Snapshot {
            users,
            nodes,
            pops,
            enrolment_keys,
            admin_tokens,
            blocks,
            keyed_requests,
            usage,
            signing_key,
            last_version,
        } = snapshot;
        let users = users
            .iter()
            .map(|user| Ok((user.name.to_string(), text_form(user)?)));
        self.put(USERS, users.collect::<Result<_>>()?).await?;
        self.put(NODES, texts(NODES, nodes, |node| node.id.to_string())?)
            .await?;
        self.put(POPS, texts(POPS, pops, |pop| pop.id.to_string())?)
            .await?;
        self.put(
            ENROLMENT_KEYS,
            texts(ENROLMENT_KEYS, enrolment_keys, |key| key.id.clone())?,
        )
        .await?;
        self.put(
            ADMIN_TOKENS,
            texts(ADMIN_TOKENS, admin_tokens, |token| token.id.clone())?,
        )
        .await?;
        let block_id = |block: &Block| BlockId::of(&block.target).as_str().to_owned();
        self.put(BLOCKS, texts(BLOCKS, blocks, block_id)?).await?;
        self.put_requests(keyed_requests).await?;
        self.put_usage(usage).await?;
        for shard in 0..USERS.shards {
            let set = cmd("SET")
                .arg(self.names.user_version(shard))
                .arg(last_version)
                .to_owned();
            self.link.read::<()>(&set).await?;
        }
        if let Some(key) = signing_key {
            let set = cmd("SET")
                .arg(self.names.signing_key())
                .arg(hex::encode(key))
                .to_owned();
            self.link.read::<()>(&set).await?;
        }
        Ok(())
    }

    async fn put(&self, table: Table, records: Vec<(String, String)>) -> Result<()> {
        let mut of_shard = vec![Vec::new(); table.shards.into()];
        for (id, record) in records {
            of_shard[usize::from(table.shard_of(&id))].push((id, record));
        }
        for (shard, records) in (0..table.shards).zip(of_shard) {
            for batch in records.chunks(limits::REDIS_BATCH) {
                let [records, ids] = self.part(table, shard);
                let (mut put, mut add) = (cmd("HSET"), cmd("ZADD"));
                put.arg(records);
                add.arg(ids);
                for (id, record) in batch {
                    put.arg(id).arg(record);
                    add.arg(0).arg(id);
                }
                // Doing either twice is the same as doing it once.
                self.link.read::<()>(&put).await?;
                self.link.read::<()>(&add).await?;
            }
        }
        Ok(())
    }

    async fn put_requests(&self, requests: &[(String, KeyedRequest)]) -> Result<()> {
        for (id, request) in requests {
            let [records, ids] = self.part(KEYED_REQUESTS, KEYED_REQUESTS.shard_of(id));
            let (mut put, mut add) = (cmd("HSET"), cmd("ZADD"));
            let text = encode(KEYED_REQUESTS, id, request)?;
            put.arg(&records).arg(id).arg(text);
            add.arg(&ids).arg(request.expires_at.0).arg(id);
            self.link.read::<()>(&put).await?;
            self.link.read::<()>(&add).await?;
            for key in [records, ids] {
                let mut expire = cmd("EXPIRE");
                expire.arg(key).arg(limits::IDEMPOTENCY_LIFETIME.as_secs());
                self.link.read::<()>(&expire).await?;
            }
        }
        Ok(())
    }

    async fn set_format(&self, format: &str) -> Result<()> {
        let set = cmd("SET").arg(self.names.format()).arg(format).to_owned();
        self.link.read(&set).await
    }
}

fn texts<T: Serialize>(
    table: Table,
    records: &[T],
    id: impl Fn(&T) -> String,
) -> Result<Vec<(String, String)>> {
    let text = |record| {
        let id = id(record);
        let text = encode(table, &id, record)?;
        Ok((id, text))
    };
    records.iter().map(text).collect()
}
