//! What a user's rate costs for every read and write, and what it costs a user who has none.

use std::{
    hint::black_box,
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use titan_pop::users::{Accounts, Bucket, Moment, Shares};
use titan_proto::control::UserRecord;

fn token_bucket(c: &mut Criterion) {
    let mut group = c.benchmark_group("token bucket");
    let rate = NonZeroU64::new(1_000_000_000).expect("not zero");
    let start = Instant::now();
    let bucket = Bucket::new(rate, start);
    let mut now = start;
    group.bench_function("take", |b| {
        b.iter(|| {
            // As long as the bytes take, so that it never runs empty.
            now += Duration::from_nanos(1000);
            let opens_at = bucket.opens_at(black_box(now));
            bucket.charge(black_box(1000), now);
            opens_at
        });
    });
    bucket.charge(usize::MAX / 4, now);
    group.bench_function("take when empty", |b| {
        b.iter(|| bucket.opens_at(black_box(now)));
    });
    group.finish();
}

fn moved(c: &mut Criterion) {
    let mut group = c.benchmark_group("bytes of a user");
    for (name, limits) in [
        ("without limits", ""),
        (
            "with a rate",
            r#","limits":{"down_bytes_per_second":1000000000}"#,
        ),
        ("with a package", r#","bytes_left":9000000000000000"#),
    ] {
        let record =
            format!(r#"{{"name":"alice","version":1,"password_hash":"x","enabled":true{limits}}}"#);
        let record: UserRecord = serde_json::from_str(&record).expect("a record");
        let accounts = Accounts::default();
        let client = [127, 0, 0, 1].into();
        let seat = accounts.admit(&Arc::new(record), client, Moment::now());
        let member = Shares::default().join(seat.expect("let in"));
        group.bench_function(name, |b| {
            b.iter(|| member.moved(member.down(), black_box(1000)));
        });
    }
    group.finish();
}

criterion_group!(benches, token_bucket, moved);
criterion_main!(benches);
