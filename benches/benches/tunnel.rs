//! A whole tunnel in memory: both ends of the protocol, without the kernel.

use std::{hint::black_box, time::Instant};

use bytes::{BufMut, Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use titan_proto::{
    addr::Target,
    mux::{
        Connection, FrameHeader, FrameKind, OpenRequest, Payload, Received, SessionId, Settings,
        Side,
    },
};

/// Two ends and one session between them.
struct Tunnel {
    pop: Connection,
    edge: Connection,
    id: SessionId,
    now: Instant,
}

impl Tunnel {
    fn new() -> Self {
        let now = Instant::now();
        let mut pop = Connection::new(Side::Pop, Settings::default(), [1; 32], now);
        let mut edge = Connection::new(Side::Edge, Settings::default(), [2; 32], now);
        carry(&mut pop, &mut edge, now);
        carry(&mut edge, &mut pop, now);
        let id = open(&mut pop, &mut edge, now);
        Self { pop, edge, id, now }
    }
}

fn request() -> OpenRequest {
    OpenRequest::tcp(Target::parse_authority("example.com:443").expect("valid"))
}

fn open(pop: &mut Connection, edge: &mut Connection, now: Instant) -> SessionId {
    let id = pop.open(&request()).expect("ready");
    carry(pop, edge, now);
    edge.accept(id, ([192, 0, 2, 1], 9).into());
    carry(edge, pop, now);
    id
}

/// Carries what one end has to say to the other, as one read of the other's.
fn carry(from: &mut Connection, to: &mut Connection, now: Instant) {
    let mut batch: Vec<Bytes> = Vec::new();
    from.poll_transmit(usize::MAX, &mut batch);
    let mut input = BytesMut::with_capacity(batch.iter().map(Bytes::len).sum());
    batch.iter().for_each(|bytes| input.put_slice(bytes));
    to.handle_input(&mut input, now).expect("sound");
    while from.poll_event().is_some() {}
    while to.poll_event().is_some() {}
}

fn receive(end: &mut Connection, id: SessionId) -> usize {
    let mut total = 0;
    while let Some(Received::Data(bytes)) = end.receive(id) {
        end.consumed(id, bytes.len());
        total += black_box(bytes).len();
    }
    total
}

/// 64 KiB each way, including the one copy that stands for the kernel.
fn bulk(c: &mut Criterion) {
    const LEN: usize = 64 * 1024;
    let mut group = c.benchmark_group("tunnel");
    group.throughput(Throughput::Bytes(LEN as u64));
    let mut tunnel = Tunnel::new();
    let payload = vec![7; LEN];
    group.bench_function("64 KiB down (masked)", |b| {
        b.iter(|| {
            let Tunnel { pop, edge, id, now } = &mut tunnel;
            edge.send(*id, Payload::copy_from(&payload))
                .expect("granted");
            carry(edge, pop, *now);
            assert_eq!(receive(pop, *id), LEN);
            carry(pop, edge, *now);
        });
    });
    let mut tunnel = Tunnel::new();
    group.bench_function("64 KiB up", |b| {
        b.iter(|| {
            let Tunnel { pop, edge, id, now } = &mut tunnel;
            pop.send(*id, Payload::copy_from(&payload))
                .expect("granted");
            carry(pop, edge, *now);
            assert_eq!(receive(edge, *id), LEN);
            carry(edge, pop, *now);
        });
    });
    group.finish();
}

fn small(c: &mut Criterion) {
    let mut tunnel = Tunnel::new();
    c.bench_function("tunnel/64 B echo", |b| {
        b.iter(|| {
            let Tunnel { pop, edge, id, now } = &mut tunnel;
            pop.send(*id, Payload::copy_from(&[7; 64]))
                .expect("granted");
            carry(pop, edge, *now);
            receive(edge, *id);
            edge.send(*id, Payload::copy_from(&[7; 64]))
                .expect("granted");
            carry(edge, pop, *now);
            receive(pop, *id);
        });
    });
}

fn sessions(c: &mut Criterion) {
    let mut tunnel = Tunnel::new();
    c.bench_function("tunnel/open, accept, end both ways", |b| {
        b.iter(|| {
            let Tunnel { pop, edge, now, .. } = &mut tunnel;
            let id = open(pop, edge, *now);
            pop.finish(id);
            carry(pop, edge, *now);
            receive(edge, id);
            edge.finish(id);
            carry(edge, pop, *now);
            receive(pop, id);
        });
    });
}

/// The eight bytes in front of every frame's payload.
fn frame_headers(c: &mut Criterion) {
    let header = FrameHeader {
        kind: FrameKind::GoAway,
        session: None,
    };
    c.bench_function("frame header/encode", |b| {
        b.iter(|| black_box(header).encode());
    });
    let bytes = header.encode();
    c.bench_function("frame header/decode", |b| {
        b.iter(|| FrameHeader::decode(black_box(bytes)));
    });
}

criterion_group!(benches, frame_headers, bulk, small, sessions);
criterion_main!(benches);
