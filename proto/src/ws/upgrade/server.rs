//! The server's side of the opening handshake (RFC 6455 §4.2).

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Buf, Bytes, BytesMut};
use httparse::{EMPTY_HEADER, Request};

use super::{UpgradeError, VERSION, accept_key, head, head::Headers};
use crate::limits::UPGRADE_MAX_HEADERS;

/// A client's request to open a WebSocket. `Debug` does not show the token.
#[derive(Clone, PartialEq, Eq)]
pub struct UpgradeRequest {
    /// The request target as the client wrote it: path and query.
    pub path: String,
    /// The `Host` header.
    pub host: String,
    /// The sub-protocols the client offers, in its order of preference.
    pub protocols: Vec<String>,
    /// The token of `Authorization: Bearer`, if there is one.
    pub bearer: Option<String>,
    /// What `Sec-WebSocket-Accept` must be.
    accept: String,
}

impl UpgradeRequest {
    /// Whether the client offers the sub-protocol `name`; they are case-sensitive.
    pub fn offers(&self, name: &str) -> bool {
        self.protocols.iter().any(|protocol| protocol == name)
    }
}

impl fmt::Debug for UpgradeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeRequest")
            .field("path", &self.path)
            .field("host", &self.host)
            .field("protocols", &self.protocols)
            .finish_non_exhaustive()
    }
}

/// Takes an upgrade request off the front of `input`, or returns `None` while it is incomplete.
///
/// Extensions that the client offers are ignored, which declines them (§9.1).
///
/// # Errors
///
/// What is wrong with the request. Answer with [`reject_response`] and
/// [`UpgradeError::status`].
pub fn parse_request(input: &mut BytesMut) -> Result<Option<UpgradeRequest>, UpgradeError> {
    let mut lines = [EMPTY_HEADER; UPGRADE_MAX_HEADERS];
    let mut request = Request::new(&mut lines);
    let parsed = request.parse(input);
    let Some(len) = head::head_len(input, parsed)? else {
        return Ok(None);
    };
    let request = check_request(&request)?;
    input.advance(len);
    Ok(Some(request))
}

/// The answer that opens the connection, with the sub-protocol that was chosen among those offered.
pub fn accept_response(request: &UpgradeRequest, protocol: Option<&str>) -> Bytes {
    debug_assert!(protocol.is_none_or(|name| request.offers(name)));
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n",
        request.accept
    );
    if let Some(protocol) = protocol {
        head += &format!("Sec-WebSocket-Protocol: {}\r\n", head::visible(protocol));
    }
    head += "\r\n";
    head.into()
}

/// An answer that refuses the request, with a text for the client's log. Close the connection
/// after it.
pub fn reject_response(status: u16, text: &str) -> Bytes {
    let extra = match status {
        401 => "WWW-Authenticate: Bearer\r\n",
        405 => "Allow: GET\r\n",
        426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        _ => "",
    };
    let connection = if status == 426 {
        "Upgrade, close"
    } else {
        "close"
    };
    let (len, phrase) = (text.len(), reason_phrase(status));
    Bytes::from(format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {len}\r\n{extra}Connection: {connection}\r\n\r\n{text}"
    ))
}

/// Checks a request against §4.2.1.
fn check_request(request: &Request<'_, '_>) -> Result<UpgradeRequest, UpgradeError> {
    if request.version != Some(1) {
        return Err(UpgradeError::HttpVersion);
    }
    if request.method != Some("GET") {
        return Err(UpgradeError::Method);
    }
    let headers = Headers(request.headers);
    check_no_body(&headers)?;
    headers.check_upgrade()?;
    if headers.required("Sec-WebSocket-Version")? != VERSION {
        return Err(UpgradeError::WebSocketVersion);
    }
    Ok(UpgradeRequest {
        path: request.path.unwrap_or_default().to_owned(),
        host: headers.required("Host")?.to_owned(),
        protocols: headers
            .list("Sec-WebSocket-Protocol")?
            .into_iter()
            .map(str::to_owned)
            .collect(),
        bearer: headers
            .optional("Authorization")?
            .and_then(bearer)
            .map(str::to_owned),
        accept: accept_key(check_key(headers.required("Sec-WebSocket-Key")?)?),
    })
}

/// A body would lie between the head and the first frame.
fn check_no_body(headers: &Headers<'_>) -> Result<(), UpgradeError> {
    let length = headers.optional("Content-Length")?;
    if length.is_some_and(|length| length != "0")
        || headers.all("Transfer-Encoding").next().is_some()
    {
        return Err(UpgradeError::Body);
    }
    Ok(())
}

/// A key is 16 bytes in base64 (§4.2.1, item 5).
fn check_key(key: &str) -> Result<&str, UpgradeError> {
    match STANDARD.decode(key) {
        Ok(bytes) if bytes.len() == 16 => Ok(key),
        _ => Err(UpgradeError::Invalid("Sec-WebSocket-Key")),
    }
}

/// The token in the value of an `Authorization` header, if its scheme is Bearer (RFC 6750 §2.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}

/// The phrases of the statuses that a WebSocket server answers with; clients ignore them.
fn reason_phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Refused",
    }
}
