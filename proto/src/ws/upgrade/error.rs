//! Why an opening handshake failed.

/// Why a request or a response is no opening handshake that we accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// The head is not HTTP.
    #[error("malformed HTTP head: {0}")]
    Malformed(#[from] httparse::Error),
    /// The head is longer than [`UPGRADE_MAX_HEAD`](crate::limits::UPGRADE_MAX_HEAD) or has more header lines than
    /// [`UPGRADE_MAX_HEADERS`](crate::limits::UPGRADE_MAX_HEADERS).
    #[error("HTTP head is too large")]
    TooLarge,
    /// The version is not HTTP/1.1.
    #[error("HTTP version is not 1.1")]
    HttpVersion,
    /// The request's method is not GET.
    #[error("method is not GET")]
    Method,
    /// The request announces a body, which the bytes after its head would be mistaken for.
    #[error("an upgrade request has no body")]
    Body,
    /// `Upgrade` or `Connection` does not ask for, or agree to, WebSocket.
    #[error("`Upgrade: websocket` and `Connection: Upgrade` are missing")]
    NotWebSocket,
    /// `Sec-WebSocket-Version` is not 13.
    #[error("WebSocket version is not 13")]
    WebSocketVersion,
    /// A header that is required is missing.
    #[error("header {0} is missing")]
    Missing(&'static str),
    /// A header that may come once comes more often.
    #[error("header {0} is repeated")]
    Repeated(&'static str),
    /// A header's value makes no sense.
    #[error("header {0} has an invalid value")]
    Invalid(&'static str),
    /// The server accepted another key, a protocol we did not offer, or an extension.
    #[error("the server's {0} does not answer our request")]
    Mismatch(&'static str),
    /// The server answered with something other than 101.
    #[error("the server refused with HTTP status {status}: {text}")]
    Refused {
        /// The status it answered with.
        status: u16,
        /// The reason it gave, at most [`UPGRADE_MAX_REFUSAL`](crate::limits::UPGRADE_MAX_REFUSAL) bytes; may be
        /// empty.
        text: String,
    },
}

impl UpgradeError {
    /// The HTTP status that describes the failure: what a server answers the request with; for a
    /// failed response the status the server refused with, or 502 when its answer is invalid.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_)
            | Self::Body
            | Self::Missing(_)
            | Self::Repeated(_)
            | Self::Invalid(_) => 400,
            Self::Method => 405,
            Self::NotWebSocket | Self::WebSocketVersion => 426,
            Self::TooLarge => 431,
            Self::HttpVersion => 505,
            Self::Mismatch(_) => 502,
            Self::Refused { status, .. } => *status,
        }
    }
}
