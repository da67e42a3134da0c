//! HTTP/1 as a proxy speaks it: request heads in, response heads back, and where the content of
//! either ends.
//!
//! [`parse_request_head`] serves CONNECT (RFC 9110 §9.3.6) and requests in absolute form (RFC 9112
//! §3.2.2); [`ResponseReader`] takes what the origin server answers. Both give the head as it goes
//! on, with what is for one hop alone taken out and put in, and a [`Content`] that finds the end
//! of what follows while the bytes pass by.
//!
//! A forwarded request leaves as if its client had sent it: there is no `Via`, which RFC 9110
//! §7.6.3 asks of proxies, because the exit of this network must not show that it is one.
//!
//! The grammar is RFC 9112's without its leniencies. Every one of them has been used to make two
//! servers see two different messages, and a proxy is one of the two.

mod basic;
mod chunked;
mod content;
mod error;
mod fields;
mod forward;
mod head;
mod lines;
mod response;
mod response_head;

pub use basic::Authorization;
pub use chunked::{ChunkError, Chunked, Piece};
pub use content::Content;
pub use error::{HttpError, HttpErrorKind};
pub use forward::ForwardRequest;
pub use head::{ProxyRequest, RequestHead, parse_request_head};
pub use response::{Persistence, connect_established, error_response};
pub use response_head::{ResponseError, ResponseHead, ResponseKind, ResponseReader};

#[cfg(any(test, feature = "fuzzing"))]
pub use head::fuzz_http_head;
#[cfg(any(test, feature = "fuzzing"))]
pub use response_head::fuzz_http_response;

/// Version of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0, RFC 1945.
    Http10,
    /// HTTP/1.1, RFC 9112.
    Http11,
}

impl Version {
    /// The version of a minor number, of which parsers let 0 and 1 pass.
    fn of_minor(minor: u8) -> Self {
        if minor == 0 {
            Self::Http10
        } else {
            Self::Http11
        }
    }
}

/// What of a request its response depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The client's version.
    pub version: Version,
    /// Whether it was a HEAD request, whose response has no content (RFC 9110 §9.3.2).
    pub is_head: bool,
    /// Whether the client may send another request on its connection (RFC 9112 §9.3).
    pub is_persistent: bool,
    /// Whether the client wants to change to WebSocket.
    pub is_upgrade: bool,
}

#[cfg(test)]
mod tests;
