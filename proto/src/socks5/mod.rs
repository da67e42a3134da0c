//! SOCKS5 (RFC 1928) with user name and password (RFC 1929), both sides, without I/O.
//!
//! [`ServerHandshake`] is the PoP's side, [`ClientHandshake`] that of load tools and tests. Both
//! take the bytes that have arrived and say what to do next; both leave in the buffer what comes
//! after the handshake. The header of relayed datagrams has a codec of its own.

mod client;
mod message;
mod reply;
mod server;
mod udp;

pub use client::{ClientError, ClientHandshake, ClientStep};
pub use message::{Command, Request, Socks5Error, reply};
pub use reply::Reply;
pub use server::{Authentication, ServerHandshake, Step};
pub use udp::{MAX_UDP_HEADER, UdpError, decode_udp, encode_udp_header};

#[cfg(any(test, feature = "fuzzing"))]
pub use {server::fuzz_socks5_server, udp::fuzz_socks5_udp};

/// Longest message of the handshake, RFC 1929's: version, two lengths, two fields of 255 bytes. A
/// handshake that has so many bytes always gets on.
pub const MAX_MESSAGE: usize = 3 + 255 + 255;

/// Version of the protocol, first byte of greeting, request and replies.
const VERSION: u8 = 5;
/// Version of the subnegotiation (RFC 1929 §2).
const AUTH_VERSION: u8 = 1;
/// Method: no authentication required (RFC 1928 §3).
const METHOD_NONE: u8 = 0;
/// Method: user name and password.
const METHOD_PASSWORD: u8 = 2;
/// No acceptable methods.
const METHOD_UNACCEPTABLE: u8 = 0xff;
