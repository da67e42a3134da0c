//! Batches of usage that are counted in part, late, in pieces, and beyond what Redis can add.

use titan_proto::control::{UsageResolution, UsageTotals, UserUsage};

use super::*;
use crate::{
    limits,
    store::{
        UnixTime,
        redis::usage::{Sent, by_shard},
    },
};

/// More users than one step counts, in each part of the table.
const CROWD: usize = 2 * limits::REDIS_USAGE_BATCH * limits::REDIS_SHARDS as usize;

#[tokio::test]
async fn a_batch_that_was_counted_in_part_is_completed_once() {
    for url in [SERVER.url(), CLUSTER.url()] {
        let store = RedisStore::open(&fresh(&url)).await.expect("a store");
        complete_what_was_counted_in_part(&store).await;
    }
}

async fn complete_what_was_counted_in_part(store: &RedisStore) {
    let names = names(CROWD);
    let batch = batch(1, 5, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let (pop, stream) = (pop(), UsageStream::new([1; 16]));
    let sent = Sent {
        pop: &pop,
        stream,
        batch: &batch,
    };
    // A manager dies when it has counted one part, and a piece of another.
    let parts = by_shard(&batch.users, |user| &user.name);
    let (first, second) = (&parts[0], &parts[1]);
    assert!(second.1.len() > limits::REDIS_USAGE_BATCH);
    store
        .count_part(sent, first.0, &first.1)
        .await
        .expect("write");
    store
        .count_part(sent, second.0, &second.1[..limits::REDIS_USAGE_BATCH + 1])
        .await
        .expect("write");

    let applied = store.apply_usage(&pop, stream, batch.clone()).await;
    assert_eq!(applied.expect("write"), UsageApplied::Done);
    let next = usage::batch(2, 5, &[]);
    let applied = store.apply_usage(&pop, stream, next).await;
    assert_eq!(applied.expect("write"), UsageApplied::Done);
    // Another manager, which has stood still meanwhile, goes on with the first batch.
    for (shard, users) in &parts {
        store.count_part(sent, *shard, users).await.expect("write");
    }
    each_has(store, &batch, ONCE).await;
}

#[tokio::test]
async fn one_manager_completes_what_another_does_at_the_same_time() {
    let store = store().await;
    let names = names(CROWD);
    let batch = batch(1, 5, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let (pop, stream) = (pop(), UsageStream::new([1; 16]));
    let apply = || store.apply_usage(&pop, stream, batch.clone());
    let applied = tokio::join!(apply(), apply(), apply());
    let applied = [applied.0, applied.1, applied.2].map(|applied| applied.expect("write"));
    let is_done = |applied: &&UsageApplied| **applied == UsageApplied::Done;
    assert_eq!(applied.iter().filter(is_done).count(), 1, "{applied:?}");
    each_has(&store, &batch, ONCE).await;
}

#[tokio::test]
async fn a_sum_stays_at_its_end() {
    let store = store().await;
    let (pop, stream) = (pop(), UsageStream::new([1; 16]));
    let most = i64::MAX.unsigned_abs();
    for (sequence, up_bytes) in (1..).zip([u64::MAX, 7, u64::MAX]) {
        let mut batch = batch(sequence, 5, &["alice"]);
        batch.users[0].up_bytes = up_bytes;
        let applied = store.apply_usage(&pop, stream, batch).await;
        assert_eq!(applied.expect("write"), UsageApplied::Done);
    }
    let usage = store.usage(&name("alice")).await.expect("read");
    let total = usage.expect("some").total;
    assert_eq!((total.up_bytes, total.down_bytes), (most, 3 * 2));
    let day = (UsageResolution::Day, UnixTime(0), UnixTime(1));
    let points = store
        .usage_series(&name("alice"), day.0, day.1, day.2)
        .await;
    assert_eq!(points.expect("read")[0].up_bytes, 1 << 53);
}

/// What [`batch`] says of each user.
const ONCE: UsageTotals = UsageTotals {
    up_bytes: 1,
    down_bytes: 2,
    sessions: 3,
};

/// A batch about users in the order of their names.
pub(super) fn batch(sequence: u64, at: u64, users: &[&str]) -> UsageBatch {
    let of = |user: &&str| UserUsage {
        name: name(user),
        up_bytes: ONCE.up_bytes,
        down_bytes: ONCE.down_bytes,
        sessions: ONCE.sessions,
        connections: 1,
    };
    let users = users.iter().map(of).collect();
    UsageBatch {
        sequence,
        at,
        users,
    }
}

/// In totals, standings and points, `sums` are counted for each user of `batch`.
async fn each_has(store: &RedisStore, batch: &UsageBatch, sums: UsageTotals) {
    let names: Vec<_> = batch.users.iter().map(|user| user.name.clone()).collect();
    let standings = store.standings(&names).await.expect("read");
    assert!(standings.iter().all(|standing| standing.package == sums));
    assert_eq!(standings.len(), names.len());
    for name in [&names[0], &names[names.len() / 2]] {
        let usage = store.usage(name).await.expect("read").expect("some");
        assert_eq!(usage.total, sums);
        assert_eq!(usage.shares[0].connections, 1);
    }
    for resolution in UsageResolution::ALL {
        let top = store.top_usage(resolution, UnixTime(0), usize::MAX).await;
        let top = top.expect("read");
        assert_eq!(top.len(), names.len());
        assert!(top.iter().all(|(_, totals)| *totals == sums));
    }
}

async fn store() -> RedisStore {
    RedisStore::open(&fresh(&SERVER.url()))
        .await
        .expect("a store")
}

fn names(number: usize) -> Vec<String> {
    (0..number).map(|user| format!("u{user:06}")).collect()
}

fn name(text: &str) -> UserName {
    text.parse().expect("a user name")
}

fn pop() -> PopId {
    "p1".parse().expect("an id")
}
