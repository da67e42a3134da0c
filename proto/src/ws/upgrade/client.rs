//! The client's side of the opening handshake (RFC 6455 §4.1).

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Buf, Bytes, BytesMut};
use httparse::{EMPTY_HEADER, Response};

use super::{UpgradeError, VERSION, accept_key, head, head::Headers};
use crate::limits::{UPGRADE_MAX_HEADERS, UPGRADE_MAX_REFUSAL};

/// The request that asks `host` for a WebSocket at `path`.
///
/// `key` must be drawn at random for each connection. `bearer` is sent as `Authorization: Bearer`.
/// The path gets its leading `/` if it has none; bytes that may not stand in a header are
/// percent-encoded.
pub fn request(
    host: &str,
    path: &str,
    key: [u8; 16],
    protocol: Option<&str>,
    bearer: Option<&str>,
) -> Bytes {
    let path = head::visible(path.strip_prefix('/').unwrap_or(path));
    let (host, key) = (head::visible(host), STANDARD.encode(key));
    let mut head = format!(
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Version: {VERSION}\r\n"
    );
    if let Some(protocol) = protocol {
        head += &format!("Sec-WebSocket-Protocol: {}\r\n", head::visible(protocol));
    }
    if let Some(bearer) = bearer {
        head += &format!("Authorization: Bearer {}\r\n", head::visible(bearer));
    }
    head += "\r\n";
    head.into()
}

/// Takes the answer to [`request`] off the front of `input`, or returns `None` while it is
/// incomplete. `key` and `protocol` are those of the request.
///
/// # Errors
///
/// [`UpgradeError::Refused`] with the server's status and text; any other when the answer is not
/// one that §4.1 accepts.
pub fn parse_response(
    input: &mut BytesMut,
    key: [u8; 16],
    protocol: Option<&str>,
) -> Result<Option<()>, UpgradeError> {
    let mut lines = [EMPTY_HEADER; UPGRADE_MAX_HEADERS];
    let mut response = Response::new(&mut lines);
    let parsed = response.parse(input);
    let Some(len) = head::head_len(input, parsed)? else {
        return Ok(None);
    };
    let headers = Headers(response.headers);
    let status = response.code.unwrap_or_default();
    if status != 101 {
        let body = input.get(len..).unwrap_or_default();
        return refusal(status, &headers, body).map_or(Ok(None), Err);
    }
    check_response(&response, key, protocol)?;
    input.advance(len);
    Ok(Some(()))
}

/// Checks the answer 101 against §4.1.
fn check_response(
    response: &Response<'_, '_>,
    key: [u8; 16],
    protocol: Option<&str>,
) -> Result<(), UpgradeError> {
    if response.version != Some(1) {
        return Err(UpgradeError::HttpVersion);
    }
    let headers = Headers(response.headers);
    headers.check_upgrade()?;
    if headers.required("Sec-WebSocket-Accept")? != accept_key(&STANDARD.encode(key)) {
        return Err(UpgradeError::Mismatch("Sec-WebSocket-Accept"));
    }
    if headers.optional("Sec-WebSocket-Protocol")? != protocol {
        return Err(UpgradeError::Mismatch("Sec-WebSocket-Protocol"));
    }
    if !headers.list("Sec-WebSocket-Extensions")?.is_empty() {
        return Err(UpgradeError::Mismatch("Sec-WebSocket-Extensions"));
    }
    Ok(())
}

/// The server's refusal, or `None` while a short text that it announced is incomplete. A longer
/// text, or one without a length, is left out.
fn refusal(status: u16, headers: &Headers<'_>, body: &[u8]) -> Option<UpgradeError> {
    let len = headers
        .optional("Content-Length")
        .ok()
        .flatten()
        .and_then(|len| len.parse().ok());
    let text = match len {
        Some(len @ ..=UPGRADE_MAX_REFUSAL) => {
            String::from_utf8_lossy(body.get(..len)?).into_owned()
        }
        _ => String::new(),
    };
    Some(UpgradeError::Refused { status, text })
}
