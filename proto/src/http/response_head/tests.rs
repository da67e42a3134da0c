//! Responses as origin servers send them, and as none should.

use proptest::prelude::*;

use super::*;

const ASKED: Asked = Asked {
    version: Version::Http11,
    is_head: false,
    is_persistent: true,
    is_upgrade: false,
};

const HEAD: Asked = Asked {
    is_head: true,
    ..ASKED
};

const OLD: Asked = Asked {
    version: Version::Http10,
    is_persistent: false,
    ..ASKED
};

const UPGRADE: Asked = Asked {
    is_upgrade: true,
    ..ASKED
};

fn push(asked: Asked, text: &str) -> Result<Option<(ResponseHead, Bytes)>, ResponseError> {
    ResponseReader::new(asked).push(&Bytes::copy_from_slice(text.as_bytes()), true)
}

fn head(asked: Asked, text: &str) -> ResponseHead {
    push(asked, text).expect("valid").expect("complete").0
}

/// The head that the client gets.
fn passed_on(asked: Asked, text: &str) -> String {
    String::from_utf8_lossy(&head(asked, text).head).into_owned()
}

/// The content of a response with these lines.
fn content(asked: Asked, lines: &str) -> Content {
    head(asked, &format!("HTTP/1.1 {lines}\r\n\r\n")).content
}

/// What nginx sends, with every header that is for one hop alone.
const RESPONSE: &str = "HTTP/1.1 200 OK\r\n\
    Server: nginx\r\n\
    Content-Length: 5\r\n\
    Connection: keep-alive, X-Private\r\n\
    Keep-Alive: timeout=5\r\n\
    Proxy-Connection: keep-alive\r\n\
    Proxy-Authenticate: Basic\r\n\
    X-Private: 1\r\n\
    X-Titan-Error: no_edge\r\n\
    Upgrade: h2c\r\n\
    Set-Cookie: a=é\r\n\
    \r\n";

#[test]
fn a_response_goes_on_without_what_is_for_one_hop() {
    let (head, rest) = push(ASKED, &format!("{RESPONSE}hello"))
        .expect("valid")
        .expect("complete");
    let expected = "HTTP/1.1 200 OK\r\n\
        Server: nginx\r\n\
        Content-Length: 5\r\n\
        Set-Cookie: a=é\r\n\
        Connection: keep-alive\r\n\
        \r\n";
    assert_eq!(head.head, expected.as_bytes());
    assert_eq!((head.status, head.kind), (200, ResponseKind::Final));
    assert_eq!(head.content, Content::Length(5));
    assert!(head.origin_persists);
    assert_eq!(rest, "hello");
}

#[test]
fn the_outcome_is_the_same_at_every_split() {
    let text = Bytes::from(format!("{RESPONSE}hello"));
    for split in 0..text.len() {
        let mut reader = ResponseReader::new(ASKED);
        let (first, second) = (text.slice(..split), text.slice(split..));
        let early = reader.push(&first, true).expect("valid");
        let (head, rest) = match early {
            Some((head, rest)) => (head, [rest, second].concat()),
            None => {
                let late = reader.push(&second, true);
                let (head, rest) = late.expect("valid").expect("complete");
                (head, rest.to_vec())
            }
        };
        assert_eq!((head.status, &rest[..]), (200, &b"hello"[..]), "{split}");
    }
}

#[test]
fn content_is_as_long_as_the_rfc_says() {
    assert_eq!(
        content(ASKED, "200 OK\r\nContent-Length: 7"),
        Content::Length(7)
    );
    assert_eq!(content(ASKED, "200"), Content::UntilClose);
    let chunked = content(ASKED, "200 OK\r\nTransfer-Encoding: Chunked");
    assert!(matches!(chunked, Content::Chunked(_)));
    assert_eq!(content(HEAD, "200 OK\r\nContent-Length: 7"), Content::NONE);
    assert_eq!(content(HEAD, "200 OK"), Content::NONE);
    for status in [204, 304] {
        let lines = format!("{status} x\r\nContent-Length: 7");
        assert_eq!(content(ASKED, &lines), Content::NONE, "{status}");
        let lines = format!("{status} x\r\nTransfer-Encoding: chunked");
        assert_eq!(content(ASKED, &lines), Content::NONE, "{status}");
    }
}

