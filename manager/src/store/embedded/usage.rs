//! Usage: totals, shares and series, in tables of numbers.
//!
//! A batch is counted in one transaction with the sequence of its stream, which makes it count once.
//! Points of series lie by time first, so that those past their time are the first of their kind
//! and those of one time, of all users, lie together.

use std::collections::HashMap;

use redb::{ReadableTable, TableDefinition, TableHandle};
use titan_proto::control::{
    PopId, UsageBatch, UsagePoint, UsageResolution, UsageStream, UsageTotals, UserName, UserUsage,
};

use super::{
    super::{PopShare, Result, Standing, UnixTime, Usage, UsageApplied, kept_for},
    tables::{Reader, USERS, Writer},
};
use crate::limits::PRUNED_AT_ONCE;

/// Bytes up, bytes down, sessions.
pub(super) type Sums = (u64, u64, u64);
/// Stream, time, bytes up, bytes down, sessions running.
pub(super) type Share = ([u8; 16], u64, u64, u64, u64);

/// Since the user was created, and since the user's package began, by user.
pub(super) const TOTALS: TableDefinition<&str, (Sums, Sums)> = TableDefinition::new("usage_totals");
/// The last sequence that was counted, by PoP and stream.
pub(super) const STREAMS: TableDefinition<(&str, [u8; 16]), u64> =
    TableDefinition::new("usage_streams");
/// The stream that began last, by PoP.
pub(super) const CURRENT: TableDefinition<&str, [u8; 16]> = TableDefinition::new("usage_current");
/// What was said last, by user and PoP.
pub(super) const SHARES: TableDefinition<(&str, &str), Share> =
    TableDefinition::new("usage_shares");
/// Points by their length in seconds, their begin and the user.
pub(super) const POINTS: TableDefinition<(u64, u64, &str), Sums> =
    TableDefinition::new("usage_points");

/// Makes the tables of a new file.
pub(super) fn prepare(writer: &Writer) -> Result<()> {
    writer.0.open_table(TOTALS)?;
    writer.0.open_table(STREAMS)?;
    writer.0.open_table(CURRENT)?;
    writer.0.open_table(SHARES)?;
    writer.0.open_table(POINTS)?;
    Ok(())
}

/// The names of the tables.
pub(super) fn tables() -> [String; 5] {
    let names = [
        TOTALS.name(),
        STREAMS.name(),
        CURRENT.name(),
        SHARES.name(),
        POINTS.name(),
    ];
    names.map(str::to_owned)
}

/// The last sequence of a stream that is counted, 0 where none is.
pub(super) fn last(reader: &Reader, pop: &PopId, stream: UsageStream) -> Result<u64> {
    let streams = reader.0.open_table(STREAMS)?;
    let last = streams.get((pop.as_str(), *stream.as_bytes()))?;
    Ok(last.map_or(0, |last| last.value()))
}

/// See [`Store::apply_usage`](super::Store::apply_usage).
pub(super) fn apply(
    writer: &Writer,
    pop: &PopId,
    stream: UsageStream,
    batch: &UsageBatch,
) -> Result<UsageApplied> {
    let applied = advance(writer, pop, stream, batch.sequence)?;
    if applied == UsageApplied::Done {
        add_totals(writer, &batch.users)?;
        replace_shares(writer, pop, stream, batch)?;
        add_points(writer, batch)?;
        prune(writer, batch)?;
    }
    Ok(applied)
}

/// Raises the stream's sequence if it is this one's turn.
fn advance(
    writer: &Writer,
    pop: &PopId,
    stream: UsageStream,
    sequence: u64,
) -> Result<UsageApplied> {
    let mut streams = writer.0.open_table(STREAMS)?;
    let key = (pop.as_str(), *stream.as_bytes());
    let last = streams.get(key)?.map_or(0, |last| last.value());
    if sequence <= last {
        return Ok(UsageApplied::Repeated(last));
    }
    if sequence != last + 1 {
        return Ok(UsageApplied::OutOfOrder(last + 1));
    }
    streams.insert(key, sequence)?;
    if last == 0 {
        let mut current = writer.0.open_table(CURRENT)?;
        current.insert(pop.as_str(), *stream.as_bytes())?;
    }
    Ok(UsageApplied::Done)
}

fn add_totals(writer: &Writer, users: &[UserUsage]) -> Result<()> {
    let mut table = writer.0.open_table(TOTALS)?;
    for user in users {
        let name = user.name.as_str();
        let (total, package) = table
            .get(name)?
            .map_or_else(Default::default, |v| v.value());
        let more = UsageTotals::from(user);
        table.insert(name, (sum(total, &more), sum(package, &more)))?;
    }
    Ok(())
}

fn replace_shares(
    writer: &Writer,
    pop: &PopId,
    stream: UsageStream,
    batch: &UsageBatch,
) -> Result<()> {
    let mut table = writer.0.open_table(SHARES)?;
    for user in &batch.users {
        let share = (
            *stream.as_bytes(),
            batch.at,
            user.up_bytes,
            user.down_bytes,
            user.connections,
        );
        table.insert((user.name.as_str(), pop.as_str()), share)?;
    }
    Ok(())
}

fn add_points(writer: &Writer, batch: &UsageBatch) -> Result<()> {
    let mut table = writer.0.open_table(POINTS)?;
    for user in &batch.users {
        let more = UsageTotals::from(user);
        if more == UsageTotals::default() {
            continue;
        }
        for resolution in UsageResolution::ALL {
            let start = resolution.start_of(batch.at);
            let key = (resolution.seconds(), start, user.name.as_str());
            let point = table.get(key)?.map_or_else(Default::default, |v| v.value());
            table.insert(key, sum(point, &more))?;
        }
    }
    Ok(())
}

