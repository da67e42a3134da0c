//! What PoPs must hear, in one log for all managers.
//!
//! An event is written by the script that makes the change it tells of, into an outbox in the slot
//! of that change. The manager that made the change then appends it to the log, and takes it out
//! of the outbox last. What a manager leaves there that dies in between, all others find: each
//! time one asks for the latest event it looks into some of the outboxes. So no event is lost, and
//! one may be told twice, which does no harm: PoPs then ask how things are now.
//!
//! A cursor is a time in milliseconds, or the one before and one more. So a server that lost the
//! end of its log, as a replica may that takes over, gives none of those cursors a second time;
//! whoever holds one is told of a gap.

use std::{collections::HashMap, sync::atomic::Ordering};

use futures_util::future::join_all;
use redis::cmd;
use titan_proto::control::{Change, Event, NodeId};
use tokio::time::timeout;

use super::{
    RedisStore,
    link::ScriptCall,
    names::{NODES, Table, USERS},
    scripts::{APPEND_EVENTS, EVENTS_AFTER, OVERDUE_EVENTS, REMOVE_TELLING, TELL},
};
use crate::{
    error::StoreError,
    limits,
    store::{Result, UnixTime, User},
};

/// An entry of a stream: its id, and its fields.
type Entry = (String, HashMap<String, String>);

/// An event in an outbox.
#[derive(Debug, Clone)]
struct Pending {
    /// The outbox.
    outbox: String,
    /// Its place there.
    id: String,
    /// When it happened, in seconds.
    at: String,
    /// What happened, as JSON.
    change: String,
}

impl RedisStore {
    /// Removes a record and tells of it, if there was one.
    pub(super) async fn remove_telling(
        &self,
        table: Table,
        id: &str,
        change: &Change,
    ) -> Result<bool> {
        let shard = table.shard_of(id);
        let [records, ids] = self.part(table, shard);
        let outbox = self.names.outbox(table, shard);
        let call = ScriptCall::new(&REMOVE_TELLING, [records, ids, outbox.clone()]);
        self.tell(call.arg(id), outbox, change).await
    }

    /// Tells of a node, if there is one.
    pub(super) async fn kick(&self, node: NodeId) -> Result<bool> {
        let (id, change) = (node.to_string(), Change::NodeKicked { node });
        let shard = NODES.shard_of(&id);
        let outbox = self.names.outbox(NODES, shard);
        let call = ScriptCall::new(&TELL, [self.names.records(NODES, shard), outbox.clone()]);
        self.tell(call.arg(id), outbox, &change).await
    }

    /// Runs a script that returns the place in `outbox` of what it wrote there; whether it did.
    async fn tell(&self, call: ScriptCall, outbox: String, change: &Change) -> Result<bool> {
        let (at, change) = (UnixTime::now().0.to_string(), encode_change(change)?);
        let call = call
            .arg(at.as_str())
            .arg(change.as_str())
            .number(limits::MAX_EVENTS);
        let Some(id) = self.link.run::<Option<String>>(call).await? else {
            return Ok(false);
        };
        let pending = Pending {
            outbox,
            id,
            at,
            change,
        };
        self.pass_on_or_leave(pending).await;
        Ok(true)
    }

    /// Passes on that a user has changed, which stands in the outbox at `id`.
    pub(super) async fn tell_of_user(
        &self,
        shard: u8,
        id: String,
        at: UnixTime,
        user: &User,
    ) -> Result<()> {
        let change = Change::UserChanged {
            name: user.name.clone(),
            version: user.version,
        };
        let pending = Pending {
            outbox: self.names.outbox(USERS, shard),
            id,
            at: at.0.to_string(),
            change: encode_change(&change)?,
        };
        self.pass_on_or_leave(pending).await;
        Ok(())
    }

    /// Appends an event to the log. Where that fails it stays in its outbox, to be found there.
    async fn pass_on_or_leave(&self, pending: Pending) {
        if let Err(error) = self.pass_on(&[pending]).await {
            tracing::debug!(%error, "an event has to wait");
        }
    }

    /// Appends events of one outbox to the log, then removes them there.
    async fn pass_on(&self, events: &[Pending]) -> Result<()> {
        let Some(first) = events.first() else {
            return Ok(());
        };
        let mut call = ScriptCall::new(&APPEND_EVENTS, [self.names.events()]);
        call.push(limits::MAX_EVENTS.to_string());
        let mut remove = cmd("XDEL");
        remove.arg(&first.outbox);
        for event in events {
            call.push(event.at.as_str());
            call.push(event.change.as_str());
            remove.arg(&event.id);
        }
        self.link.run::<u64>(call).await?;
        self.link.read(&remove).await
    }

