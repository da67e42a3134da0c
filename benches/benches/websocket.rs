//! The WebSocket layer: masking beside `memcpy`, which is the limit, and the deframer.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use titan_proto::ws::{Deframer, Opcode, Role, encode_frame_header, header, mask};

const SIZES: [usize; 4] = [64, 1024, 16 * 1024, 64 * 1024];
const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

fn masking(c: &mut Criterion) {
    let mut group = c.benchmark_group("mask");
    for size in SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        let mut data = vec![7; size];
        group.bench_with_input(BenchmarkId::new("apply", size), &size, |b, _| {
            b.iter(|| mask::apply(black_box(KEY), 1, black_box(&mut data)));
        });
        let source = vec![7; size];
        group.bench_with_input(BenchmarkId::new("memcpy", size), &size, |b, _| {
            b.iter(|| black_box(&mut data).copy_from_slice(black_box(&source)));
        });
    }
    group.finish();
}

fn headers(c: &mut Criterion) {
    let mut wire = Vec::new();
    encode_frame_header(true, Opcode::Binary, Some(KEY), 64 * 1024, &mut wire);
    c.bench_function("header/decode", |b| {
        b.iter(|| header::decode(black_box(&wire)));
    });
    c.bench_function("header/encode", |b| {
        let mut out = Vec::with_capacity(header::MAX_LEN);
        b.iter(|| {
            out.clear();
            encode_frame_header(true, Opcode::Binary, Some(KEY), black_box(1000), &mut out);
        });
    });
}

/// One read's worth of masked frames, taken apart.
fn deframing(c: &mut Criterion) {
    let mut group = c.benchmark_group("deframer");
    for size in SIZES {
        let mut wire = Vec::new();
        while wire.len() < 256 * 1024 {
            encode_frame_header(true, Opcode::Binary, Some(KEY), size as u64, &mut wire);
            wire.resize(wire.len() + size, 7);
        }
        group.throughput(Throughput::Bytes(wire.len() as u64));
        group.bench_with_input(BenchmarkId::new("masked", size), &wire, |b, wire| {
            let input = || (Deframer::new(Role::Server), BytesMut::from(&wire[..]));
            let deframe = |(mut deframer, mut input): (Deframer, BytesMut)| {
                while let Ok(Some(piece)) = deframer.next(&mut input) {
                    black_box(piece);
                }
            };
            b.iter_batched(input, deframe, BatchSize::LargeInput);
        });
    }
    group.finish();
}

criterion_group!(benches, masking, headers, deframing);
criterion_main!(benches);
