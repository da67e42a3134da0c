//! Tables of JSON records under text keys, and what the `meta` table holds.

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableDefinition, TableHandle, WriteTransaction,
};
use serde::{Serialize, de::DeserializeOwned};
use titan_proto::control::{Change, Event};

use super::{usage, usage_snapshot};
use crate::{
    error::StoreError,
    store::{Result, UnixTime, snapshot::Snapshot},
};

/// A table of records: key → JSON.
pub(super) type Records = TableDefinition<'static, &'static str, &'static [u8]>;

/// `User` by name.
pub(super) const USERS: Records = Records::new("users");
/// `Node` by id.
pub(super) const NODES: Records = Records::new("nodes");
/// `Pop` by id.
pub(super) const POPS: Records = Records::new("pops");
/// `EnrolmentKey` by id.
pub(super) const ENROLMENT_KEYS: Records = Records::new("enrolment_keys");
/// `AdminToken` by id.
pub(super) const ADMIN_TOKENS: Records = Records::new("admin_tokens");
/// `Block` by id.
pub(super) const BLOCKS: Records = Records::new("blocks");
/// `KeyedRequest` by the digest of its key, in hexadecimal digits.
pub(super) const KEYED_REQUESTS: Records = Records::new("keyed_requests");
/// The keys of `KEYED_REQUESTS`, those first that expire first.
pub(super) const KEYED_REQUESTS_BY_EXPIRY: Records = Records::new("keyed_requests_by_expiry");

/// All tables of records.
const TABLES: [Records; 8] = [
    USERS,
    NODES,
    POPS,
    ENROLMENT_KEYS,
    ADMIN_TOKENS,
    BLOCKS,
    KEYED_REQUESTS,
    KEYED_REQUESTS_BY_EXPIRY,
];

/// `Event` by cursor.
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");

/// `schema`, `version` and `event`, see below.
const COUNTERS: TableDefinition<&str, u64> = TableDefinition::new("counters");
/// Layout of all tables; another number means another layout.
const SCHEMA: (&str, u64) = ("schema", 1);
/// The last version given to any user. Never goes back, so that no user meets a version twice.
const VERSION: &str = "version";
/// The cursor of the last event.
const EVENT: &str = "event";

/// `signing_key`: an Ed25519 seed.
const SECRETS: TableDefinition<&str, [u8; 32]> = TableDefinition::new("secrets");
const SIGNING_KEY: &str = "signing_key";

/// One consistent view of the tables.
pub(super) struct Reader(pub(super) ReadTransaction);

impl Reader {
    pub(super) fn begin(database: &Database) -> Result<Self> {
        Ok(Self(database.begin_read()?))
    }

    pub(super) fn get<T: DeserializeOwned>(&self, table: Records, key: &str) -> Result<Option<T>> {
        get(&self.0.open_table(table)?, table, key)
    }

