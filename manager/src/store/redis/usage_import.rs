//! Filling an empty Redis with what another store has counted.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream::iter};
use redis::{Cmd, cmd};
use titan_proto::control::{UsagePoint, UsageResolution, UserName};

use super::{RedisStore, names::USERS, usage::addend};
use crate::{
    limits,
    store::{
        Result, kept_for,
        snapshot::{CountedShare, CountedTotals, UsageSnapshot},
    },
};

/// Part of the table of users, length and begin of a point.
type Place = (u8, UsageResolution, u64);

impl RedisStore {
    /// Writes everything that was counted.
    ///
    /// Streams come last: a PoP whose stream is known here goes on behind what was counted of it.
    pub(super) async fn put_usage(&self, usage: &UsageSnapshot) -> Result<()> {
        let UsageSnapshot {
            totals,
            streams,
            current,
            shares,
            points,
        } = usage;
        self.do_all(totals.iter().map(|totals| self.put_totals(totals)))
            .await?;
        self.do_all(shares.iter().map(|share| self.put_share(share)))
            .await?;
        self.put_points(points).await?;
        let put = |pop, field: String, value: String| {
            let mut put = cmd("HSET");
            put.arg(self.names.usage_streams(pop)).arg(field).arg(value);
            vec![put]
        };
        let streams = streams
            .iter()
            .map(|(pop, stream, last)| put(pop, stream.to_string(), last.to_string()));
        self.do_all(streams).await?;
        let current = current
            .iter()
            .map(|(pop, stream)| put(pop, "current".into(), stream.to_string()));
        self.do_all(current).await
    }

    /// Sends rows of commands, of which each may be sent twice, several rows at a time.
    async fn do_all(&self, rows: impl Iterator<Item = Vec<Cmd>>) -> Result<()> {
        let rows: Vec<Vec<Cmd>> = rows.collect();
        let done = iter(&rows).map(async |row| {
            for command in row {
                self.link.read::<()>(command).await?;
            }
            Ok(())
        });
        done.buffer_unordered(limits::REDIS_FAN_OUT)
            .try_collect()
            .await
    }

    fn put_totals(&self, totals: &CountedTotals) -> Vec<Cmd> {
        let mut put = cmd("HSET");
        put.arg(self.usage_key(&totals.name));
        for (since, sums) in [("total", totals.total), ("package", totals.package)] {
            put.arg(format!("{since}-up")).arg(addend(sums.up_bytes));
            put.arg(format!("{since}-down"))
                .arg(addend(sums.down_bytes));
            put.arg(format!("{since}-sessions"))
                .arg(addend(sums.sessions));
        }
        vec![put]
    }

    fn put_share(&self, counted: &CountedShare) -> Vec<Cmd> {
        let (share, stream) = (&counted.share, counted.stream);
        let text = format!(
            "{stream} {} {} {} {}",
            share.at.0, share.up_bytes, share.down_bytes, share.connections
        );
        let mut put = cmd("HSET");
        put.arg(self.usage_key(&counted.name));
        put.arg(format!("pop:{}", share.pop)).arg(text);
        vec![put]
    }

    async fn put_points(&self, points: &[(UserName, UsageResolution, UsagePoint)]) -> Result<()> {
        let mut at: BTreeMap<Place, Vec<(&UserName, String)>> = BTreeMap::new();
        for (name, resolution, point) in points {
            let shard = USERS.shard_of(name.as_str());
            let sums = format!("{} {} {}", point.up_bytes, point.down_bytes, point.sessions);
            let users = at.entry((shard, *resolution, point.start)).or_default();
            users.push((name, sums));
        }
        self.do_all(
            at.iter()
                .map(|(place, users)| self.put_point(*place, users)),
        )
        .await
    }

    /// One point of some users, which lives as long as if it began now: what is past its time is
    /// also found by its begin.
    fn put_point(
        &self,
        (shard, resolution, start): Place,
        users: &[(&UserName, String)],
    ) -> Vec<Cmd> {
        let life = kept_for(resolution) + resolution.seconds();
        let points = self.names.usage_points(shard, resolution);
        let point = self.names.usage_point(shard, resolution, start);
        let puts = users.chunks(limits::REDIS_BATCH).map(|users| {
            let mut put = cmd("HSET");
            put.arg(&point);
            for (name, sums) in users {
                put.arg(name.as_str()).arg(sums);
            }
            put
        });
        let mut commands: Vec<Cmd> = puts.collect();
        commands.push(cmd("ZADD").arg(&points).arg(start).arg(start).to_owned());
        for key in [&point, &points] {
            commands.push(cmd("EXPIRE").arg(key).arg(life).to_owned());
        }
        commands
    }

    fn usage_key(&self, name: &UserName) -> String {
        let name = name.as_str();
        self.names.usage(USERS.shard_of(name), name)
    }
}
