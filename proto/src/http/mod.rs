//! HTTP/1 as a proxy hears it: request heads in, responses of the proxy's own out.
//!
//! [`parse_request_head`] serves CONNECT (RFC 9110 §9.3.6) and single requests in absolute form
//! (RFC 9112 §3.2.2). A forwarded request leaves as if its client had sent it: there is no `Via`,
//! which RFC 9110 §7.6.3 asks of proxies, because the exit of this network must not show that it
//! is one; and the client's version stays, because the answer is relayed without being read and
//! has to be one that the client understands.
//!
//! The grammar is RFC 9112's without its leniencies. Every one of them has been used to make two
//! servers see two different requests, and a proxy is one of the two.

mod basic;
mod body;
mod error;
mod forward;
mod head;
mod response;

pub use body::BodyLength;
pub use error::{HttpError, HttpErrorKind};
pub use head::{ProxyRequest, RequestHead, parse_request_head};
pub use response::{connect_established, error_response};

#[cfg(any(test, feature = "fuzzing"))]
pub use head::fuzz_http_head;

use httparse::Header;

/// Version of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0, RFC 1945.
    Http10,
    /// HTTP/1.1, RFC 9112.
    Http11,
}

/// The values of every header line with this name.
fn values<'h>(headers: &'h [Header<'h>], name: &str) -> impl Iterator<Item = &'h [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

#[cfg(test)]
mod tests;
