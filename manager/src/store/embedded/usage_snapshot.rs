//! Everything that was counted, to be carried to another store.

use std::str::FromStr;

use redb::ReadableTable;
use titan_proto::control::{UsagePoint, UsageResolution, UsageStream, UserName};

use super::{
    super::{
        PopShare, Result, UnixTime,
        snapshot::{CountedShare, CountedTotals, UsageSnapshot},
    },
    tables::Reader,
    usage::{CURRENT, POINTS, SHARES, STREAMS, TOTALS, totals_of},
};
use crate::error::StoreError;

/// Everything that was counted.
pub(super) fn snapshot(reader: &Reader) -> Result<UsageSnapshot> {
    let mut snapshot = UsageSnapshot {
        shares: shares(reader)?,
        points: points(reader)?,
        ..UsageSnapshot::default()
    };
    for entry in reader.0.open_table(TOTALS)?.iter()? {
        let (name, totals) = entry?;
        let (total, package) = totals.value();
        snapshot.totals.push(CountedTotals {
            name: parse(name.value())?,
            total: totals_of(total),
            package: totals_of(package),
        });
    }
    for entry in reader.0.open_table(STREAMS)?.iter()? {
        let (key, last) = entry?;
        let (pop, stream) = key.value();
        let stream = UsageStream::new(stream);
        snapshot.streams.push((parse(pop)?, stream, last.value()));
    }
    for entry in reader.0.open_table(CURRENT)?.iter()? {
        let (pop, stream) = entry?;
        let stream = UsageStream::new(stream.value());
        snapshot.current.push((parse(pop.value())?, stream));
    }
    Ok(snapshot)
}

fn shares(reader: &Reader) -> Result<Vec<CountedShare>> {
    let mut shares = Vec::new();
    for entry in reader.0.open_table(SHARES)?.iter()? {
        let (key, value) = entry?;
        let (name, pop) = key.value();
        let (stream, at, up_bytes, down_bytes, connections) = value.value();
        shares.push(CountedShare {
            name: parse(name)?,
            stream: UsageStream::new(stream),
            share: PopShare {
                pop: parse(pop)?,
                at: UnixTime(at),
                up_bytes,
                down_bytes,
                connections,
            },
        });
    }
    Ok(shares)
}

fn points(reader: &Reader) -> Result<Vec<(UserName, UsageResolution, UsagePoint)>> {
    let mut points = Vec::new();
    for entry in reader.0.open_table(POINTS)?.iter()? {
        let (key, sums) = entry?;
        let (length, start, name) = key.value();
        let is_it = |resolution: &UsageResolution| resolution.seconds() == length;
        let resolution = UsageResolution::ALL.into_iter().find(is_it);
        let resolution = resolution.ok_or_else(|| unknown(&length.to_string()))?;
        let point = UsagePoint::new(start, totals_of(sums.value()));
        points.push((parse(name)?, resolution, point));
    }
    Ok(points)
}

/// A name or an id, which was one when it was written.
fn parse<T: FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| unknown(text))
}

fn unknown(text: &str) -> StoreError {
    StoreError::Unfit(format!(
        "usage is counted for {text:?}, which is not known here"
    ))
}
