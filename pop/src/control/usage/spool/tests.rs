//! What a crash may leave of a spool, and what is sent how often.

use std::{collections::BTreeMap, fs};

use proptest::prelude::*;
use tempfile::TempDir;
use titan_proto::control::UserName;

use super::*;

/// A batch of one user, in a slot of five minutes of its own unless `at` says otherwise.
fn users(up_bytes: u64) -> Vec<UserUsage> {
    vec![usage("alice", up_bytes)]
}

fn usage(name: &str, up_bytes: u64) -> UserUsage {
    UserUsage {
        name: name.parse().expect("a name"),
        up_bytes,
        down_bytes: 0,
        sessions: 1,
        connections: up_bytes,
    }
}

fn open(dir: &TempDir) -> Spool {
    Spool::open(dir.path()).expect("a spool")
}

fn file(dir: &TempDir) -> PathBuf {
    dir.path().join(FILE)
}

/// Everything that is sent, in order, acknowledging it; and how often it was asked for.
fn take_all(spool: &mut Spool) -> Vec<(UsageStream, UsageBatch)> {
    let mut all = Vec::new();
    while let Some(parcel) = spool.front().expect("read") {
        let last = parcel.span().last;
        let stream = parcel.stream;
        all.extend(parcel.batches.into_iter().map(|batch| (stream, batch)));
        spool.acknowledge(stream, last).expect("written");
    }
    all
}

/// The first sequence and the last.
fn sequences(parcel: &Parcel) -> (u64, u64) {
    let span = parcel.span();
    (span.first, span.last)
}

fn ups(batches: &[(UsageStream, UsageBatch)]) -> Vec<u64> {
    let users = batches.iter().flat_map(|(_, batch)| &batch.users);
    users.map(|user| user.up_bytes).collect()
}

#[test]
fn what_was_written_is_there_after_a_restart_under_its_stream() {
    let dir = TempDir::new().expect("a folder");
    let mut spool = open(&dir);
    spool.append(7, vec![users(1), users(2)]).expect("written");
    let sent = spool.front().expect("read").expect("two batches");
    assert_eq!(sequences(&sent), (1, 2));
    drop(spool);
    let mut spool = open(&dir);
    assert_eq!(
        (spool.waiting(), spool.oldest(), spool.cut()),
        (2, Some(7), 0)
    );
    spool.append(8, vec![users(3)]).expect("written");
    let again = spool.front().expect("read").expect("the same");
    assert_eq!(again, sent, "what may have been sent goes alone, as it was");
    spool.acknowledge(again.stream, 2).expect("written");
    let next = spool.front().expect("read").expect("one batch");
    assert_ne!(next.stream, sent.stream, "a run has a stream of its own");
    assert_eq!(sequences(&next), (1, 1));
}

#[test]
fn what_is_acknowledged_is_gone_and_the_file_is_small_again() {
    let dir = TempDir::new().expect("a folder");
    let mut spool = open(&dir);
    spool.append(7, vec![users(1)]).expect("written");
    assert_eq!(ups(&take_all(&mut spool)), [1]);
    assert_eq!((spool.waiting(), spool.bytes()), (0, 0));
    spool.append(8, vec![users(2)]).expect("written");
    drop(spool);
    let all = take_all(&mut open(&dir));
    assert_eq!(ups(&all), [2]);
    assert_eq!(all[0].1.sequence, 2);
}

#[test]
fn the_file_is_written_anew_without_what_is_acknowledged() {
    let dir = TempDir::new().expect("a folder");
    let mut spool = open(&dir);
    let many: Vec<_> = (0..BATCH).map(|n| usage(&format!("u{n}"), n)).collect();
    const BATCH: u64 = 2000;
    for _ in 0..10 {
        spool.append(7, vec![many.clone()]).expect("written");
    }
    let before = spool.bytes();
    let parcel = spool.front().expect("read").expect("batches");
    assert!(before * 8 / 10 > SPOOL_REWRITE);
    spool.acknowledge(parcel.stream, 8).expect("written");
    assert!(spool.bytes() < before / 4, "{} of {before}", spool.bytes());
    assert_eq!(
        fs::metadata(file(&dir)).expect("a file").len(),
        START + spool.bytes()
    );
    let left = spool.front().expect("read").expect("batches");
    assert_eq!(
        (sequences(&left), left.batches),
        ((9, 10), parcel.batches[8..].to_vec())
    );
}

#[test]
fn batches_that_were_never_sent_are_merged_and_lose_nothing() {
    let dir = TempDir::new().expect("a folder");
    let mut spool = open(&dir);
    spool.append(0, vec![users(1)]).expect("written");
    let sent = spool.front().expect("read").expect("one batch");
    // Ten minutes and a second, one batch each second.
    for at in 0..=600 {
        let users = vec![usage("alice", 1), usage(&format!("u{}", at % 3), 1)];
        spool.append(at, vec![users]).expect("written");
        spool.merge().expect("written");
    }
    assert!(
        spool.waiting() < 1 + 3 + MERGE_BATCHES,
        "{}",
        spool.waiting()
    );
    assert_eq!(spool.front().expect("read").expect("the same"), sent);
    drop(spool);
    let all = take_all(&mut open(&dir));
    let sequences: Vec<u64> = all.iter().map(|(_, batch)| batch.sequence).collect();
    assert_eq!(sequences, (1..=all.len() as u64).collect::<Vec<_>>());
    let mut sums = BTreeMap::<UserName, (u64, u64)>::new();
    for user in all.iter().flat_map(|(_, batch)| &batch.users) {
        let sum = sums.entry(user.name.clone()).or_default();
        *sum = (sum.0 + user.up_bytes, sum.1 + user.sessions);
    }
    let sums: Vec<_> = sums.into_values().collect();
    assert_eq!(sums, [(602, 602), (201, 201), (200, 200), (200, 200)]);
    let slot = |batch: &UsageBatch| batch.at / 300;
    let first_slot = all.iter().filter(|(_, batch)| slot(batch) == 0).count();
    assert_eq!(
        first_slot, 2,
        "the one that was sent, and one for all others"
    );
}

