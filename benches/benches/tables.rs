//! What a choice of an edge and the tables of sessions cost, and that they cost the same for many.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::{SeedableRng, rngs::SmallRng};
use titan_pop::{
    directory::{Directory, ShardId, TunnelEntry, TunnelKey},
    route,
};
use titan_proto::{
    addr::Target,
    control::NodeId,
    mux::{Connection, OpenRequest, SessionId, Settings, Side},
    reason::Reason,
};

/// Tunnels of two shards with round trips from 1 to 200 ms, one of a hundred saturated.
fn directory(tunnels: u32) -> Directory {
    let mut directory = Directory::new(ShardId(0));
    for slot in 0..tunnels {
        let key = TunnelKey {
            shard: ShardId(u16::from(slot % 2 == 1)),
            slot,
            serial: slot,
        };
        let mut public_key = [0; 32];
        public_key[..4].copy_from_slice(&slot.to_be_bytes());
        let node = NodeId::from_public_key(&public_key);
        let entry = TunnelEntry::new(key, node, None, ([127, 0, 0, 1], 1).into());
        let round_trip = Duration::from_millis(u64::from(slot * 7919 % 200 + 1));
        entry.update(Some(round_trip), 0, slot % 100 == 99);
        directory.insert(Arc::new(entry));
    }
    directory
}

/// The choice that every session begins with, out of ever more tunnels.
fn choice(c: &mut Criterion) {
    let mut group = c.benchmark_group("choice of an edge");
    for tunnels in [100, 10_000, 100_000] {
        let directory = directory(tunnels);
        let mut rng = SmallRng::seed_from_u64(1);
        group.bench_with_input(
            BenchmarkId::new("among", tunnels),
            &directory,
            |b, directory| {
                b.iter(|| {
                    let best = route::best(black_box(directory), &[], &mut rng);
                    black_box(best.map(|entry| entry.key))
                });
            },
        );
    }
    group.finish();
}

/// Both ends of a tunnel that carries a number of sessions.
struct Tunnel {
    pop: Connection,
    edge: Connection,
    sessions: Vec<SessionId>,
    now: Instant,
}

impl Tunnel {
    fn with_sessions(count: usize) -> Self {
        let now = Instant::now();
        let end = |side, seed| Connection::new(side, Settings::default(), [seed; 32], now);
        let mut tunnel = Self {
            pop: end(Side::Pop, 1),
            edge: end(Side::Edge, 2),
            sessions: Vec::new(),
            now,
        };
        carry(&mut tunnel.pop, &mut tunnel.edge, now);
        carry(&mut tunnel.edge, &mut tunnel.pop, now);
        for _ in 0..count {
            let id = tunnel.open();
            tunnel.sessions.push(id);
        }
        tunnel
    }

    fn open(&mut self) -> SessionId {
        let target: Target = "example.com:443".parse().expect("valid");
        let id = self
            .pop
            .open(&OpenRequest::tcp(target))
            .expect("there is room");
        carry(&mut self.pop, &mut self.edge, self.now);
        self.edge.accept(id, ([192, 0, 2, 1], 9).into());
        carry(&mut self.edge, &mut self.pop, self.now);
        id
    }

    fn end(&mut self, id: SessionId) {
        self.pop.reset(id, Reason::ClientGone, "");
        carry(&mut self.pop, &mut self.edge, self.now);
    }
}

fn carry(from: &mut Connection, to: &mut Connection, now: Instant) {
    let mut batch: Vec<Bytes> = Vec::new();
    from.poll_transmit(usize::MAX, &mut batch);
    let mut input = BytesMut::with_capacity(batch.iter().map(Bytes::len).sum());
    batch.iter().for_each(|bytes| input.put_slice(bytes));
    to.handle_input(&mut input, now).expect("sound");
    while from.poll_event().is_some() {}
    while to.poll_event().is_some() {}
}

/// The table of a tunnel's sessions with more and more in it.
fn sessions(c: &mut Criterion) {
    let mut group = c.benchmark_group("session table");
    for count in [10, 1_000, 60_000] {
        let mut tunnel = Tunnel::with_sessions(count);
        group.bench_function(BenchmarkId::new("insert and remove beside", count), |b| {
            b.iter(|| {
                let id = tunnel.open();
                tunnel.end(id);
            });
        });
        let ids = tunnel.sessions.clone();
        let mut turn = 0;
        group.bench_function(BenchmarkId::new("look up among", count), |b| {
            b.iter(|| {
                turn = (turn + 7919) % ids.len();
                black_box(tunnel.pop.send_capacity(ids[turn]))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, choice, sessions);
criterion_main!(benches);
