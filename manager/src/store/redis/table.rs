//! Records by id, as JSON, with lists in the order of the ids.
//!
//! A table lies in parts: a hash of records and a sorted set of their ids each, which change
//! together. A page of a list asks every part for as many ids as the page has, and reads the
//! records of the least: its cost depends on the page and not on how many records there are.

use futures_util::{StreamExt, TryStreamExt, future::try_join_all, stream};
use redis::cmd;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    RedisStore,
    link::ScriptCall,
    names::Table,
    scripts::{CREATE, CREATE_BOUNDED, REMOVE, REPLACE},
};
use crate::{
    error::StoreError,
    limits,
    store::{Added, Result},
};

/// What a change makes of a record, and what its caller gets.
pub(super) enum Change<T, R> {
    /// This takes its place.
    To(T, R),
    /// It stays.
    Keep(R),
}

impl RedisStore {
    /// The record with this id, as it is stored.
    pub(super) async fn get_raw(&self, table: Table, id: &str) -> Result<Option<String>> {
        let records = self.names.records(table, table.shard_of(id));
        self.link.read(cmd("HGET").arg(records).arg(id)).await
    }

    /// The record with this id.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        table: Table,
        id: &str,
    ) -> Result<Option<T>> {
        let raw = self.get_raw(table, id).await?;
        raw.map(|raw| decode(table, id, &raw)).transpose()
    }

    /// Adds a record unless its id is taken.
    pub(super) async fn create<T: Serialize>(
        &self,
        table: Table,
        id: &str,
        record: &T,
    ) -> Result<bool> {
        let call = ScriptCall::new(&CREATE, self.part(table, table.shard_of(id)));
        self.link
            .run(call.arg(id).arg(encode(table, id, record)?))
            .await
    }

    /// Adds a record to a table of one part that holds up to `most`, unless its id is taken.
    pub(super) async fn create_bounded<T: Serialize>(
        &self,
        table: Table,
        id: &str,
        record: &T,
        most: u64,
    ) -> Result<Added> {
        let call = ScriptCall::new(&CREATE_BOUNDED, self.part(table, 0));
        let call = call.arg(id).arg(encode(table, id, record)?).number(most);
        let outcome: String = self.link.run(call).await?;
        Ok(match outcome.as_str() {
            "done" => Added::Done,
            "taken" => Added::Taken,
            _ => Added::Full,
        })
    }

    /// Whether there was a record to remove.
    pub(super) async fn remove(&self, table: Table, id: &str) -> Result<bool> {
        let call = ScriptCall::new(&REMOVE, self.part(table, table.shard_of(id)));
        self.link.run(call.arg(id)).await
    }

    /// Changes the record with this id: reads it, lets `change` decide, and stores the result if
    /// the record is still the same; else once more. `None`: there is no such record.
    pub(super) async fn change<T: Serialize + DeserializeOwned, R>(
        &self,
        table: Table,
        id: &str,
        change: impl Fn(T) -> Change<T, R> + Send + Sync,
    ) -> Result<Option<R>> {
        for _ in 0..limits::MAX_CHANGE_ATTEMPTS {
            let Some(raw) = self.get_raw(table, id).await? else {
                return Ok(None);
            };
            let (record, result) = match change(decode(table, id, &raw)?) {
                Change::Keep(result) => return Ok(Some(result)),
                Change::To(record, result) => (encode(table, id, &record)?, result),
            };
            let records = self.names.records(table, table.shard_of(id));
            let call = ScriptCall::new(&REPLACE, [records])
                .arg(id)
                .arg(raw)
                .arg(record);
            if self.link.run(call).await? {
                return Ok(Some(result));
            }
        }
        Err(StoreError::Contended(id.into()))
    }

    /// Up to `limit` records with ids behind `after`, in the order of the ids.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<T>> {
        let raw = self.list_raw(table, after, limit).await?;
        raw.iter()
            .map(|(id, record)| decode(table, id, record))
            .collect()
    }

    /// Like [`RedisStore::list`], with the records as they are stored.
    pub(super) async fn list_raw(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>> {
        let mut after = after.map(str::to_owned);
        let mut found = Vec::new();
        // A record may go while it is looked for; the page is then filled from behind.
        while found.len() < limit {
            let ids = self
                .list_ids(table, after.as_deref(), limit - found.len())
                .await?;
            let Some(last) = ids.last() else { break };
            after = Some(last.clone());
            let records = self.get_many(table, &ids).await?;
            let present = ids
                .into_iter()
                .zip(records)
                .filter_map(|(id, record)| Some((id, record?)));
            found.extend(present);
        }
        Ok(found)
    }

    /// Whether the table holds no record.
    pub(super) async fn is_empty(&self, table: Table) -> Result<bool> {
        Ok(self.list_ids(table, None, 1).await?.is_empty())
    }

    /// The keys of one part of a table: records and ids.
    pub(super) fn part(&self, table: Table, shard: u8) -> [String; 2] {
        [
            self.names.records(table, shard),
            self.names.ids(table, shard),
        ]
    }

    async fn list_ids(
        &self,
        table: Table,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>> {
        let from = after.map_or("-".into(), |after| format!("({after}"));
        let of_shard = async |shard| {
            let mut range = cmd("ZRANGEBYLEX");
            range.arg(self.names.ids(table, shard)).arg(&from).arg("+");
            range.arg("LIMIT").arg(0).arg(limit);
            self.link.read::<Vec<String>>(&range).await
        };
        let mut ids = try_join_all((0..table.shards).map(of_shard))
            .await?
            .concat();
        ids.sort_unstable();
        ids.truncate(limit);
        Ok(ids)
    }

    /// The records with these ids, in the same order.
    pub(super) async fn get_many(
        &self,
        table: Table,
        ids: &[String],
    ) -> Result<Vec<Option<String>>> {
        let mut of_shard = vec![Vec::new(); table.shards.into()];
        for (index, id) in ids.iter().enumerate() {
            of_shard[usize::from(table.shard_of(id))].push(index);
        }
        let read = async |(shard, places): (u8, Vec<usize>)| {
            let mut get = cmd("HMGET");
            get.arg(self.names.records(table, shard));
            places.iter().for_each(|&place| {
                get.arg(&ids[place]);
            });
            let records: Vec<Option<String>> = self.link.read(&get).await?;
            Ok::<_, StoreError>(places.into_iter().zip(records).collect::<Vec<_>>())
        };
        let wanted = (0..table.shards)
            .zip(of_shard)
            .filter(|(_, places)| !places.is_empty());
        let parts: Vec<_> = stream::iter(wanted.map(read))
            .buffered(limits::REDIS_FAN_OUT)
            .try_collect()
            .await?;
        let mut records = vec![None; ids.len()];
        for (place, record) in parts.into_iter().flatten() {
            records[place] = record;
        }
        Ok(records)
    }
}

/// The text form of a record.
pub(super) fn encode<T: Serialize>(table: Table, id: &str, record: &T) -> Result<String> {
    serde_json::to_string(record).map_err(|source| bad_record(table, id, source))
}

/// The record of a text form.
pub(super) fn decode<T: DeserializeOwned>(table: Table, id: &str, raw: &str) -> Result<T> {
    serde_json::from_str(raw).map_err(|source| bad_record(table, id, source))
}

/// An error about what is stored under `id`.
pub(super) fn bad_record(table: Table, id: &str, source: serde_json::Error) -> StoreError {
    StoreError::Record {
        table: table.name.into(),
        key: id.into(),
        source,
    }
}
