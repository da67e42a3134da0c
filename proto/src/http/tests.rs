//! Request heads as clients send them, and as nobody should.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::{
    addr::AddrError,
    limits::{PROXY_MAX_HEAD, PROXY_MAX_HEADERS},
    reason::Reason,
};

/// `Aladdin:open sesame`, the example of RFC 7617 §2.
const LOGIN: &str = "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n";

/// What curl sends for an https:// URL.
const CONNECT: &str = "CONNECT example.com:443 HTTP/1.1\r\n\
    Host: example.com:443\r\n\
    Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\
    User-Agent: curl/8.5.0\r\n\
    Proxy-Connection: Keep-Alive\r\n\
    \r\n";

/// What a browser sends for an http:// URL, with every header that is for this hop alone.
const FORWARD: &str = "POST http://Example.com/a?b=http://c HTTP/1.1\r\n\
    Accept: */*\r\n\
    host: other.example\r\n\
    Connection: Keep-Alive, X-Private,,\r\n\
    Keep-Alive: timeout=5\r\n\
    Proxy-Connection: keep-alive\r\n\
    Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\
    Proxy-Authenticate: Basic\r\n\
    TE: trailers\r\n\
    Trailer: X-Sum\r\n\
    Upgrade: h2c\r\n\
    x-private: 1\r\n\
    Expect: 100-continue\r\n\
    CONTENT-LENGTH: 5\r\n\
    Cookie: a=é\r\n\
    \r\n";

fn parse(text: &str) -> Result<Option<RequestHead>, HttpError> {
    parse_request_head(&mut BytesMut::from(text.as_bytes()))
}

fn head(text: &str) -> RequestHead {
    parse(text).expect("valid").expect("complete")
}

/// The kind of the error; the head must be wrong.
fn error(text: &str) -> HttpErrorKind {
    match parse(text) {
        Err(error) => error.kind,
        other => panic!("{text:?}: {other:?}"),
    }
}

fn status(text: &str) -> u16 {
    parse(text).expect_err(text).status()
}