    pub(super) async fn events_behind(
        &self,
        cursor: u64,
        limit: usize,
    ) -> Result<Option<Vec<Event>>> {
        let call = ScriptCall::new(&EVENTS_AFTER, [self.names.events()])
            .number(cursor)
            .number(limit as u64)
            .number(limits::MAX_EVENTS);
        let entries: Option<Vec<Entry>> = self.link.run_repeatable(call).await?;
        let events = entries.map(|entries| entries.iter().map(decode_event).collect());
        events.transpose()
    }

    pub(super) async fn last_event(&self) -> Result<u64> {
        // A server of a Cluster that hangs must not keep back what the others tell.
        if timeout(limits::REDIS_OVERDUE_TIMEOUT, self.pass_on_overdue())
            .await
            .is_err()
        {
            tracing::debug!("looking for events that are overdue takes too long");
        }
        let mut last = cmd("XREVRANGE");
        last.arg(self.names.events()).arg("+").arg("-");
        let entries: Vec<Entry> = self.link.read(last.arg("COUNT").arg(1)).await?;
        entries.first().map_or(Ok(0), |(id, _)| cursor_of(id))
    }

    /// Looks into some outboxes, each time into the next ones.
    async fn pass_on_overdue(&self) {
        let outboxes =
            [USERS, NODES].map(|table| (0..table.shards).map(move |shard| (table, shard)));
        let outboxes: Vec<_> = outboxes.into_iter().flatten().collect();
        let looks = limits::REDIS_OUTBOXES_AT_ONCE;
        let first = self.next_outbox.fetch_add(looks, Ordering::Relaxed);
        let look = async |number: usize| {
            let (table, shard) = outboxes[number % outboxes.len()];
            self.pass_on_overdue_of(self.names.outbox(table, shard))
                .await
        };
        for result in join_all((first..first.wrapping_add(looks)).map(look)).await {
            if let Err(error) = result {
                tracing::debug!(%error, "events that are overdue cannot be looked for");
            }
        }
    }

    async fn pass_on_overdue_of(&self, outbox: String) -> Result<()> {
        let call = ScriptCall::new(&OVERDUE_EVENTS, [outbox.clone()])
            .millis(limits::REDIS_EVENT_OVERDUE)
            .number(limits::REDIS_BATCH as u64);
        let entries: Vec<Entry> = self.link.run_repeatable(call).await?;
        let overdue = entries.iter().map(|(id, fields)| {
            Ok(Pending {
                outbox: outbox.clone(),
                id: id.clone(),
                at: field(fields, "at").into(),
                change: change_of(id, fields)?,
            })
        });
        self.pass_on(&overdue.collect::<Result<Vec<_>>>()?).await
    }
}

/// The text form of a change.
fn encode_change(change: &Change) -> Result<String> {
    serde_json::to_string(change).map_err(|source| bad_event("new", source))
}

/// What an entry of an outbox tells, as JSON. That of a changed user has the name and the version
/// alone, which the script gives that makes the change.
fn change_of(id: &str, fields: &HashMap<String, String>) -> Result<String> {
    let Some(name) = fields.get("user") else {
        return Ok(field(fields, "change").into());
    };
    let bad = |source| bad_event(id, source);
    let name = serde_json::from_value(name.as_str().into()).map_err(bad)?;
    let version = serde_json::from_str(field(fields, "version")).map_err(bad)?;
    encode_change(&Change::UserChanged { name, version })
}

fn decode_event((id, fields): &Entry) -> Result<Event> {
    let bad = |source| bad_event(id, source);
    Ok(Event {
        cursor: cursor_of(id)?,
        at: serde_json::from_str(field(fields, "at")).map_err(bad)?,
        change: serde_json::from_str(field(fields, "change")).map_err(bad)?,
    })
}

fn field<'a>(fields: &'a HashMap<String, String>, name: &str) -> &'a str {
    fields.get(name).map_or("", String::as_str)
}

fn cursor_of(id: &str) -> Result<u64> {
    let number = id.split('-').next().unwrap_or_default();
    serde_json::from_str(number).map_err(|source| bad_event(id, source))
}

fn bad_event(id: &str, source: serde_json::Error) -> StoreError {
    StoreError::Record {
        table: "events".into(),
        key: id.into(),
        source,
    }
}