    /// Up to `limit` records with keys behind `after`, in the order of the keys.
    pub(super) fn list<T: DeserializeOwned>(
        &self,
        table: Records,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<T>> {
        let records = self.0.open_table(table)?;
        // The least text behind `after` is `after` and a zero byte.
        let from = after.map_or(String::new(), |after| format!("{after}\0"));
        let mut items = Vec::new();
        for entry in records.range::<&str>(from.as_str()..)?.take(limit) {
            let (key, value) = entry?;
            items.push(decode(table, key.value(), value.value())?);
        }
        Ok(items)
    }

    /// All records with their keys.
    fn entries<T: DeserializeOwned>(&self, table: Records) -> Result<Vec<(String, T)>> {
        let records = self.0.open_table(table)?;
        let mut entries = Vec::new();
        for entry in records.iter()? {
            let (key, value) = entry?;
            let record = decode(table, key.value(), value.value())?;
            entries.push((key.value().to_owned(), record));
        }
        Ok(entries)
    }

    pub(super) fn is_empty(&self, table: Records) -> Result<bool> {
        Ok(self.0.open_table(table)?.is_empty()?)
    }

    /// Everything in the file.
    ///
    /// # Errors
    /// There is a table that is not named here, besides the usual.
    pub(super) fn snapshot(&self) -> Result<Snapshot> {
        self.check_tables()?;
        let version = self.0.open_table(COUNTERS)?.get(VERSION)?;
        let signing_key = self.0.open_table(SECRETS)?.get(SIGNING_KEY)?;
        Ok(Snapshot {
            users: self.list(USERS, None, usize::MAX)?,
            nodes: self.list(NODES, None, usize::MAX)?,
            pops: self.list(POPS, None, usize::MAX)?,
            enrolment_keys: self.list(ENROLMENT_KEYS, None, usize::MAX)?,
            admin_tokens: self.list(ADMIN_TOKENS, None, usize::MAX)?,
            blocks: self.list(BLOCKS, None, usize::MAX)?,
            keyed_requests: self.entries(KEYED_REQUESTS)?,
            usage: usage_snapshot::snapshot(self)?,
            signing_key: signing_key.map(|key| key.value()),
            last_version: version.map_or(0, |version| version.value()),
        })
    }

    fn check_tables(&self) -> Result<()> {
        let records = TABLES.map(|table| table.name().to_owned());
        // Events are for PoPs that know a cursor of this store: there are none where all goes.
        let others = [COUNTERS.name(), SECRETS.name(), EVENTS.name()].map(str::to_owned);
        let known: Vec<_> = records
            .into_iter()
            .chain(others)
            .chain(usage::tables())
            .collect();
        for table in self.0.list_tables()? {
            let name = table.name();
            if !known.iter().any(|known| known == name) {
                let message = format!("table {name} would be left behind");
                return Err(StoreError::Unfit(message));
            }
        }
        Ok(())
    }

    /// The cursor of the last event.
    pub(super) fn latest_event(&self) -> Result<u64> {
        let counters = self.0.open_table(COUNTERS)?;
        Ok(counters.get(EVENT)?.map_or(0, |last| last.value()))
    }

    /// Up to `limit` events behind `cursor`; `None` where some of them are gone or it is none of ours.
    pub(super) fn events_after(&self, cursor: u64, limit: usize) -> Result<Option<Vec<Event>>> {
        let latest = self.latest_event()?;
        if cursor >= latest {
            return Ok((cursor == latest).then(Vec::new));
        }
        let mut events = Vec::new();
        let records = self.0.open_table(EVENTS)?;
        for entry in records.range(cursor + 1..)?.take(limit) {
            let (key, value) = entry?;
            if key.value() != cursor + 1 + events.len() as u64 {
                return Ok(None);
            }
            events.push(decode_event(key.value(), value.value())?);
        }
        Ok(Some(events))
    }
}

/// The one write transaction of the moment. Nothing of it is kept unless [`Writer::commit`] returns.
pub(super) struct Writer(pub(super) WriteTransaction);

impl Writer {
    /// Waits for the writer before.
    pub(super) fn begin(database: &Database) -> Result<Self> {
        Ok(Self(database.begin_write()?))
    }

    pub(super) fn commit(self) -> Result<()> {
        Ok(self.0.commit()?)
    }

    /// Makes the tables of a new file and checks the layout of an old one.
    pub(super) fn prepare(&self) -> Result<()> {
        let (key, known) = SCHEMA;
        let mut counters = self.0.open_table(COUNTERS)?;
        let found = counters.get(key)?.map_or(known, |found| found.value());
        if found != known {
            return Err(StoreError::Schema { found, known });
        }
        counters.insert(key, known)?;
        self.0.open_table(SECRETS)?;
        self.0.open_table(EVENTS)?;
        for table in TABLES {
            self.0.open_table(table)?;
        }
        usage::prepare(self)
    }

    pub(super) fn get<T: DeserializeOwned>(&self, table: Records, key: &str) -> Result<Option<T>> {
        get(&self.0.open_table(table)?, table, key)
    }

    pub(super) fn put<T: Serialize>(&self, table: Records, key: &str, record: &T) -> Result<()> {
        let value = serde_json::to_vec(record).map_err(|source| bad_record(table, key, source))?;
        self.0.open_table(table)?.insert(key, value.as_slice())?;
        Ok(())
    }

    /// Adds a record unless its key is taken.
    pub(super) fn create<T: Serialize>(
        &self,
        table: Records,
        key: &str,
        record: &T,
    ) -> Result<bool> {
        let is_free = self.0.open_table(table)?.get(key)?.is_none();
        if is_free {
            self.put(table, key, record)?;
        }
        Ok(is_free)
    }

    /// Whether there was a record to remove.
    pub(super) fn remove(&self, table: Records, key: &str) -> Result<bool> {
        Ok(self.0.open_table(table)?.remove(key)?.is_some())
    }

    pub(super) fn is_empty(&self, table: Records) -> Result<bool> {
        Ok(self.0.open_table(table)?.is_empty()?)
    }

    /// How many records there are.
    pub(super) fn len(&self, table: Records) -> Result<u64> {
        Ok(self.0.open_table(table)?.len()?)
    }

    /// Up to `limit` records, in the order of the keys.
    pub(super) fn first<T: DeserializeOwned>(
        &self,
        table: Records,
        limit: usize,
    ) -> Result<Vec<T>> {
        let records = self.0.open_table(table)?;
        let mut items = Vec::new();
        for entry in records.iter()?.take(limit) {
            let (key, value) = entry?;
            items.push(decode(table, key.value(), value.value())?);
        }
        Ok(items)
    }