/// The head that is forwarded, as text.
fn forwarded(text: &str) -> String {
    match head(text).request {
        ProxyRequest::Forward(request) => String::from_utf8_lossy(&request.head).into_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn connect_as_curl_sends_it() {
    let head = head(CONNECT);
    let target = "example.com:443".parse().unwrap();
    assert_eq!(head.request, ProxyRequest::Connect { target });
    assert_eq!(head.asked.version, Version::Http11);
    let Authorization::Basic(credentials) = head.authorization else {
        panic!("it has credentials");
    };
    assert_eq!(credentials.username, "Aladdin");
    assert_eq!(credentials.password, "open sesame");
}

#[test]
fn connect_in_other_forms() {
    let target = |line: &str| {
        head(&format!("{line}\r\n\r\n"))
            .request
            .target()
            .to_string()
    };
    assert_eq!(
        target("CONNECT [2001:DB8::1]:443 HTTP/1.0"),
        "[2001:db8::1]:443"
    );
    assert_eq!(target("CONNECT 192.0.2.1:80 HTTP/1.1"), "192.0.2.1:80");
    let without = head("CONNECT a.example:1 HTTP/1.0\r\n\r\n");
    assert_eq!(
        (without.asked.version, without.authorization),
        (Version::Http10, Authorization::Missing)
    );
    // The Host header says nothing that matters for CONNECT.
    assert_eq!(
        target("CONNECT a.example:1 HTTP/1.1\r\nHost: b\r\nHost: c/d"),
        "a.example:1"
    );
    assert_eq!(
        target("CONNECT a.example:1 HTTP/1.1\r\nContent-Length: 0"),
        "a.example:1"
    );
}

#[test]
fn early_data_stays_in_the_buffer() {
    for text in [CONNECT, FORWARD] {
        let mut input = BytesMut::from(&[text.as_bytes(), b"early\r\n\r\n"].concat()[..]);
        assert!(parse_request_head(&mut input).expect("valid").is_some());
        assert_eq!(input, "early\r\n\r\n");
    }
}

#[test]
fn a_head_is_incomplete_at_every_split_and_the_buffer_stays_whole() {
    for text in [CONNECT, FORWARD] {
        let expected = parse(text);
        for split in 0..text.len() {
            let mut input = BytesMut::from(&text.as_bytes()[..split]);
            assert_eq!(parse_request_head(&mut input), Ok(None), "{split}");
            assert_eq!(input, text.as_bytes()[..split]);
            input.extend_from_slice(&text.as_bytes()[split..]);
            assert_eq!(parse_request_head(&mut input), expected, "{split}");
        }
    }
}

#[test]
fn a_forwarded_request_looks_like_its_clients_own() {
    let head = head(FORWARD);
    assert_eq!(head.request.target().to_string(), "example.com:80");
    assert!(matches!(head.authorization, Authorization::Basic(_)));
    let ProxyRequest::Forward(request) = head.request else {
        panic!("it is to be forwarded");
    };
    assert_eq!(request.content, Content::Length(5));
    let expected = "POST /a?b=http://c HTTP/1.1\r\n\
        Accept: */*\r\n\
        host: Example.com\r\n\
        Trailer: X-Sum\r\n\
        Expect: 100-continue\r\n\
        CONTENT-LENGTH: 5\r\n\
        Cookie: a=é\r\n\
        \r\n";
    assert_eq!(request.head, expected.as_bytes());
}

#[test]
fn targets_turn_into_origin_form() {
    let first_line = |line: &str| {
        let text = forwarded(&format!("{line}\r\nHost: x\r\n\r\n"));
        text.split("\r\n").next().expect("a line").to_owned()
    };
    assert_eq!(first_line("GET http://a HTTP/1.1"), "GET / HTTP/1.1");
    assert_eq!(first_line("GET http://a/ HTTP/1.0"), "GET / HTTP/1.1");
    assert_eq!(first_line("GET HTTP://a?q HTTP/1.1"), "GET /?q HTTP/1.1");
    assert_eq!(
        first_line("GET http://a//b/../c HTTP/1.1"),
        "GET //b/../c HTTP/1.1"
    );
    // RFC 9112 §3.2.4.
    assert_eq!(
        first_line("OPTIONS http://a HTTP/1.1"),
        "OPTIONS * HTTP/1.1"
    );
    assert_eq!(
        first_line("OPTIONS http://a/ HTTP/1.1"),
        "OPTIONS / HTTP/1.1"
    );
}

#[test]
fn host_is_the_authority_of_the_uri() {
    for (uri, host) in [
        ("http://a.example", "a.example"),
        ("http://a.example:80/", "a.example:80"),
        ("http://a.example:/", "a.example:"),
        ("http://[2001:db8::1]:8080/", "[2001:db8::1]:8080"),
    ] {
        let text = forwarded(&format!("GET {uri} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(
            text.lines().nth(1),
            Some(&*format!("Host: {host}")),
            "{uri}"
        );
        let old = forwarded(&format!("GET {uri} HTTP/1.0\r\nAccept: */*\r\n\r\n"));
        assert_eq!(old.lines().nth(1), Some(&*format!("Host: {host}")), "{uri}");
    }
}

#[test]
fn connection_cannot_drop_what_frames_the_request() {
    let text = forwarded(
        "PUT http://a/ HTTP/1.1\r\nHost: a\r\nConnection: content-length, host, cookie\r\n\
         Content-Length: 3\r\nCookie: a\r\n\r\n",
    );
    assert!(
        text.contains("Content-Length: 3\r\n") && text.contains("Host: a\r\n"),
        "{text}"
    );
    assert!(!text.contains("Cookie"), "{text}");
}

#[test]
fn the_number_of_connection_options_is_bounded() {
    let with = |count| {
        let options = vec!["x"; count].join(",");
        parse(&format!(
            "GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: {options}\r\n\r\n"
        ))
    };
    assert!(with(PROXY_MAX_HEADERS).is_ok());
    assert!(with(PROXY_MAX_HEADERS + 1).is_err());
}

#[test]
fn shapes_used_for_smuggling_are_refused() {
    for text in [
        // Line ends and folding.
        "GET http://a/ HTTP/1.1\nHost: a\n\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\n\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n X: b\r\nHost: a\r\n\r\n",
        "\r\nGET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        // Names and values.
        "GET http://a/ HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\nX(y): b\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\nX: b\x0bc\r\n\r\n",
        // The request line.
        "GET  http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET http://a/ b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/\tHTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/#f HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/é HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/\r\nHost: a\r\n\r\n",
        "G(T http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTQ/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/ http/1.1\r\nHost: a\r\n\r\n",
        // Hosts.
        "GET http://a/ HTTP/1.1\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: u@a\r\n\r\n",
        // Lengths.
        "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
        "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        // Logins.
        "CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Basic dTpw\r\nProxy-Authorization: Basic dTpw\r\n\r\n",
    ] {
        assert!(
            matches!(error(text), HttpErrorKind::Malformed(_)),
            "{text:?}: {:?}",
            error(text)
        );
        assert_eq!(status(text), 400, "{text:?}");
    }
}

#[test]
fn bad_line_ends_are_refused_before_the_head_is_complete() {
    for text in ["GET http://a/ HTTP/1.1\n", "GET\0", "GET\rx"] {
        assert!(
            matches!(error(text), HttpErrorKind::Malformed(_)),
            "{text:?}"
        );
    }
}

#[test]
fn bad_targets_are_refused() {
    for (line, expected) in [
        ("CONNECT a HTTP/1.1", AddrError::PortMissing),
        ("CONNECT a: HTTP/1.1", AddrError::PortMissing),
        ("CONNECT a:0 HTTP/1.1", AddrError::PortZero),
        ("CONNECT a:65536 HTTP/1.1", AddrError::PortInvalid),
        ("CONNECT u:p@a:1 HTTP/1.1", AddrError::UserInfo),
        ("CONNECT ::1:443 HTTP/1.1", AddrError::EmptyHost),
        ("CONNECT [::1%25lo]:1 HTTP/1.1", AddrError::Ipv6Literal),
        ("CONNECT 127.1:80 HTTP/1.1", AddrError::NumericName),
        ("CONNECT http://a:1 HTTP/1.1", AddrError::PortInvalid),
        ("GET http://u:p@a/ HTTP/1.1", AddrError::UserInfo),
        ("GET http:///x HTTP/1.1", AddrError::EmptyHost),
        ("GET http://a:0/ HTTP/1.1", AddrError::PortZero),
        ("GET http://a%2e/ HTTP/1.1", AddrError::NameByte(b'%')),
        ("GET http://a\\b/ HTTP/1.1", AddrError::NameByte(b'\\')),
    ] {
        let text = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(error(&text), HttpErrorKind::Target(expected), "{line}");
        assert_eq!(status(&text), 400);
    }
}

#[test]
fn requests_to_the_proxy_itself_are_told_what_it_is() {
    for target in ["/", "/x?u=http://a", "*", "a:80", "a", "://a", "1://a"] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(error(&text), HttpErrorKind::NotForAProxy, "{target}");
        assert_eq!(status(&text), 400);
    }
}

#[test]
fn what_is_not_served_says_so() {
    for (text, word) in [
        ("GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT"),
        ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT"),
        ("TRACE http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "TRACE"),
        (
            "OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 1\r\n\r\n",
            "Max-Forwards",
        ),
        (
            &format!("{} http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(33)),
            "method",
        ),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(
            (error.status(), error.reason()),
            (501, Reason::Unsupported),
            "{text}"
        );
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(status("PRI * HTTP/2.0\r\n\r\n"), 505);
    assert_eq!(status("GET http://a/ HTTP/1.2\r\n\r\n"), 505);
    assert_eq!(status("GET http://a/ HTTP/0.9\r\n\r\n"), 505);
}

#[test]
fn other_schemes_of_authentication_are_told_from_none() {
    for value in [
        "Digest username=\"u\"",
        "Bearer x",
        "Basic",
        "Basic !",
        "NTLM TlRM",
    ] {
        let text = format!("CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: {value}\r\n\r\n");
        assert_eq!(
            head(&text).authorization,
            Authorization::Unusable,
            "{value}"
        );
    }
}

#[test]
fn a_connection_persists_unless_its_client_or_its_version_says_otherwise() {
    let last_line = |line: &str| {
        let text = format!("GET http://a/ {line}\r\nHost: a\r\n\r\n");
        let text = forwarded(&text.replace("|", "\r\n"));
        text.lines().rev().nth(1).expect("a line").to_owned()
    };
    assert_eq!(last_line("HTTP/1.1"), "Host: a");
    assert_eq!(last_line("HTTP/1.1|Proxy-Connection: close"), "Host: a");
    assert_eq!(
        last_line("HTTP/1.1|Connection: x, Close"),
        "Connection: close"
    );
    assert_eq!(last_line("HTTP/1.0"), "Connection: close");
    assert_eq!(
        last_line("HTTP/1.0|Connection: keep-alive"),
        "Connection: close"
    );
    let asked = |text: &str| head(text).asked.is_persistent;
    assert!(asked("CONNECT a:1 HTTP/1.1\r\n\r\n"));
    assert!(!asked("CONNECT a:1 HTTP/1.0\r\n\r\n"));
}

#[test]
fn chunked_content_goes_on_as_such() {
    let text = "PUT http://a/ HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\nTE: trailers\r\n\
        Connection: TE\r\nTrailer: X-Sum\r\n\r\n";
    let expected =
        "PUT / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
    assert_eq!(forwarded(text), expected);
    let ProxyRequest::Forward(request) = head(text).request else {
        panic!("it is to be forwarded");
    };
    assert!(matches!(request.content, Content::Chunked(_)));
}

#[test]
fn an_expectation_of_http_1_0_is_ignored() {
    let text = "PUT http://a/ HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    assert!(!forwarded(text).contains("Expect"), "{}", forwarded(text));
}

#[test]
fn only_websocket_is_upgraded_to() {
    let upgrade = |start: &str, protocol: &str| {
        let text = format!(
            "{start}\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        );
        let ProxyRequest::Forward(request) = head(&text).request else {
            panic!("it is to be forwarded");
        };
        let text = String::from_utf8_lossy(&request.head).into_owned();
        let asks = text.ends_with("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        assert_eq!(
            asks,
            text.to_ascii_lowercase().contains("upgrade"),
            "{text}"
        );
        assert_eq!(asks, request.asked.is_upgrade);
        asks
    };
    assert!(upgrade("GET http://a/ HTTP/1.1", "websocket"));
    assert!(upgrade("GET http://a/ HTTP/1.1", "h2c, WebSocket"));
    assert!(!upgrade("GET http://a/ HTTP/1.1", "h2c"));
    assert!(!upgrade("GET http://a/ HTTP/1.0", "websocket"));
    assert!(!upgrade("POST http://a/ HTTP/1.1", "websocket"));
    assert!(!upgrade(
        "GET http://a/ HTTP/1.1\r\nContent-Length: 1",
        "websocket"
    ));
}

#[test]
fn what_may_be_sent_twice_is_idempotent_and_has_no_content() {
    let repeatable = |line: &str, length: u64| {
        let text = format!("{line} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        matches!(head(&text).request, ProxyRequest::Forward(request) if request.is_repeatable)
    };
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        assert!(repeatable(&format!("{method} http://a/"), 0), "{method}");
        assert!(!repeatable(&format!("{method} http://a/"), 1), "{method}");
    }
    for method in ["POST", "PATCH", "LOCK", "get"] {
        assert!(!repeatable(&format!("{method} http://a/"), 0), "{method}");
    }
}

#[test]
fn sizes_are_limited() {
    let of_len = |len: usize| {
        let start = format!("CONNECT a:1 HTTP/1.1\r\n{LOGIN}X: ");
        let fill = "x".repeat(len - start.len() - "\r\n\r\n".len());
        format!("{start}{fill}\r\n\r\n")
    };
    assert!(parse(&of_len(PROXY_MAX_HEAD)).expect("valid").is_some());
    assert_eq!(status(&of_len(PROXY_MAX_HEAD + 1)), 431);
    // No more is waited for than is of use.
    let endless = of_len(PROXY_MAX_HEAD + 100);
    assert_eq!(parse(&endless[..PROXY_MAX_HEAD - 1]), Ok(None));
    assert_eq!(status(&endless[..PROXY_MAX_HEAD]), 431);
    assert_eq!(status(&"G".repeat(PROXY_MAX_HEAD)), 414);

    let of_count = |count| format!("CONNECT a:1 HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert!(
        parse(&of_count(PROXY_MAX_HEADERS))
            .expect("valid")
            .is_some()
    );
    assert_eq!(status(&of_count(PROXY_MAX_HEADERS + 1)), 431);
}

#[test]
fn the_answer_to_a_bad_head_request_has_no_content() {
    let error = parse("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").expect_err("for no proxy");
    assert!(error.is_head && error.response().ends_with(b"\r\n\r\n"));
    assert!(
        head("HEAD http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
            .asked
            .is_head
    );
    assert!(
        !head("HEADX http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
            .asked
            .is_head
    );
}

/// Text that looks like a request often enough to get past the first checks.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof!["GET|HEAD|POST|OPTIONS|TRACE|CONNECT", "[A-Z!]{1,6}"];
    let target = prop_oneof![
        "http://[a-z]{1,8}(\\.[a-z0-9]{1,4})?(:[0-9]{0,5})?(/[!-~]{0,10})?",
        "[a-z]{1,8}:[0-9]{1,5}",
        "[!-~]{1,20}",
    ];
    let name = prop_oneof![
        "Host|Content-Length|Connection|Transfer-Encoding|Upgrade|TE|Expect|Max-Forwards",
        "[!-~]{1,8}",
    ];
    let value = prop_oneof![
        "[a-z]{1,8}",
        "[0-9]{1,3}",
        "close|keep-alive, x",
        "[ -~é]{0,12}"
    ];
    let headers = prop::collection::vec((name, value), 0..5);
    (method, target, "1\\.[01]", headers).prop_map(|(method, target, version, headers)| {
        let mut text = format!("{method} {target} HTTP/{version}\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        format!("{text}\r\n").into_bytes()
    })
}

proptest! {
    #[test]
    fn any_bytes_survive_the_fuzz_entry(data: Vec<u8>) {
        fuzz_http_head(&data);
    }

    #[test]
    fn requests_survive_the_fuzz_entry(seed: u8, request in requests(), rest: Vec<u8>) {
        fuzz_http_head(&[&[seed], &request[..], &rest].concat());
    }

    #[test]
    fn damaged_requests_survive_the_fuzz_entry(
        seed: u8,
        forward: bool,
        at in 0usize..400,
        byte: u8,
        insert: bool,
    ) {
        let mut data = if forward { FORWARD } else { CONNECT }.as_bytes().to_vec();
        let at = at.min(data.len() - 1);
        if insert { data.insert(at, byte) } else { data[at] = byte }
        data.insert(0, seed);
        fuzz_http_head(&data);
    }
}
