//! What was counted of usage, as it is asked for.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt, future::try_join_all, stream::iter};
use redis::cmd;
use titan_proto::control::{UsagePoint, UsageResolution, UsageTotals, UserName};

use super::{
    RedisStore,
    link::ScriptCall,
    names::USERS,
    scripts::{USAGE_SERIES, USAGE_STANDINGS},
    usage::by_shard,
    users::parse,
};
use crate::{
    error::StoreError,
    limits,
    store::{PopShare, Result, Standing, UnixTime, Usage},
};

/// A user, and bytes up, bytes down and sessions since the package began, as they are stored.
type StoredStanding = (Option<String>, Option<u64>, Option<u64>, Option<u64>);

impl RedisStore {
    pub(super) async fn usage_of(&self, name: &UserName) -> Result<Option<Usage>> {
        let key = self
            .names
            .usage(USERS.shard_of(name.as_str()), name.as_str());
        let fields: HashMap<String, String> = self.link.read(cmd("HGETALL").arg(key)).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        let shares = fields
            .iter()
            .filter_map(|(field, text)| parse_share(field.strip_prefix("pop:")?, text));
        let shares = shares.map(async |(stream, mut share)| {
            let mut get = cmd("HGET");
            get.arg(self.names.usage_streams(&share.pop)).arg("current");
            let current: Option<String> = self.link.read(&get).await?;
            if current.as_ref() != Some(&stream) {
                share.connections = 0;
            }
            Ok::<_, StoreError>(share)
        });
        let shares = iter(shares.collect::<Vec<_>>()).buffered(limits::REDIS_FAN_OUT);
        let mut shares: Vec<PopShare> = shares.try_collect().await?;
        shares.sort_unstable_by(|a, b| a.pop.cmp(&b.pop));
        Ok(Some(Usage {
            total: totals_since("total", &fields),
            package: totals_since("package", &fields),
            shares,
        }))
    }

    pub(super) async fn series_of(
        &self,
        name: &UserName,
        resolution: UsageResolution,
        from: UnixTime,
        until: UnixTime,
    ) -> Result<Vec<UsagePoint>> {
        let shard = USERS.shard_of(name.as_str());
        // The longest point has 86,400 seconds.
        let step = usize::try_from(resolution.seconds()).unwrap_or(usize::MAX);
        let starts: Vec<u64> = (resolution.start_of(from.0)..until.0)
            .step_by(step)
            .collect();
        let mut points = Vec::with_capacity(starts.len());
        for piece in starts.chunks(limits::REDIS_BATCH) {
            let keys = piece
                .iter()
                .map(|start| self.names.usage_point(shard, resolution, start));
            let call = ScriptCall::new(&USAGE_SERIES, keys).arg(name.as_str());
            let sums: Vec<Option<String>> = self.link.run_repeatable(call).await?;
            let sums = sums
                .iter()
                .map(|sums| sums.as_deref().and_then(parse_sums).unwrap_or_default());
            points.extend(
                piece
                    .iter()
                    .zip(sums)
                    .map(|(&start, sums)| UsagePoint::new(start, sums)),
            );
        }
        Ok(points)
    }

    pub(super) async fn top_users(
        &self,
        resolution: UsageResolution,
        from: UnixTime,
        limit: usize,
    ) -> Result<Vec<(UserName, UsageTotals)>> {
        let from = resolution.start_of(from.0);
        let of_shards =
            (0..USERS.shards).map(|shard| self.top_of_part(shard, resolution, from, limit));
        let mut users = try_join_all(of_shards).await?.concat();
        keep_top(&mut users, limit);
        Ok(users)
    }

