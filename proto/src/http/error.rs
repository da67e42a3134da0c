//! Why a request head is not served.

use bytes::Bytes;

use super::{Persistence, response};
use crate::{addr::AddrError, reason::Reason};

/// Why a request head is not served, with all that the answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct HttpError {
    /// What is wrong.
    pub kind: HttpErrorKind,
    /// Whether the request was a HEAD, whose answer has no content.
    pub is_head: bool,
}

/// What is wrong with a request head. Each is the client's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HttpErrorKind {
    /// Not HTTP, or HTTP that two servers may read in two ways.
    #[error("bad request: {0}")]
    Malformed(&'static str),
    /// The target's host or port cannot be used.
    #[error("bad target: {0}")]
    Target(#[from] AddrError),
    /// A request for the proxy itself, as to a web server.
    #[error("this is a proxy: send CONNECT host:port or an absolute http:// URI")]
    NotForAProxy,
    /// The first line alone is longer than a whole head may be.
    #[error("the request line is too long")]
    UriTooLong,
    /// Longer than [`PROXY_MAX_HEAD`](crate::limits::PROXY_MAX_HEAD), or more lines than
    /// [`PROXY_MAX_HEADERS`](crate::limits::PROXY_MAX_HEADERS).
    #[error("the request head is too large")]
    HeadTooLarge,
    /// Proper HTTP that is not served.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A version other than 1.0 and 1.1.
    #[error("only HTTP/1.0 and HTTP/1.1 are served")]
    Version,
}

impl HttpError {
    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self.kind {
            HttpErrorKind::Malformed(_)
            | HttpErrorKind::Target(_)
            | HttpErrorKind::NotForAProxy => 400,
            HttpErrorKind::UriTooLong => 414,
            HttpErrorKind::HeadTooLarge => 431,
            HttpErrorKind::Unsupported(_) => 501,
            HttpErrorKind::Version => 505,
        }
    }

    /// What to count it as.
    pub fn reason(&self) -> Reason {
        match self.kind {
            HttpErrorKind::Unsupported(_) | HttpErrorKind::Version => Reason::Unsupported,
            _ => Reason::BadRequest,
        }
    }

    /// The answer to send before closing.
    pub fn response(&self) -> Bytes {
        response::encode(
            self.status(),
            self.reason(),
            &self.kind.to_string(),
            self.is_head,
            Persistence::Close,
        )
    }
}
