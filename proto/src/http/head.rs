//! The head of a proxy request.

use bytes::{Bytes, BytesMut};
use httparse::{Header, Request, Status};

use super::{
    BodyLength, HttpError, HttpErrorKind, Version, basic,
    body::body_length,
    forward::{AbsoluteUri, rewrite},
};
use crate::{
    addr::Target,
    credentials::Credentials,
    limits::{PROXY_MAX_HEAD, PROXY_MAX_HEADERS, PROXY_MAX_METHOD},
};

/// A proxy request, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// What to do.
    pub request: ProxyRequest,
    /// Who asks; `None` where the client has not said.
    pub credentials: Option<Credentials>,
    /// The client's version.
    pub version: Version,
    /// Whether this is a HEAD request, whose answer has no content.
    pub is_head: bool,
}

/// What a client asks of the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyRequest {
    /// A tunnel; whatever follows the head is its first data.
    Connect {
        /// Where to.
        target: Target,
    },
    /// One request to pass on. The connection serves no other: bytes beyond the content are not to
    /// be sent anywhere, since a second request may be for another host.
    Forward {
        /// Where to.
        target: Target,
        /// The head for the origin server.
        head: Bytes,
        /// The content that follows the head in the buffer and from the client.
        body: BodyLength,
    },
}

impl ProxyRequest {
    /// Where the request goes.
    pub fn target(&self) -> &Target {
        match self {
            Self::Connect { target } | Self::Forward { target, .. } => target,
        }
    }
}

/// Takes a request's head off the front of `input`; `None` while it is incomplete.
///
/// Nothing is read from a head until its end has arrived. It is looked for from the start each
/// time: the work is bounded by [`PROXY_MAX_HEAD`], and the state of the connection stays in the
/// buffer alone.
///
/// # Errors
///
/// Why the head is not served. The connection is to be closed after [`HttpError::response`];
/// `input` holds garbage then.
pub fn parse_request_head(input: &mut BytesMut) -> Result<Option<RequestHead>, HttpError> {
    // Compared with the space: a longer method may begin so.
    let is_head = input.starts_with(b"HEAD ");
    let parsed = match head_len(input) {
        Ok(None) => return Ok(None),
        Ok(Some(len)) => interpret(&input.split_to(len)),
        Err(kind) => Err(kind),
    };
    let with_head = |(request, credentials, version)| RequestHead {
        request,
        credentials,
        version,
        is_head,
    };
    parsed
        .map(|parts| Some(with_head(parts)))
        .map_err(|kind| HttpError { kind, is_head })
}

/// The length of the head with the empty line that ends it.
///
/// A line ends in CR LF. The lone LF that RFC 9112 §2.2 lets a server accept, a lone CR and a NUL
/// (§2.2, RFC 9110 §5.5) are refused as soon as they are seen.
fn head_len(input: &[u8]) -> Result<Option<usize>, HttpErrorKind> {
    let head = input.get(..PROXY_MAX_HEAD).unwrap_or(input);
    let mut line_start = 0;
    let mut after_cr = false;
    for (at, &byte) in head.iter().enumerate() {
        match (byte, after_cr) {
            (b'\n', true) if at == line_start + 1 => return Ok(Some(at + 1)),
            (b'\n', true) => line_start = at + 1,
            (b'\n', false) => return Err(HttpErrorKind::Malformed("a line ends in LF alone")),
            (_, true) => return Err(HttpErrorKind::Malformed("a CR without LF")),
            (0, _) => return Err(HttpErrorKind::Malformed("a NUL")),
            _ => {}
        }
        after_cr = byte == b'\r';
    }
    match (input.len() >= PROXY_MAX_HEAD, line_start) {
        (false, _) => Ok(None),
        (true, 0) => Err(HttpErrorKind::UriTooLong),
        (true, _) => Err(HttpErrorKind::HeadTooLarge),
    }
}

type Parts = (ProxyRequest, Option<Credentials>, Version);

fn interpret(head: &[u8]) -> Result<Parts, HttpErrorKind> {
    let mut headers = [httparse::EMPTY_HEADER; PROXY_MAX_HEADERS];
    let mut parsed = Request::new(&mut headers);
    let status = parsed
        .parse(head)
        .map_err(|error| parse_error(error, head))?;
    let (Status::Complete(_), Some(method), Some(target), Some(minor)) =
        (status, parsed.method, parsed.path, parsed.version)
    else {
        // An empty line before the request line, which RFC 9112 §2.2 lets a server skip.
        return Err(HttpErrorKind::Malformed("no request line"));
    };
    let version = if minor == 0 {
        Version::Http10
    } else {
        Version::Http11
    };
    let credentials = basic::credentials(parsed.headers)?;
    let request = match method {
        "CONNECT" => connect(target, version, parsed.headers)?,
        _ => forward(method, target, version, parsed.headers)?,
    };
    Ok((request, credentials, version))
}

