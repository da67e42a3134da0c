//! Counting usage: totals, shares and points of users, each beside the user in the user's slot.
//!
//! Users of a batch lie in several slots, and a script works in one. So each part of the table of
//! users keeps how far it has counted the batches of each PoP's streams, in one step with the sums
//! of its users; when all parts have counted a batch, the sequence of the PoP's stream is raised. A
//! batch that was counted in part is completed when it comes again, and one that another manager
//! works on late finds each part counted already: nothing counts twice, in whatever order it comes.
//!
//! Points lie by time: a hash of users for each begin, which is forgotten as a whole.

use futures_util::future::try_join_all;
use redis::cmd;
use titan_proto::control::{PopId, UsageBatch, UsageResolution, UsageStream, UserName, UserUsage};

use super::{
    RedisStore,
    link::ScriptCall,
    names::USERS,
    scripts::{USAGE_ADVANCE, USAGE_COUNT, USAGE_PRUNE},
};
use crate::{
    error::StoreError,
    limits,
    store::{Result, UsageApplied, kept_for},
};

/// A batch on its way into the parts of the table.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) pop: &'a PopId,
    pub(super) stream: UsageStream,
    pub(super) batch: &'a UsageBatch,
}

impl RedisStore {
    pub(super) async fn count_usage(
        &self,
        pop: &PopId,
        stream: UsageStream,
        batch: &UsageBatch,
    ) -> Result<UsageApplied> {
        let streams = self.names.usage_streams(pop);
        let last = cmd("HGET").arg(&streams).arg(stream.to_string()).to_owned();
        let last: Option<u64> = self.link.read(&last).await?;
        let turn = turn_of(batch.sequence, last.unwrap_or_default());
        if turn != UsageApplied::Done {
            return Ok(turn);
        }
        self.count_users(Sent { pop, stream, batch }).await?;
        let call = ScriptCall::new(&USAGE_ADVANCE, [streams])
            .arg(stream.to_string())
            .number(batch.sequence);
        let last = self.link.run_repeatable(call).await?;
        Ok(turn_of(batch.sequence, last))
    }

    async fn count_users(&self, sent: Sent<'_>) -> Result<()> {
        let parts = by_shard(&sent.batch.users, |user| &user.name);
        let counted = parts
            .iter()
            .map(|(shard, users)| self.count_part(sent, *shard, users));
        try_join_all(counted).await?;
        Ok(())
    }

    /// Counts the users of a batch who lie in one part of the table, piece by piece.
    pub(super) async fn count_part(
        &self,
        sent: Sent<'_>,
        shard: u8,
        users: &[&UserUsage],
    ) -> Result<()> {
        let mut before = 0;
        for piece in users.chunks(limits::REDIS_USAGE_BATCH) {
            let call = self.count_call(sent, shard, before, piece);
            let past: Option<Vec<Vec<String>>> = self.link.run_repeatable(call).await?;
            // A replica that did not get the last piece has taken over: the PoP sends all again.
            let past = past.ok_or_else(|| {
                StoreError::Unavailable("it has lost a part of a batch of usage".into())
            })?;
            for (resolution, starts) in UsageResolution::ALL.into_iter().zip(past) {
                self.prune(shard, resolution, &starts).await?;
            }
            before += piece.len();
        }
        Ok(())
    }

    fn count_call(
        &self,
        sent: Sent<'_>,
        shard: u8,
        before: usize,
        users: &[&UserUsage],
    ) -> ScriptCall {
        let (Sent { pop, stream, batch }, names) = (sent, &self.names);
        let mut keys = vec![names.usage_counted(shard)];
        for resolution in UsageResolution::ALL {
            keys.push(names.usage_points(shard, resolution));
            keys.push(names.usage_point(shard, resolution, resolution.start_of(batch.at)));
        }
        keys.extend(
            users
                .iter()
                .map(|user| names.usage(shard, user.name.as_str())),
        );
        let mut call = ScriptCall::new(&USAGE_COUNT, keys)
            .arg(pop.as_str())
            .arg(stream.to_string())
            .number(batch.sequence)
            .number(batch.at)
            .number(limits::REDIS_POINTS_PRUNED)
            .number(before as u64);
        for resolution in UsageResolution::ALL {
            let kept = kept_for(resolution);
            call = call
                .number(resolution.start_of(batch.at))
                .number(resolution.start_of(batch.at.saturating_sub(kept)))
                .number(kept + resolution.seconds());
        }
        for user in users {
            call = call
                .arg(user.name.as_str())
                .number(addend(user.up_bytes))
                .number(addend(user.down_bytes))
                .number(addend(user.sessions))
                .number(user.connections);
        }
        call
    }

    /// Forgets points. Should a manager die before it gets here, the next batch finds them again, and
    /// where no batch comes they expire.
    async fn prune(&self, shard: u8, resolution: UsageResolution, starts: &[String]) -> Result<()> {
        if starts.is_empty() {
            return Ok(());
        }
        let mut keys = vec![self.names.usage_points(shard, resolution)];
        keys.extend(
            starts
                .iter()
                .map(|start| self.names.usage_point(shard, resolution, start)),
        );
        let mut call = ScriptCall::new(&USAGE_PRUNE, keys);
        starts.iter().for_each(|start| call.push(start.as_str()));
        self.link.run_repeatable(call).await
    }
}

/// Whose turn it is in a stream whose last counted sequence is `last`.
fn turn_of(sequence: u64, last: u64) -> UsageApplied {
    if sequence <= last {
        UsageApplied::Repeated(last)
    } else if sequence - 1 == last {
        UsageApplied::Done
    } else {
        UsageApplied::OutOfOrder(last + 1)
    }
}

/// What Redis can add, and add to: up to 2^63 - 1, which no honest PoP gets to.
pub(super) fn addend(number: u64) -> u64 {
    number.min(i64::MAX.unsigned_abs())
}

/// Items by the part of the table of users that their user lies in, in their order.
pub(super) fn by_shard<T>(items: &[T], name: impl Fn(&T) -> &UserName) -> Vec<(u8, Vec<&T>)> {
    let mut of_shard = vec![Vec::new(); USERS.shards.into()];
    for item in items {
        of_shard[usize::from(USERS.shard_of(name(item).as_str()))].push(item);
    }
    let parts = (0..USERS.shards).zip(of_shard);
    parts.filter(|(_, items)| !items.is_empty()).collect()
}
