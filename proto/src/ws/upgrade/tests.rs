use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::BytesMut;

use super::*;
use crate::limits::{UPGRADE_MAX_HEAD, UPGRADE_MAX_HEADERS};

/// The key of the RFC's examples.
const KEY: [u8; 16] = *b"the sample nonce";

const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

const RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Protocol: chat\r\n\r\n";

fn read_request(head: &str) -> Result<UpgradeRequest, UpgradeError> {
    parse_request(&mut BytesMut::from(head)).map(|request| request.expect("a whole head"))
}

fn read_response(head: &str) -> Result<Option<()>, UpgradeError> {
    parse_response(&mut BytesMut::from(head), KEY, Some("chat"))
}

/// The example of §1.3 and §1.2.
#[test]
fn the_handshake_of_the_rfc_succeeds() {
    assert_eq!(STANDARD.encode(KEY), "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(
        accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    let request = read_request(REQUEST).expect("valid");
    assert_eq!(
        (&*request.path, &*request.host),
        ("/chat", "server.example.com")
    );
    assert_eq!(request.protocols, ["chat", "superchat"]);
    assert_eq!(request.bearer, None);
    assert_eq!(accept_response(&request, Some("chat")), RESPONSE);
    assert_eq!(read_response(RESPONSE), Ok(Some(())));
}

#[test]
fn heads_may_arrive_in_two_parts_split_anywhere_with_frames_behind_them() {
    for cut in 0..REQUEST.len() {
        let mut input = BytesMut::from(&REQUEST[..cut]);
        assert_eq!(parse_request(&mut input), Ok(None), "split at {cut}");
        input.extend_from_slice(&[&REQUEST.as_bytes()[cut..], b"\x82\x80"].concat());
        assert_eq!(parse_request(&mut input), read_request(REQUEST).map(Some));
        assert_eq!(input, &b"\x82\x80"[..]);
    }
    for cut in 0..RESPONSE.len() {
        let mut input = BytesMut::from(&RESPONSE[..cut]);
        assert_eq!(
            parse_response(&mut input, KEY, Some("chat")),
            Ok(None),
            "split at {cut}"
        );
        input.extend_from_slice(&[&RESPONSE.as_bytes()[cut..], b"\x82\x00"].concat());
        assert_eq!(parse_response(&mut input, KEY, Some("chat")), Ok(Some(())));
        assert_eq!(input, &b"\x82\x00"[..]);
    }
}

#[test]
fn our_own_request_is_read_back() {
    let wire = request(
        "pop.example:8081",
        "/tunnel?a=b",
        KEY,
        Some("titan.v1"),
        Some("a.b-c_d"),
    );
    let request = parse_request(&mut wire.into())
        .expect("valid")
        .expect("whole");
    assert_eq!(
        (&*request.path, &*request.host),
        ("/tunnel?a=b", "pop.example:8081")
    );
    assert!(request.offers("titan.v1") && !request.offers("Titan.v1"));
    assert_eq!(request.bearer.as_deref(), Some("a.b-c_d"));
    assert!(
        !format!("{request:?}").contains("a.b-c_d"),
        "a token would end up in logs"
    );
    let response = accept_response(&request, None);
    assert_eq!(
        parse_response(&mut BytesMut::from(&response[..]), KEY, None),
        Ok(Some(()))
    );
}

#[test]
fn no_field_of_a_request_can_begin_another_line() {
    let break_in = "x\r\nX-Admin: 1\r\n\r\n";
    let wire = request(break_in, break_in, KEY, Some(break_in), Some(break_in));
    let lines = wire.windows(2).filter(|pair| pair == b"\r\n").count();
    assert_eq!(lines, 9, "request line, seven headers and the empty line");
}

#[test]
fn lists_and_tokens_are_read_as_http_writes_them() {
    let head = REQUEST
        .replace(
            "Connection: Upgrade",
            "connection: keep-alive ,\tUPGRADE\r\nConnection: x",
        )
        .replace("Upgrade: websocket", "Upgrade: h2c, WebSocket")
        .replace(
            "chat, superchat",
            "chat\r\nSec-WebSocket-Protocol:,superchat,",
        )
        .replace("Origin: http://example.com", "Authorization: bearer  abc ");
    let request = read_request(&head).expect("valid");
    assert_eq!(request.protocols, ["chat", "superchat"]);
    assert_eq!(request.bearer.as_deref(), Some("abc"));
}

#[test]
fn bad_requests_are_refused_with_their_status() {
    use UpgradeError::*;
    let key = "Sec-WebSocket-Key";
    let cases = [
        ("GET ", "POST ", Method, 405),
        ("HTTP/1.1", "HTTP/1.0", HttpVersion, 505),
        ("Upgrade: websocket", "Upgrade: h2c", NotWebSocket, 426),
        (
            "Connection: Upgrade",
            "Connection: close",
            NotWebSocket,
            426,
        ),
        ("Version: 13", "Version: 8", WebSocketVersion, 426),
        (
            "Sec-WebSocket-Version: 13\r\n",
            "",
            Missing("Sec-WebSocket-Version"),
            400,
        ),
        ("Host: server.example.com\r\n", "", Missing("Host"), 400),
        ("Origin:", "Host:", Repeated("Host"), 400),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZQ==",
            Invalid(key),
            400,
        ),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "the sample nonce",
            Invalid(key),
            400,
        ),
        ("Origin: ", "Sec-WebSocket-Key: ", Repeated(key), 400),
        ("Origin: http://example.com", "Content-Length: 5", Body, 400),
        (
            "Origin: http://example.com",
            "Transfer-Encoding: chunked",
            Body,
            400,
        ),
        (
            "Origin: ",
            "Origin ",
            Malformed(httparse::Error::HeaderName),
            400,
        ),
    ];
    for (from, to, error, status) in cases {
        let result = read_request(&REQUEST.replacen(from, to, 1));
        assert_eq!(result, Err(error.clone()), "{to}");
        assert_eq!(error.status(), status);
    }
}