#[test]
fn a_stream_that_starts_over_keeps_its_batches() {
    let dir = TempDir::new().expect("a folder");
    let mut spool = open(&dir);
    spool
        .append(1, vec![users(1), users(2), users(3)])
        .expect("written");
    let sent = spool.front().expect("read").expect("three");
    spool.acknowledge(sent.stream, 1).expect("written");
    spool.restart_stream().expect("written");
    spool.append(2, vec![users(4)]).expect("written");
    drop(spool);
    let all = take_all(&mut open(&dir));
    assert_eq!(ups(&all), [2, 3, 4]);
    assert!(
        all.iter()
            .all(|(stream, _)| *stream == all[0].0 && *stream != sent.stream)
    );
    let sequences = all.iter().map(|(_, batch)| batch.sequence);
    assert_eq!(sequences.collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_second_process_is_kept_out_and_a_strange_file_left_alone() {
    let dir = TempDir::new().expect("a folder");
    let spool = open(&dir);
    assert!(Spool::open(dir.path()).is_err());
    drop(spool);
    fs::write(file(&dir), "something else, longer than the magic").expect("written");
    let error = Spool::open(dir.path()).expect_err("no spool");
    assert!(
        error.to_string().contains("is no spool of usage"),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The file ends anywhere, as a crash may leave it: what is found is the batches that are whole, in
    /// their order, and what is written then follows them.
    #[test]
    fn a_file_cut_anywhere_holds_the_batches_before_the_cut(
        sizes in prop::collection::vec(1..4usize, 1..8),
        at in 0.0..=1.0f64,
    ) {
        let dir = TempDir::new().expect("a folder");
        let mut spool = open(&dir);
        let mut ends = vec![START];
        for (number, size) in (0..).zip(&sizes) {
            let names = ["a", "b", "c"].iter().take(*size);
            let users = names.map(|name| usage(name, number)).collect();
            spool.append(number, vec![users]).expect("written");
            ends.push(START + spool.bytes());
        }
        drop(spool);
        let length = *ends.last().expect("some");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let cut = (length as f64 * at) as u64;
        OpenOptions::new().write(true).open(file(&dir)).and_then(|f| f.set_len(cut)).expect("cut");
        let whole = ends.iter().filter(|&&end| end <= cut).count().saturating_sub(1);
        let mut spool = open(&dir);
        prop_assert_eq!(spool.waiting(), whole);
        spool.append(99, vec![users(99)]).expect("written");
        drop(spool);
        let all = take_all(&mut open(&dir));
        let numbers: Vec<u64> = all.iter().map(|(_, batch)| batch.at).collect();
        let expected: Vec<u64> = (0..whole as u64).chain([99]).collect();
        prop_assert_eq!(numbers, expected);
    }

    /// One byte is another: nothing behind it is believed, everything before it is.
    #[test]
    fn a_damaged_record_ends_what_is_believed(damage in 0..100usize, flip in 1..=255u8) {
        let dir = TempDir::new().expect("a folder");
        let mut spool = open(&dir);
        let mut ends = vec![START];
        for number in 0..4 {
            spool.append(number, vec![users(number)]).expect("written");
            ends.push(START + spool.bytes());
        }
        drop(spool);
        let mut bytes = fs::read(file(&dir)).expect("a file");
        let place = MAGIC.len() + damage * (bytes.len() - MAGIC.len()) / 100;
        bytes[place] ^= flip;
        fs::write(file(&dir), &bytes).expect("written");
        let whole = ends.iter().filter(|&&end| end <= place as u64).count() - 1;
        let mut spool = open(&dir);
        prop_assert_eq!(spool.cut(), ends[4] - ends[whole]);
        prop_assert_eq!(ups(&take_all(&mut spool)), (0..whole as u64).collect::<Vec<_>>());
    }

    /// Appended, sent, acknowledged and restarted in any order: every batch comes, in its order, and
    /// none comes again behind its acknowledgement but by a restart.
    #[test]
    fn every_batch_comes_until_it_is_acknowledged(steps in prop::collection::vec(0..5u8, 1..60)) {
        let dir = TempDir::new().expect("a folder");
        let mut spool = open(&dir);
        let (mut written, mut acknowledged) = (0, 0);
        for step in steps {
            match step {
                0 | 1 => {
                    written += 1;
                    spool.append(written * 300, vec![users(written)]).expect("written");
                }
                2 => {
                    spool.front().expect("read");
                }
                3 => {
                    if let Some(parcel) = spool.front().expect("read") {
                        let of = |batch: &UsageBatch| batch.users[0].up_bytes;
                        let first = of(&parcel.batches[0]);
                        prop_assert!(first <= acknowledged + 1, "{first} behind {acknowledged}");
                        acknowledged = acknowledged.max(of(parcel.batches.last().expect("some")));
                        let last = parcel.span().last;
                        spool.acknowledge(parcel.stream, last).expect("written");
                    }
                }
                _ => {
                    drop(spool);
                    spool = open(&dir);
                }
            }
        }
        let rest = ups(&take_all(&mut spool));
        let first = rest.first().copied().unwrap_or(written + 1);
        prop_assert!(first <= acknowledged + 1);
        prop_assert_eq!(rest, (first..=written).collect::<Vec<_>>());
    }
}
