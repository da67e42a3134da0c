//! What a new connection costs before its first byte: SOCKS5, HTTP heads, user names.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, criterion_group, criterion_main};
use titan_proto::{
    http::parse_request_head,
    socks5::{Authentication, ServerHandshake, Step},
    username,
};

/// Greeting, password and request, as a client that does not wait sends them.
const SOCKS5: &[u8] =
    b"\x05\x01\x02\x01\x05alice\x08password\x05\x01\x00\x03\x0bexample.com\x01\xbb";

const CONNECT: &[u8] = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\
    Proxy-Authorization: Basic YWxpY2U6cGFzc3dvcmQ=\r\nUser-Agent: curl/7.88.1\r\n\
    Proxy-Connection: Keep-Alive\r\n\r\n";

fn socks5(c: &mut Criterion) {
    c.bench_function("socks5/handshake", |b| {
        b.iter(|| {
            let mut input = BytesMut::from(black_box(SOCKS5));
            let mut handshake = ServerHandshake::new(Authentication::Required);
            loop {
                match handshake.advance(&mut input).expect("sound") {
                    Step::Reply(reply) => drop(black_box(reply)),
                    Step::Authenticate(_) => drop(black_box(handshake.accept())),
                    Step::Request(request) => return request,
                    Step::NeedMore => unreachable!("the handshake is complete"),
                }
            }
        });
    });
}

fn http(c: &mut Criterion) {
    c.bench_function("http/connect head", |b| {
        b.iter(|| parse_request_head(&mut BytesMut::from(black_box(CONNECT))));
    });
}

fn user_names(c: &mut Criterion) {
    c.bench_function("username/parameters", |b| {
        b.iter(|| username::parse(black_box("alice-confirm")));
    });
}

criterion_group!(benches, socks5, http, user_names);
criterion_main!(benches);
