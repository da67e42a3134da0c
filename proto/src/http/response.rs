//! The proxy's own responses.

use std::fmt::Write;

use bytes::Bytes;

use crate::{limits::PROXY_MAX_DETAIL, reason::Reason};

/// The answer to CONNECT when the tunnel is there (RFC 9110 §9.3.6). It has no header: any that
/// speaks of content would be ignored.
pub fn connect_established() -> Bytes {
    Bytes::from_static(b"HTTP/1.1 200 Connection established\r\n\r\n")
}

/// What happens to a connection behind a response (RFC 9112 §9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// The next request may follow.
    KeepAlive,
    /// It is closed.
    Close,
}

impl Persistence {
    /// `KeepAlive` where `persists`.
    pub fn when(persists: bool) -> Self {
        if persists {
            Self::KeepAlive
        } else {
            Self::Close
        }
    }

    /// The `Connection` option that says so.
    pub(super) const fn option(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive",
            Self::Close => "close",
        }
    }
}

/// The answer to a request that failed for `reason`.
///
/// `detail` tells the user more than the reason alone, which stands in for an empty one. It goes
/// into the content and into `Proxy-Status` (RFC 9209), so it must hold nothing that the client
/// may not know. The answer to a HEAD request has no content (RFC 9110 §9.3.2): `is_head`.
pub fn error_response(
    reason: Reason,
    detail: &str,
    is_head: bool,
    persistence: Persistence,
) -> Bytes {
    encode(reason.http_status(), reason, detail, is_head, persistence)
}

/// An error response with a status that is not the reason's own.
pub(super) fn encode(
    status: u16,
    reason: Reason,
    detail: &str,
    is_head: bool,
    persistence: Persistence,
) -> Bytes {
    let detail = if detail.is_empty() {
        reason.describe()
    } else {
        cut(detail)
    };
    let mut out = String::with_capacity(512);
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "HTTP/1.1 {status} {phrase}\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\n\
         Connection: {connection}\r\n\
         Proxy-Status: {PROXY_NAME}; error={error}; details={details}\r\n\
         X-Titan-Error: {label}\r\n\
         {challenge}\r\n",
        phrase = phrase(status),
        length = detail.len() + 1,
        connection = persistence.option(),
        error = reason.proxy_status_error(),
        details = sf_string(detail),
        label = reason.label(),
        challenge = if status == 407 { CHALLENGE } else { "" },
    );
    if !is_head {
        out.push_str(detail);
        out.push('\n');
    }
    out.into()
}

/// How the proxy calls itself in `Proxy-Status`.
const PROXY_NAME: &str = "titan";

/// RFC 9110 §11.7.1, with the encoding of RFC 7617 §2.1.
const CHALLENGE: &str = "Proxy-Authenticate: Basic realm=\"titan\", charset=\"UTF-8\"\r\n";

fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        414 => "URI Too Long",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        // The phrase may be empty (RFC 9112 §4).
        _ => "",
    }
}

/// A string of RFC 9651 §3.3.3: printable ASCII, with quotes and backslashes escaped. Whatever else
/// is in `text`, a line end above all, becomes a question mark.
fn sf_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => out.push('?'),
        }
    }
    out.push('"');
    out
}

/// The start of `text`, no longer than the limit and not ending within a character.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(PROXY_MAX_DETAIL);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Persistence::Close, *};

    /// Status, headers and content of a response, as a client's parser has them.
    fn read(response: &[u8]) -> (u16, Vec<(String, String)>, String) {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut parsed = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(len) = parsed.parse(response).unwrap() else {
            panic!("incomplete");
        };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let fields = parsed
            .headers
            .iter()
            .map(|h| (h.name.to_owned(), text(h.value)))
            .collect();
        (parsed.code.unwrap(), fields, text(&response[len..]))
    }

    #[test]
    fn a_failure_is_told_to_people_and_to_programs() {
        let response = error_response(Reason::ConnectionRefused, "port 1 \"closed\"", false, Close);
        let expected = "HTTP/1.1 502 Bad Gateway\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\
            Content-Length: 16\r\n\
            Connection: close\r\n\
            Proxy-Status: titan; error=connection_refused; details=\"port 1 \\\"closed\\\"\"\r\n\
            X-Titan-Error: connection_refused\r\n\
            \r\n\
            port 1 \"closed\"\n";
        assert_eq!(response, expected);
    }

    #[test]
    fn a_connection_that_stays_says_so() {
        let response = error_response(Reason::NoEdge, "", false, Persistence::KeepAlive);
        let (_, headers, _) = read(&response);
        assert!(headers.contains(&("Connection".into(), "keep-alive".into())));
    }

    #[test]
    fn a_challenge_comes_with_407_only() {
        for &reason in Reason::ALL {
            let (status, headers, _) = read(&error_response(reason, "", false, Close));
            assert_eq!(status, reason.http_status());
            let challenged = headers.iter().any(|(name, _)| name == "Proxy-Authenticate");
            assert_eq!(challenged, status == 407, "{reason:?}");
            assert!(!phrase(status).is_empty(), "{reason:?}");
        }
    }

    #[test]
    fn the_answer_to_head_has_no_content() {
        let with = error_response(Reason::NoEdge, "", false, Close);
        let without = error_response(Reason::NoEdge, "", true, Close);
        assert!(without.ends_with(b"\r\n\r\n"));
        assert!(with.starts_with(&without) && with.len() > without.len());
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let detail = "é".repeat(PROXY_MAX_DETAIL);
        let (_, _, content) = read(&error_response(
            Reason::NoEdge,
            &format!("a{detail}"),
            false,
            Close,
        ));
        assert!(content.len() <= PROXY_MAX_DETAIL + 1);
    }

    proptest! {
        #[test]
        fn no_detail_can_break_out_of_its_field(detail: String) {
            let (_, headers, content) = read(&error_response(Reason::NameNotFound, &detail, false, Close));
            let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
            prop_assert_eq!(
                names,
                ["Content-Type", "Content-Length", "Connection", "Proxy-Status", "X-Titan-Error"]
            );
            prop_assert_eq!(&headers[1].1, &content.len().to_string());
            prop_assert!(headers[3].1.is_ascii());
        }
    }
}
