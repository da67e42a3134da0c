//! Contract of usage: every byte is counted once, whatever happens to batches and answers on their way.

use std::collections::BTreeMap;

use titan_proto::control::{
    PackageUpdate, PopId, UsageBatch, UsageResolution, UsageStream, UsageTotals, UserLimits,
    UserName, UserUsage,
};
use tokio::task::JoinSet;

use super::Fixture;
use crate::store::{
    Labels, NewUser, PackageChange, Store, UnixTime, UsageApplied, UserChange, UserUpdated,
    kept_for,
};

/// Parallel callers that bring the same batch.
const RACERS: usize = 8;

/// A time that begins a day.
const MIDNIGHT: u64 = 20_000 * 86_400;

pub(in crate::store) async fn a_batch_is_counted_once_however_often_it_comes(
    fixture: &impl Fixture,
) {
    let store = fixture.store();
    assert_eq!(store.usage(&name("alice")).await.expect("read"), None);
    let first = batch(1, &[("alice", 10, 1), ("bob", 5, 0)]);
    assert_eq!(apply(&*store, 1, &first).await, UsageApplied::Done);
    assert_eq!(apply(&*store, 1, &first).await, UsageApplied::Repeated(1));
    let second = batch(2, &[("alice", 100, 10)]);
    assert_eq!(apply(&*store, 1, &second).await, UsageApplied::Done);
    for late in [&first, &second] {
        assert_eq!(apply(&*store, 1, late).await, UsageApplied::Repeated(2));
    }
    assert_eq!(total(&*store, "alice").await, totals(110, 11, 2));
    assert_eq!(total(&*store, "bob").await, totals(5, 0, 1));
}

pub(in crate::store) async fn a_batch_that_does_not_follow_is_refused(fixture: &impl Fixture) {
    let store = fixture.store();
    let ahead = batch(2, &[("alice", 10, 1)]);
    assert_eq!(apply(&*store, 1, &ahead).await, UsageApplied::OutOfOrder(1));
    assert_eq!(store.usage(&name("alice")).await.expect("read"), None);
    let first = batch(1, &[("alice", 1, 1)]);
    assert_eq!(apply(&*store, 1, &first).await, UsageApplied::Done);
    let gap = batch(3, &[("alice", 10, 1)]);
    assert_eq!(apply(&*store, 1, &gap).await, UsageApplied::OutOfOrder(2));
    assert_eq!(total(&*store, "alice").await, totals(1, 1, 1));
}

pub(in crate::store) async fn streams_and_pops_count_by_themselves(fixture: &impl Fixture) {
    let store = fixture.store();
    let first = batch(1, &[("alice", 10, 1)]);
    assert_eq!(apply(&*store, 1, &first).await, UsageApplied::Done);
    assert_eq!(apply(&*store, 2, &first).await, UsageApplied::Done);
    let other = store
        .apply_usage(&pop("p2"), stream(1), first.clone())
        .await;
    assert_eq!(other.expect("write"), UsageApplied::Done);
    // The former stream is not forgotten for the new one.
    assert_eq!(apply(&*store, 1, &first).await, UsageApplied::Repeated(1));
    assert_eq!(total(&*store, "alice").await, totals(30, 3, 3));
}

pub(in crate::store) async fn one_of_many_repetitions_counts(fixture: &impl Fixture) {
    let mut racers = JoinSet::new();
    for _ in 0..RACERS {
        let store = fixture.store();
        racers.spawn(async move { apply(&*store, 1, &batch(1, &[("alice", 7, 7)])).await });
    }
    let done = racers.join_all().await;
    let done = done
        .iter()
        .filter(|&&applied| applied == UsageApplied::Done);
    assert_eq!(done.count(), 1);
    assert_eq!(total(&*fixture.store(), "alice").await, totals(7, 7, 1));
}

/// A PoP that sends what is not acknowledged again, over a line that loses requests and answers and
/// delivers some of them late and twice.
pub(in crate::store) async fn any_order_of_losses_and_repetitions_counts_everything_once(
    fixture: &impl Fixture,
) {
    const BATCHES: u64 = 40;
    let store = fixture.store();
    let mut random = Random(0x7e57);
    let mut expected = BTreeMap::<&str, UsageTotals>::new();
    let mut batches = Vec::new();
    for sequence in 1..=BATCHES {
        let users =
            ["alice", "bob", "carol"].map(|user| (user, random.below(1000), random.below(9)));
        for (user, up, down) in users {
            expected.entry(user).or_default().add(&totals(up, down, 1));
        }
        batches.push(batch(sequence, &users));
    }
    let (mut acknowledged, mut late) = (0, Vec::new());
    while acknowledged < batches.len() {
        let next = &batches[acknowledged];
        match random.below(4) {
            // The request is lost, and comes late.
            0 => late.push(next.clone()),
            // The answer is lost.
            1 => drop(apply(&*store, 1, next).await),
            // What is late comes now.
            2 if !late.is_empty() => {
                let index = random.below(late.len() as u64);
                let stray = late.swap_remove(usize::try_from(index).expect("small"));
                apply(&*store, 1, &stray).await;
            }
            _ => match apply(&*store, 1, next).await {
                UsageApplied::Done | UsageApplied::Repeated(_) => acknowledged += 1,
                UsageApplied::OutOfOrder(expected) => panic!("{expected} was acknowledged"),
            },
        }
    }
    for stray in &late {
        assert!(matches!(
            apply(&*store, 1, stray).await,
            UsageApplied::Repeated(BATCHES)
        ));
    }
    for (user, sums) in expected {
        assert_eq!(total(&*store, user).await, sums, "{user}");
    }
}