    /// All points of a user lie in one part, so that those who come first among all come first there.
    async fn top_of_part(
        &self,
        shard: u8,
        resolution: UsageResolution,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(UserName, UsageTotals)>> {
        let mut range = cmd("ZRANGEBYSCORE");
        range
            .arg(self.names.usage_points(shard, resolution))
            .arg(from)
            .arg("+inf");
        let starts: Vec<String> = self.link.read(&range).await?;
        let mut users: HashMap<UserName, UsageTotals> = HashMap::new();
        for start in starts {
            for (name, sums) in self.point(shard, resolution, &start).await? {
                // The hash holds what was a user's name when it was written.
                if let (Ok(name), Some(sums)) = (name.parse(), parse_sums(&sums)) {
                    users.entry(name).or_default().add(&sums);
                }
            }
        }
        let mut users: Vec<_> = users.into_iter().collect();
        keep_top(&mut users, limit);
        Ok(users)
    }

    /// What one point says of everybody, read piece by piece: a piece may name some a second time.
    async fn point(
        &self,
        shard: u8,
        resolution: UsageResolution,
        start: &str,
    ) -> Result<HashMap<String, String>> {
        let (mut cursor, mut users) = (String::from("0"), HashMap::new());
        loop {
            let mut scan = cmd("HSCAN");
            scan.arg(self.names.usage_point(shard, resolution, start))
                .arg(&cursor);
            scan.arg("COUNT").arg(limits::REDIS_BATCH);
            let (next, piece): (String, HashMap<String, String>) = self.link.read(&scan).await?;
            users.extend(piece);
            if next == "0" {
                return Ok(users);
            }
            cursor = next;
        }
    }

    pub(super) async fn standings_of(&self, names: &[UserName]) -> Result<Vec<Standing>> {
        let numbered: Vec<_> = names.iter().enumerate().collect();
        let parts = by_shard(&numbered, |&(_, name)| name);
        let asked = parts
            .iter()
            .map(|(shard, names)| self.standings_in_part(*shard, names));
        let mut standings = try_join_all(asked).await?.concat();
        standings.sort_unstable_by_key(|&(place, _)| place);
        Ok(standings
            .into_iter()
            .map(|(_, standing)| standing)
            .collect())
    }

    async fn standings_in_part(
        &self,
        shard: u8,
        names: &[&(usize, &UserName)],
    ) -> Result<Vec<(usize, Standing)>> {
        let mut standings = Vec::with_capacity(names.len());
        for piece in names.chunks(limits::REDIS_BATCH) {
            let mut keys = vec![self.names.records(USERS, shard)];
            keys.extend(
                piece
                    .iter()
                    .map(|(_, name)| self.names.usage(shard, name.as_str())),
            );
            let mut call = ScriptCall::new(&USAGE_STANDINGS, keys);
            piece.iter().for_each(|(_, name)| call.push(name.as_str()));
            let found: Vec<StoredStanding> = self.link.run_repeatable(call).await?;
            for (&&(place, name), stored) in piece.iter().zip(found) {
                standings.push((place, standing(name, stored)?));
            }
        }
        Ok(standings)
    }
}

/// Keeps the `limit` users with most bytes, most first.
fn keep_top(users: &mut Vec<(UserName, UsageTotals)>, limit: usize) {
    users.sort_unstable_by(|(a, of_a), (b, of_b)| (of_b.bytes(), a).cmp(&(of_a.bytes(), b)));
    users.truncate(limit);
}

fn totals_since(since: &str, fields: &HashMap<String, String>) -> UsageTotals {
    let sum = |of: &str| {
        let text = fields.get(&format!("{since}-{of}"));
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    };
    UsageTotals {
        up_bytes: sum("up"),
        down_bytes: sum("down"),
        sessions: sum("sessions"),
    }
}

fn standing(name: &UserName, stored: StoredStanding) -> Result<Standing> {
    let (user, up_bytes, down_bytes, sessions) = stored;
    Ok(Standing {
        user: user.map(|raw| parse(name.as_str(), &raw)).transpose()?,
        package: UsageTotals {
            up_bytes: up_bytes.unwrap_or_default(),
            down_bytes: down_bytes.unwrap_or_default(),
            sessions: sessions.unwrap_or_default(),
        },
    })
}

/// Reads what a point says of a user: bytes up, bytes down, sessions.
fn parse_sums(text: &str) -> Option<UsageTotals> {
    let mut numbers = text.split(' ').map(|number| number.parse().ok());
    Some(UsageTotals {
        up_bytes: numbers.next()??,
        down_bytes: numbers.next()??,
        sessions: numbers.next()??,
    })
}

/// Reads what `pop` said last of a user: stream, time, bytes up, bytes down, sessions running.
fn parse_share(pop: &str, text: &str) -> Option<(String, PopShare)> {
    let (stream, numbers) = text.split_once(' ')?;
    let mut numbers = numbers.split(' ').map(|number| number.parse().ok());
    let share = PopShare {
        pop: pop.parse().ok()?,
        at: UnixTime(numbers.next()??),
        up_bytes: numbers.next()??,
        down_bytes: numbers.next()??,
        connections: numbers.next()??,
    };
    Some((stream.into(), share))
}