/// The target of CONNECT is host and port, both required (RFC 9110 §9.3.6). `Host` says nothing
/// that matters here, and many clients send none.
fn connect(
    target: &str,
    version: Version,
    headers: &[Header<'_>],
) -> Result<ProxyRequest, HttpErrorKind> {
    // Content has no meaning here; a server that read it as such and one that did not would differ
    // on where the tunnel's data begins.
    if body_length(headers, version) != Ok(BodyLength::None) {
        return Err(HttpErrorKind::Malformed("CONNECT with content"));
    }
    Ok(ProxyRequest::Connect {
        target: Target::parse_authority(target)?,
    })
}

fn forward(
    method: &str,
    target: &str,
    version: Version,
    headers: &[Header<'_>],
) -> Result<ProxyRequest, HttpErrorKind> {
    let uri = AbsoluteUri::parse(target)?;
    if method.len() > PROXY_MAX_METHOD {
        return Err(HttpErrorKind::Unsupported(
            "the method is too long to be one",
        ));
    }
    // TRACE has the origin send the request's headers back, cookies and all.
    if method == "TRACE" {
        return Err(HttpErrorKind::Unsupported("TRACE is not served"));
    }
    let body = body_length(headers, version)?;
    let target = uri.target()?;
    Ok(ProxyRequest::Forward {
        target,
        head: rewrite(method, &uri, version, headers)?,
        body,
    })
}

fn parse_error(error: httparse::Error, head: &[u8]) -> HttpErrorKind {
    HttpErrorKind::Malformed(match error {
        httparse::Error::TooManyHeaders => return HttpErrorKind::HeadTooLarge,
        httparse::Error::Version if names_a_version(head) => return HttpErrorKind::Version,
        httparse::Error::HeaderName => "a header's name is malformed, or a header is folded",
        httparse::Error::HeaderValue => "a header's value is malformed",
        _ => "the request line is malformed",
    })
}

/// Whether the request line is one but for a version that we do not know.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&b| b == b' ').skip(2);
    words
        .next()
        .is_some_and(|version| version.starts_with(b"HTTP/"))
        && words.next().is_none()
}

/// Fuzz entry: in whatever pieces a head arrives the outcome is the same, and a forwarded head says
/// to any reader what we understood.
#[cfg(any(test, feature = "fuzzing"))]
pub fn fuzz_http_head(data: &[u8]) {
    let Some((&seed, data)) = data.split_first() else {
        return;
    };
    let mut whole = BytesMut::from(data);
    let expected = parse_request_head(&mut whole);
    let mut input = BytesMut::new();
    let mut outcome = Ok(None);
    for segment in crate::fuzz::segments(data, seed) {
        input.extend_from_slice(segment);
        if outcome == Ok(None) {
            outcome = parse_request_head(&mut input);
        }
    }
    assert_eq!(outcome, expected);
    match outcome {
        Ok(Some(head)) => {
            assert_eq!(input, whole);
            check_forwarded(&head);
        }
        Ok(None) => assert!(data.len() < PROXY_MAX_HEAD),
        Err(error) => assert!(error.response().starts_with(b"HTTP/1.1 ")),
    }
}

/// Panics unless a forwarded head is one that every server reads alike.
#[cfg(any(test, feature = "fuzzing"))]
fn check_forwarded(head: &RequestHead) {
    let ProxyRequest::Forward {
        target,
        head: bytes,
        body,
    } = &head.request
    else {
        return;
    };
    assert_eq!(head_len_of(bytes), Some(bytes.len()));
    let mut headers = [httparse::EMPTY_HEADER; PROXY_MAX_HEADERS + 2];
    let mut parsed = Request::new(&mut headers);
    assert_eq!(parsed.parse(bytes), Ok(Status::Complete(bytes.len())));
    assert!(
        parsed
            .path
            .is_some_and(|path| path.starts_with('/') || path == "*")
    );
    let value = |name| -> Vec<&[u8]> { super::values(parsed.headers, name).collect() };
    let hosts = value("host");
    assert_eq!(hosts.len(), 1);
    assert_eq!(
        hosts
            .first()
            .map(|host| Target::parse_authority_or(host, 80)),
        Some(Ok(target.clone()))
    );
    assert_eq!(value("connection"), [b"close"]);
    for gone in [
        "proxy-authorization",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
        "te",
    ] {
        assert!(value(gone).is_empty(), "{gone}");
    }
    assert_eq!(body_length(parsed.headers, head.version), Ok(*body));
}

/// As [`head_len`], which looks no further than a client's head may be long; ours may be longer by
/// the lines it gained.
#[cfg(any(test, feature = "fuzzing"))]
fn head_len_of(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4)
}