pub(in crate::store) async fn usage_outlives_its_user_and_not_into_the_next_one(
    fixture: &impl Fixture,
) {
    let store = fixture.store();
    let alice = || store.create_user(user("alice"));
    alice().await.expect("write").expect("new");
    apply(&*store, 1, &batch(1, &[("alice", 10, 1)])).await;
    store.delete_user(&name("alice")).await.expect("write");
    assert_eq!(total(&*store, "alice").await, totals(10, 1, 1));
    // What was relayed before its deletion and is reported later counts, too.
    apply(&*store, 1, &batch(2, &[("alice", 10, 1)])).await;
    assert_eq!(total(&*store, "alice").await, totals(20, 2, 2));
    alice().await.expect("write").expect("new");
    assert_eq!(store.usage(&name("alice")).await.expect("read"), None);
    let day = store
        .usage_series(
            &name("alice"),
            UsageResolution::Day,
            UnixTime(MIDNIGHT),
            UnixTime(MIDNIGHT + 1),
        )
        .await
        .expect("read");
    assert_eq!(day[0].up_bytes, 20, "the series is of the name");
}

pub(in crate::store) async fn a_package_starts_again_and_the_total_goes_on(fixture: &impl Fixture) {
    let store = fixture.store();
    let alice = store.create_user(user("alice")).await;
    alice.expect("write").expect("new");
    let change = async |package: PackageChange| {
        let change = UserChange {
            package: Some(package),
            ..UserChange::default()
        };
        let outcome = store.update_user(&name("alice"), None, change).await;
        assert!(matches!(outcome.expect("write"), UserUpdated::Done(_)));
    };
    apply(&*store, 1, &batch(1, &[("alice", 10, 1)])).await;
    // What was relayed before there was a package does not count for it.
    change(PackageChange::Merge(PackageUpdate::default())).await;
    apply(&*store, 1, &batch(2, &[("alice", 7, 0)])).await;
    change(PackageChange::Merge(PackageUpdate::default())).await;
    assert_eq!(
        package(&*store).await,
        totals(7, 0, 1),
        "a change is no reset"
    );
    change(PackageChange::Reset).await;
    apply(&*store, 1, &batch(3, &[("alice", 5, 0)])).await;
    let usage = store
        .usage(&name("alice"))
        .await
        .expect("read")
        .expect("some");
    assert_eq!(
        (usage.total, usage.package),
        (totals(22, 1, 3), totals(5, 0, 1))
    );
}

pub(in crate::store) async fn a_series_holds_every_point_at_each_resolution(
    fixture: &impl Fixture,
) {
    let store = fixture.store();
    for (sequence, at) in (1..).zip([0, 299, 300, 3600, 86_400]) {
        let batch = UsageBatch {
            at: MIDNIGHT + at,
            ..batch(sequence, &[("alice", 1 << sequence, 1), ("bob", 1, 0)])
        };
        apply(&*store, 1, &batch).await;
    }
    let series = async |resolution, until: u64| {
        let (from, until) = (UnixTime(MIDNIGHT + 7), UnixTime(MIDNIGHT + until));
        let points = store
            .usage_series(&name("alice"), resolution, from, until)
            .await;
        let points = points.expect("read");
        assert_eq!(points[0].start, MIDNIGHT);
        points
            .iter()
            .map(|point| point.up_bytes)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        series(UsageResolution::FiveMinutes, 900).await,
        [2 + 4, 8, 0]
    );
    assert_eq!(series(UsageResolution::Hour, 3601).await, [2 + 4 + 8, 16]);
    assert_eq!(
        series(UsageResolution::Day, 86_401).await,
        [2 + 4 + 8 + 16, 32]
    );
}

pub(in crate::store) async fn points_past_their_time_are_gone(fixture: &impl Fixture) {
    let store = fixture.store();
    let kept = kept_for(UsageResolution::FiveMinutes);
    apply(&*store, 1, &batch(1, &[("alice", 1, 1)])).await;
    let later = UsageBatch {
        at: MIDNIGHT + kept + 300,
        ..batch(2, &[("alice", 2, 2)])
    };
    apply(&*store, 1, &later).await;
    let first = async |resolution| {
        let (from, until) = (UnixTime(MIDNIGHT), UnixTime(MIDNIGHT + 1));
        let points = store
            .usage_series(&name("alice"), resolution, from, until)
            .await;
        points.expect("read")[0].up_bytes
    };
    assert_eq!(first(UsageResolution::FiveMinutes).await, 0);
    assert_eq!(first(UsageResolution::Hour).await, 1, "kept for longer");
    assert_eq!(total(&*store, "alice").await, totals(3, 3, 2));
}

