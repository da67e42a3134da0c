//! `titan-counts DRIVER ITERATIONS`: does one piece of protocol work that many times.
//!
//! There is no kernel, no clock and no randomness in it, so that the instructions it takes can be
//! compared between commits. `titan-perf counts` runs it under callgrind.

#![forbid(unsafe_code)]

mod tunnel;

use std::{hint::black_box, process::ExitCode};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use titan_proto::{
    addr::Target,
    http::parse_request_head,
    socks5::{Authentication, Reply, ServerHandshake, Step, reply},
    username,
};

use tunnel::Tunnel;

/// Does its work so many times.
type Driver = fn(u32) -> Result<()>;

/// Every driver by name.
const DRIVERS: [(&str, Driver); 7] = [
    ("connection", connection),
    ("http_connect", http_connect),
    ("frame_down_16k", |count| {
        frames(count, 16 * 1024, Tunnel::down)
    }),
    ("frame_up_16k", |count| frames(count, 16 * 1024, Tunnel::up)),
    ("frame_down_64", |count| frames(count, 64, Tunnel::down)),
    ("frame_up_64", |count| frames(count, 64, Tunnel::up)),
    ("heartbeat", heartbeat),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("titan-counts: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let Some(name) = args.next() else {
        DRIVERS.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    };
    let Some((_, driver)) = DRIVERS.iter().find(|(known, _)| *known == name) else {
        bail!("there is no driver {name:?}");
    };
    driver(args.next().context("how many times?")?.parse()?)
}

/// A SOCKS5 login and request, the session in the tunnel, and its end: what a PoP and an edge do
/// for a connection between the system calls.
fn connection(count: u32) -> Result<()> {
    let mut tunnel = Tunnel::new();
    for _ in 0..count {
        let target = socks5()?;
        let id = tunnel.open(target)?;
        tunnel.up(id, 1)?;
        tunnel.down(id, 1)?;
        tunnel.end(id);
    }
    Ok(())
}

/// Greeting, password and request, each in a segment of its own.
fn socks5() -> Result<Target> {
    const MESSAGES: [&[u8]; 3] = [
        b"\x05\x01\x02",
        b"\x01\x05alice\x08password",
        b"\x05\x01\x00\x03\x0bexample.com\x01\xbb",
    ];
    let mut input = BytesMut::new();
    let mut handshake = ServerHandshake::new(Authentication::Required);
    for message in MESSAGES {
        input.extend_from_slice(black_box(message));
        loop {
            match handshake.advance(&mut input)? {
                Step::NeedMore => break,
                Step::Reply(bytes) => drop(black_box(bytes)),
                Step::Authenticate(login) => {
                    black_box(username::parse(&login.username)?);
                    black_box(handshake.accept());
                }
                Step::Request(request) => {
                    black_box(reply(Reply::Succeeded, None));
                    return Ok(request.target);
                }
            }
        }
    }
    bail!("the handshake has no end")
}

/// The head of a browser's CONNECT.
fn http_connect(count: u32) -> Result<()> {
    const HEAD: &[u8] = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\
        Proxy-Authorization: Basic YWxpY2U6cGFzc3dvcmQ=\r\nUser-Agent: curl/7.88.1\r\n\
        Proxy-Connection: Keep-Alive\r\n\r\n";
    for _ in 0..count {
        let mut input = BytesMut::from(black_box(HEAD));
        black_box(parse_request_head(&mut input)?.context("the head is whole")?);
    }
    Ok(())
}

/// Frames of `len` bytes in one session, each sent, transmitted, taken in and consumed.
fn frames(
    count: u32,
    len: usize,
    carry: fn(&mut Tunnel, titan_proto::mux::SessionId, usize) -> Result<Bytes>,
) -> Result<()> {
    let mut tunnel = Tunnel::new();
    let id = tunnel.open("example.com:443".parse()?)?;
    for _ in 0..count {
        black_box(carry(&mut tunnel, id, len)?);
    }
    Ok(())
}

/// A ping and its pong.
fn heartbeat(count: u32) -> Result<()> {
    let mut tunnel = Tunnel::new();
    for _ in 0..count {
        tunnel.heartbeat();
    }
    Ok(())
}