/// Removes some of the points that are past their time, more than `batch` may have added.
fn prune(writer: &Writer, batch: &UsageBatch) -> Result<()> {
    let mut table = writer.0.open_table(POINTS)?;
    for resolution in UsageResolution::ALL {
        let length = resolution.seconds();
        let end = resolution.start_of(batch.at.saturating_sub(kept_for(resolution)));
        let due: Vec<(u64, String)> = table
            .range((length, 0, "")..(length, end, ""))?
            .take(PRUNED_AT_ONCE + batch.users.len())
            .map(|entry| {
                let (key, _) = entry?;
                let (_, start, name) = key.value();
                Ok((start, name.to_owned()))
            })
            .collect::<Result<_>>()?;
        for (start, name) in due {
            table.remove((length, start, name.as_str()))?;
        }
    }
    Ok(())
}

/// Lets a name that is given to a new user begin at zero.
pub(super) fn forget_totals(writer: &Writer, name: &UserName) -> Result<()> {
    writer.0.open_table(TOTALS)?.remove(name.as_str())?;
    Ok(())
}

/// Counts what a user's package has used from zero again.
pub(super) fn restart_package(writer: &Writer, name: &UserName) -> Result<()> {
    let mut table = writer.0.open_table(TOTALS)?;
    let totals = table.get(name.as_str())?.map(|totals| totals.value());
    if let Some((total, _)) = totals {
        table.insert(name.as_str(), (total, Sums::default()))?;
    }
    Ok(())
}

/// See [`Store::usage`](super::Store::usage).
pub(super) fn read(reader: &Reader, name: &UserName) -> Result<Option<Usage>> {
    let totals = reader.0.open_table(TOTALS)?;
    let Some((total, package)) = totals.get(name.as_str())?.map(|totals| totals.value()) else {
        return Ok(None);
    };
    Ok(Some(Usage {
        total: totals_of(total),
        package: totals_of(package),
        shares: shares(reader, name)?,
    }))
}

fn shares(reader: &Reader, name: &UserName) -> Result<Vec<PopShare>> {
    let (table, current) = (reader.0.open_table(SHARES)?, reader.0.open_table(CURRENT)?);
    let mut shares = Vec::new();
    for entry in table.range((name.as_str(), "")..)? {
        let (key, value) = entry?;
        let (user, pop) = key.value();
        if user != name.as_str() {
            break;
        }
        let (stream, at, up_bytes, down_bytes, connections) = value.value();
        let runs = current.get(pop)?.is_some_and(|run| run.value() == stream);
        // The table holds what was a PoP's id when it was written.
        let Ok(pop) = pop.parse() else { continue };
        shares.push(PopShare {
            pop,
            at: UnixTime(at),
            up_bytes,
            down_bytes,
            connections: if runs { connections } else { 0 },
        });
    }
    Ok(shares)
}

/// See [`Store::usage_series`](super::Store::usage_series).
pub(super) fn series(
    reader: &Reader,
    name: &UserName,
    resolution: UsageResolution,
    from: UnixTime,
    until: UnixTime,
) -> Result<Vec<UsagePoint>> {
    let table = reader.0.open_table(POINTS)?;
    let length = resolution.seconds();
    let starts = (resolution.start_of(from.0)..until.0).step_by(step(length));
    starts
        .map(|start| {
            let sums = table.get((length, start, name.as_str()))?;
            let sums = sums.map_or_else(Default::default, |sums| sums.value());
            Ok(UsagePoint::new(start, totals_of(sums)))
        })
        .collect()
}

/// See [`Store::top_usage`](super::Store::top_usage).
pub(super) fn top(
    reader: &Reader,
    resolution: UsageResolution,
    from: UnixTime,
    limit: usize,
) -> Result<Vec<(UserName, UsageTotals)>> {
    let table = reader.0.open_table(POINTS)?;
    let length = resolution.seconds();
    let mut users: HashMap<UserName, UsageTotals> = HashMap::new();
    for entry in table.range((length, resolution.start_of(from.0), "")..(length + 1, 0, ""))? {
        let (key, value) = entry?;
        // The table holds what was a user's name when it was written.
        if let Ok(name) = key.value().2.parse() {
            users
                .entry(name)
                .or_default()
                .add(&totals_of(value.value()));
        }
    }
    let mut users: Vec<_> = users.into_iter().collect();
    users.sort_unstable_by(|(a, of_a), (b, of_b)| (of_b.bytes(), a).cmp(&(of_a.bytes(), b)));
    users.truncate(limit);
    Ok(users)
}

/// See [`Store::standings`](super::Store::standings).
pub(super) fn standings(reader: &Reader, names: &[UserName]) -> Result<Vec<Standing>> {
    let totals = reader.0.open_table(TOTALS)?;
    names
        .iter()
        .map(|name| {
            let package = totals.get(name.as_str())?.map(|totals| totals.value().1);
            Ok(Standing {
                user: reader.get(USERS, name.as_str())?,
                package: totals_of(package.unwrap_or_default()),
            })
        })
        .collect()
}

fn sum(sums: Sums, more: &UsageTotals) -> Sums {
    let mut totals = totals_of(sums);
    totals.add(more);
    (totals.up_bytes, totals.down_bytes, totals.sessions)
}

pub(super) fn totals_of((up_bytes, down_bytes, sessions): Sums) -> UsageTotals {
    UsageTotals {
        up_bytes,
        down_bytes,
        sessions,
    }
}

/// The longest point has 86,400 seconds.
fn step(seconds: u64) -> usize {
    usize::try_from(seconds).unwrap_or(usize::MAX)
}