#[test]
fn heads_beyond_the_limits_are_refused() {
    let filler = "a".repeat(UPGRADE_MAX_HEAD);
    let long = REQUEST.replace("/chat", &filler);
    assert_eq!(read_request(&long), Err(UpgradeError::TooLarge));
    let mut unfinished = BytesMut::from(&long[..UPGRADE_MAX_HEAD]);
    assert_eq!(parse_request(&mut unfinished), Err(UpgradeError::TooLarge));
    let many = "A: b\r\n".repeat(UPGRADE_MAX_HEADERS - 6);
    assert_eq!(
        read_request(&REQUEST.replace("Host:", &(many + "Host:"))),
        Err(UpgradeError::TooLarge)
    );
    let most = "A: b\r\n".repeat(UPGRADE_MAX_HEADERS - 7);
    assert!(read_request(&REQUEST.replace("Host:", &(most + "Host:"))).is_ok());
}

#[test]
fn answers_that_are_not_to_our_request_are_refused() {
    use UpgradeError::*;
    let cases = [
        ("s3pP", "S3pP", Mismatch("Sec-WebSocket-Accept")),
        (
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
            "",
            Missing("Sec-WebSocket-Accept"),
        ),
        (
            "Protocol: chat",
            "Protocol: superchat",
            Mismatch("Sec-WebSocket-Protocol"),
        ),
        (
            "Sec-WebSocket-Protocol: chat\r\n",
            "",
            Mismatch("Sec-WebSocket-Protocol"),
        ),
        (
            "Protocol: chat",
            "Extensions: permessage-deflate",
            Mismatch("Sec-WebSocket-Protocol"),
        ),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: x\r\n\r\n",
            Mismatch("Sec-WebSocket-Extensions"),
        ),
        ("Upgrade: websocket", "Upgrade: h2c", NotWebSocket),
        ("HTTP/1.1", "HTTP/1.0", HttpVersion),
        ("HTTP/1.1", "SSH/2.0", Malformed(httparse::Error::Version)),
    ];
    for (from, to, error) in cases {
        assert_eq!(
            read_response(&RESPONSE.replacen(from, to, 1)),
            Err(error),
            "{to}"
        );
    }
}

#[test]
fn a_refusal_carries_its_status_and_text() {
    for (status, text) in [
        (401, "token expired"),
        (426, "no titan.v1 offered"),
        (503, ""),
    ] {
        let wire = reject_response(status, text);
        let refused = Err(UpgradeError::Refused {
            status,
            text: text.to_owned(),
        });
        for cut in 0..wire.len() {
            assert_eq!(
                parse_response(&mut BytesMut::from(&wire[..cut]), KEY, None),
                Ok(None)
            );
        }
        assert_eq!(parse_response(&mut wire.into(), KEY, None), refused);
    }
}

#[test]
fn a_refusal_does_not_wait_for_a_page() {
    for length in [
        "",
        "Content-Length: 1000000\r\n",
        "Content-Length: many\r\n",
    ] {
        let head = format!("HTTP/1.1 302 Found\r\n{length}\r\n<html>");
        let refused = UpgradeError::Refused {
            status: 302,
            text: String::new(),
        };
        assert_eq!(read_response(&head), Err(refused));
    }
}