#[test]
fn a_length_stays_where_it_describes_and_goes_where_it_lies() {
    let has_length = |asked, status: &str| {
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: 7\r\n\r\n");
        passed_on(asked, &text).contains("Content-Length: 7\r\n")
    };
    assert!(has_length(ASKED, "200 OK") && has_length(HEAD, "200 OK"));
    assert!(has_length(ASKED, "304 Not Modified"));
    assert!(!has_length(ASKED, "204 No Content") && !has_length(ASKED, "100 Continue"));
}

#[test]
fn the_client_hears_the_truth_about_its_connection() {
    let connection = |asked, lines: &str| {
        let head = passed_on(asked, &format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"));
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("Connection: "));
        line.expect("a line").to_owned()
    };
    let once = Asked {
        is_persistent: false,
        ..ASKED
    };
    assert_eq!(connection(ASKED, "Content-Length: 1"), "keep-alive");
    assert_eq!(
        connection(ASKED, "Content-Length: 1\r\nConnection: close"),
        "keep-alive"
    );
    assert_eq!(
        connection(ASKED, "Transfer-Encoding: chunked"),
        "keep-alive"
    );
    assert_eq!(connection(HEAD, "A: b"), "keep-alive");
    assert_eq!(connection(ASKED, "A: b"), "close");
    assert_eq!(connection(once, "Content-Length: 1"), "close");
    assert_eq!(connection(OLD, "Content-Length: 1"), "close");
    let text = Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n");
    let cut = ResponseReader::new(ASKED).push(&text, false);
    let (head, _) = cut.expect("valid").expect("complete");
    assert_eq!(head.persistence, Persistence::Close);
}

#[test]
fn the_origin_decides_about_its_own_connection() {
    let persists = |text: &str| head(ASKED, &format!("{text}\r\n\r\n")).origin_persists;
    assert!(persists("HTTP/1.1 200 OK\r\nContent-Length: 1"));
    assert!(!persists(
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: a, Close"
    ));
    assert!(!persists("HTTP/1.1 200 OK"));
    assert!(!persists("HTTP/1.0 200 OK\r\nContent-Length: 1"));
    assert!(persists(
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive"
    ));
}

#[test]
fn http_1_0_gets_neither_chunks_nor_interim_responses() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let old = head(OLD, chunked);
    assert!(old.is_unchunked && matches!(old.content, Content::Chunked(_)));
    assert_eq!(old.head, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    let new = head(ASKED, chunked);
    assert!(!new.is_unchunked);
    let expected =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n";
    assert_eq!(new.head, expected);
    assert_eq!(head(OLD, "HTTP/1.1 100 Continue\r\n\r\n").head, "");
}