pub(in crate::store) async fn who_relays_most_comes_first(fixture: &impl Fixture) {
    let store = fixture.store();
    apply(
        &*store,
        1,
        &batch(1, &[("alice", 10, 0), ("bob", 1, 30), ("carol", 9, 0)]),
    )
    .await;
    let next = UsageBatch {
        at: MIDNIGHT + 300,
        ..batch(2, &[("alice", 25, 0)])
    };
    apply(&*store, 1, &next).await;
    let top = async |from: u64, limit| {
        let resolution = UsageResolution::FiveMinutes;
        let top = store
            .top_usage(resolution, UnixTime(MIDNIGHT + from), limit)
            .await;
        let names = top
            .expect("read")
            .into_iter()
            .map(|(name, _)| name.to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(top(299, 2).await, ["alice", "bob"]);
    assert_eq!(top(300, 9).await, ["alice"]);
    assert!(top(600, 9).await.is_empty());
}

pub(in crate::store) async fn sessions_run_in_the_last_stream_only(fixture: &impl Fixture) {
    let store = fixture.store();
    apply(&*store, 1, &batch(1, &[("alice", 10, 4)])).await;
    let share = async || {
        let usage = store
            .usage(&name("alice"))
            .await
            .expect("read")
            .expect("some");
        let [share] = &usage.shares[..] else {
            panic!("{:?}", usage.shares)
        };
        assert_eq!((&share.pop, share.at), (&pop("p1"), UnixTime(MIDNIGHT)));
        (share.up_bytes, share.connections)
    };
    assert_eq!(share().await, (10, 1));
    // The PoP has started anew, and alice has not come back.
    apply(&*store, 2, &batch(1, &[("bob", 1, 1)])).await;
    assert_eq!(share().await, (10, 0));
}

pub(in crate::store) async fn standings_come_in_the_order_they_were_asked(fixture: &impl Fixture) {
    let store = fixture.store();
    let alice = store
        .create_user(user("alice"))
        .await
        .expect("write")
        .expect("new");
    let change = UserChange {
        enabled: Some(false),
        ..UserChange::default()
    };
    store
        .update_user(&alice.name, None, change)
        .await
        .expect("write");
    apply(&*store, 1, &batch(1, &[("alice", 10, 1), ("gone", 2, 2)])).await;
    let names = ["gone", "new", "alice"].map(name);
    let standings = store.standings(&names).await.expect("read");
    let [gone, new, alice] = &standings[..] else {
        panic!("{standings:?}")
    };
    assert_eq!((&gone.user, gone.package.bytes()), (&None, 4));
    assert_eq!((&new.user, new.package.bytes()), (&None, 0));
    assert!(alice.user.as_ref().is_some_and(|user| !user.enabled));
    assert_eq!(alice.package.bytes(), 11);
}

async fn apply(store: &dyn Store, run: u8, batch: &UsageBatch) -> UsageApplied {
    let applied = store
        .apply_usage(&pop("p1"), stream(run), batch.clone())
        .await;
    applied.expect("write")
}

async fn total(store: &dyn Store, user: &str) -> UsageTotals {
    let usage = store.usage(&name(user)).await.expect("read");
    usage.expect("some usage").total
}

async fn package(store: &dyn Store) -> UsageTotals {
    let usage = store.usage(&name("alice")).await.expect("read");
    usage.expect("some usage").package
}

/// One session each, which is still running.
fn batch(sequence: u64, users: &[(&str, u64, u64)]) -> UsageBatch {
    let of = |&(user, up_bytes, down_bytes): &(&str, u64, u64)| UserUsage {
        name: name(user),
        up_bytes,
        down_bytes,
        sessions: 1,
        connections: 1,
    };
    UsageBatch {
        sequence,
        at: MIDNIGHT,
        users: users.iter().map(of).collect(),
    }
}

fn totals(up_bytes: u64, down_bytes: u64, sessions: u64) -> UsageTotals {
    UsageTotals {
        up_bytes,
        down_bytes,
        sessions,
    }
}

fn stream(run: u8) -> UsageStream {
    UsageStream::new([run; 16])
}

fn name(text: &str) -> UserName {
    text.parse().expect("a user name")
}

fn pop(text: &str) -> PopId {
    text.parse().expect("a PoP id")
}

fn user(text: &str) -> NewUser {
    NewUser {
        name: name(text),
        password_hash: "hash".into(),
        enabled: true,
        reply_mode: None,
        limits: UserLimits::default(),
        labels: Labels::new(),
        package: None,
        created_at: UnixTime(5),
    }
}

/// xorshift64, the same numbers every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
