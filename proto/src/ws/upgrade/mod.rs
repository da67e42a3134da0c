//! The opening handshake (RFC 6455 §4): the HTTP request that a client sends and the server's answer.
//!
//! Both sides read heads with the same limits, and leave the bytes after a head in their input: the
//! peer may send its first frames along with it.

mod client;
mod error;
mod head;
mod server;

pub use client::{parse_response, request};
pub use error::UpgradeError;
pub use server::{UpgradeRequest, accept_response, parse_request, reject_response};

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

/// The `Sec-WebSocket-Accept` that proves that a server read the key and speaks WebSocket
/// (§4.2.2, step 5.4). `key` is the text of the request's `Sec-WebSocket-Key`.
fn accept_key(key: &str) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    STANDARD.encode(digest)
}

/// Makes the accept key something no HTTP server computes by chance (§1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The only version there is (§4.1).
const VERSION: &str = "13";

#[cfg(test)]
mod tests;