#[test]
fn interim_responses_come_before_the_final_one() {
    let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\
        Connection: close\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    let mut reader = ResponseReader::new(ASKED);
    let mut rest = Bytes::from_static(text.as_bytes());
    let mut heads = Vec::new();
    while let Ok(Some((head, behind))) = reader.push(&rest, true) {
        heads.push((head.kind, String::from_utf8_lossy(&head.head).into_owned()));
        rest = behind;
    }
    let interim = |text: &str| (ResponseKind::Interim, text.to_owned());
    assert_eq!(heads[0], interim("HTTP/1.1 100 Continue\r\n\r\n"));
    assert_eq!(
        heads[1],
        interim("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    );
    assert_eq!((heads.len(), heads[2].0), (3, ResponseKind::Final));
}

#[test]
fn a_switch_of_protocols_is_passed_on_where_it_was_asked_for() {
    let text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
        Sec-WebSocket-Accept: x\r\n\r\n";
    let switched = head(UPGRADE, text);
    assert_eq!(switched.kind, ResponseKind::Switched);
    let expected = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\
        Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(switched.head, expected);
    assert!(push(ASKED, text).is_err());
    assert!(push(UPGRADE, &text.replace("WebSocket\r", "h2c\r")).is_err());
    assert!(push(UPGRADE, &text.replace("Connection: upgrade\r\n", "")).is_err());
}

#[test]
fn what_recipients_could_differ_over_is_refused() {
    for text in [
        // The status line.
        "HTTP/1.1 200 OK\n\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 No\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "<html>\r\n\r\n",
        // Lines.
        "HTTP/1.1 200 OK\r\nA: b\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA\r\n\r\n",
        // Lengths.
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        // What is not an origin server's to say.
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
    ] {
        let refused = push(ASKED, text);
        assert!(
            matches!(refused, Err(ResponseError::Malformed(_))),
            "{text:?}: {refused:?}"
        );
    }
}

#[test]
fn sizes_are_limited() {
    let of_len = |len: usize| {
        let start = "HTTP/1.1 200 OK\r\nX: ";
        let fill = "x".repeat(len - start.len() - "\r\n\r\n".len());
        format!("{start}{fill}\r\n\r\n")
    };
    assert!(push(ASKED, &of_len(RESPONSE_MAX_HEAD)).is_ok());
    let too_long = push(ASKED, &of_len(RESPONSE_MAX_HEAD + 1));
    assert_eq!(too_long, Err(ResponseError::TooLarge));
    let endless = "x".repeat(RESPONSE_MAX_HEAD);
    assert_eq!(push(ASKED, &endless[1..]), Ok(None));
    assert_eq!(push(ASKED, &endless), Err(ResponseError::TooLarge));
    let of_count = |count| format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert!(push(ASKED, &of_count(RESPONSE_MAX_HEADERS)).is_ok());
    let too_many = push(ASKED, &of_count(RESPONSE_MAX_HEADERS + 1));
    assert_eq!(too_many, Err(ResponseError::TooLarge));
}

/// Text that looks like a response often enough to get past the first checks.
fn responses() -> impl Strategy<Value = Vec<u8>> {
    let status = prop_oneof![
        "(100|101|103|200|204|206|304|407|500) [A-Za-z ]{0,9}",
        "[0-9 ]{1,5}"
    ];
    let name = prop_oneof![
        "Content-Length|Connection|Transfer-Encoding|Upgrade|Keep-Alive|Trailer|X-Titan-Error",
        "[!-~]{1,8}",
    ];
    let value = prop_oneof![
        "[a-z]{1,8}",
        "[0-9]{1,2}",
        "chunked|close|keep-alive, upgrade|websocket",
        "[ -~é]{0,12}"
    ];
    let headers = prop::collection::vec((name, value), 0..5);
    let content = prop_oneof!["[0-9a-f]\r\n[a-z]{0,15}\r\n0\r\n\r\n", "[ -~]{0,20}"];
    ("1\\.[01]", status, headers, content).prop_map(|(version, status, headers, content)| {
        let mut text = format!("HTTP/{version} {status}\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        format!("{text}\r\n{content}").into_bytes()
    })
}

proptest! {
    #[test]
    fn any_bytes_survive_the_fuzz_entry(data: Vec<u8>) {
        fuzz_http_response(&data);
    }

    #[test]
    fn responses_survive_the_fuzz_entry(seed: u8, flags: u8, first in responses(), second in responses()) {
        fuzz_http_response(&[&[seed, flags], &first[..], &second].concat());
    }

    #[test]
    fn damaged_responses_survive_the_fuzz_entry(
        seed: u8,
        flags: u8,
        at in 0usize..400,
        byte: u8,
        insert: bool,
    ) {
        let mut data = RESPONSE.as_bytes().to_vec();
        let at = at.min(data.len() - 1);
        if insert { data.insert(at, byte) } else { data[at] = byte }
        fuzz_http_response(&[&[seed, flags], &data[..]].concat());
    }
}