    pub(super) fn clear(&self, table: Records) -> Result<()> {
        Ok(self.0.open_table(table)?.retain(|_, _| false)?)
    }

    /// A version that no user ever had.
    pub(super) fn next_version(&self) -> Result<u64> {
        let mut counters = self.0.open_table(COUNTERS)?;
        let version = counters.get(VERSION)?.map_or(0, |last| last.value()) + 1;
        counters.insert(VERSION, version)?;
        Ok(version)
    }

    /// Adds an event behind the last and forgets the one that is `kept` events older.
    pub(super) fn append_event(&self, change: Change, kept: u64) -> Result<()> {
        let mut counters = self.0.open_table(COUNTERS)?;
        let cursor = counters.get(EVENT)?.map_or(0, |last| last.value()) + 1;
        counters.insert(EVENT, cursor)?;
        let at = UnixTime::now().0;
        let event = Event { cursor, at, change };
        let value = serde_json::to_vec(&event).map_err(|source| bad_event(cursor, source))?;
        let mut events = self.0.open_table(EVENTS)?;
        events.insert(cursor, value.as_slice())?;
        events.remove(cursor.saturating_sub(kept))?;
        Ok(())
    }

    /// The stored signing key, which `candidate` becomes if there is none.
    pub(super) fn signing_key_or(&self, candidate: [u8; 32]) -> Result<[u8; 32]> {
        let mut secrets = self.0.open_table(SECRETS)?;
        let stored = secrets.get(SIGNING_KEY)?.map(|key| key.value());
        if stored.is_none() {
            secrets.insert(SIGNING_KEY, candidate)?;
        }
        Ok(stored.unwrap_or(candidate))
    }
}

fn get<T: DeserializeOwned>(
    records: &impl ReadableTable<&'static str, &'static [u8]>,
    table: Records,
    key: &str,
) -> Result<Option<T>> {
    records
        .get(key)?
        .map(|value| decode(table, key, value.value()))
        .transpose()
}

fn decode<T: DeserializeOwned>(table: Records, key: &str, value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|source| bad_record(table, key, source))
}

fn decode_event(cursor: u64, value: &[u8]) -> Result<Event> {
    serde_json::from_slice(value).map_err(|source| bad_event(cursor, source))
}

fn bad_event(cursor: u64, source: serde_json::Error) -> StoreError {
    StoreError::Record {
        table: EVENTS.name().into(),
        key: cursor.to_string(),
        source,
    }
}

fn bad_record(table: Records, key: &str, source: serde_json::Error) -> StoreError {
    StoreError::Record {
        table: table.name().into(),
        key: key.into(),
        source,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn old_events_are_forgotten_and_a_gap_is_told() {
        let dir = tempfile::TempDir::new().expect("a temporary directory");
        let database = Database::create(dir.path().join("store")).expect("a store");
        let writer = Writer::begin(&database).expect("no other writer");
        writer.prepare().expect("tables");
        for version in 1..=10 {
            let name = "alice".parse().expect("a name");
            let change = Change::UserChanged { name, version };
            writer.append_event(change, 4).expect("written");
        }
        writer.commit().expect("durable");
        let reader = Reader::begin(&database).expect("readable");
        let cursors = |after| {
            let events = reader.events_after(after, 3).expect("read");
            events.map(|events| events.iter().map(|event| event.cursor).collect::<Vec<_>>())
        };
        assert_eq!(reader.latest_event().expect("read"), 10);
        assert_eq!(cursors(0), None);
        assert_eq!(cursors(5), None);
        assert_eq!(cursors(6), Some(vec![7, 8, 9]), "no more than asked for");
        assert_eq!(cursors(9), Some(vec![10]));
        assert_eq!(cursors(10), Some(vec![]));
        assert_eq!(cursors(11), None, "of another store");
    }

    /// Makes the file at `path` look as if another version had written it.
    pub(in super::super) fn set_schema(path: &Path, number: u64) {
        let database = Database::open(path).expect("a store");
        let writer = database.begin_write().expect("no other writer");
        writer
            .open_table(COUNTERS)
            .expect("a table")
            .insert(SCHEMA.0, number)
            .expect("written");
        writer.commit().expect("durable");
    }

    /// Adds a table that this version does not know.
    pub(in super::super) fn add_table(path: &Path, name: &str) {
        let database = Database::open(path).expect("a store");
        let writer = database.begin_write().expect("no other writer");
        writer
            .open_table(TableDefinition::<&str, u64>::new(name))
            .expect("a table");
        writer.commit().expect("durable");
    }
}
