//! The head of a proxy request.

use bytes::BytesMut;
use httparse::{Header, Request, Status};

use super::{
    Asked, Authorization, Content, ForwardRequest, HttpError, HttpErrorKind, Version, basic,
    content::Declared,
    fields::ConnectionOptions,
    forward::ClientRequest,
    lines::{HeadFault, HeadScan},
};
use crate::{
    addr::Target,
    limits::{PROXY_MAX_HEAD, PROXY_MAX_HEADERS},
};

/// A proxy request, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// What to do.
    pub request: ProxyRequest,
    /// Who asks.
    pub authorization: Authorization,
    /// What the answer depends on.
    pub asked: Asked,
}

/// What a client asks of the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyRequest {
    /// A tunnel; whatever follows the head is its first data.
    Connect {
        /// Where to.
        target: Target,
    },
    /// A request to pass on; whatever follows its content is the next request.
    Forward(ForwardRequest),
}

impl ProxyRequest {
    /// Where the request goes.
    pub fn target(&self) -> &Target {
        match self {
            Self::Connect { target } => target,
            Self::Forward(request) => &request.target,
        }
    }

    /// Whether the next request follows the head at once: neither content nor a tunnel's data.
    pub fn is_head_alone(&self) -> bool {
        match self {
            Self::Connect { .. } => true,
            Self::Forward(request) => request.content.is_complete(),
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
    let parsed = match HeadScan::default().advance(input, PROXY_MAX_HEAD) {
        Ok(None) => return Ok(None),
        Ok(Some(len)) => interpret(&input.split_to(len), is_head).map(Some),
        Err(fault) => Err(fault.into()),
    };
    parsed.map_err(|kind| HttpError { kind, is_head })
}

impl From<HeadFault> for HttpErrorKind {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::Malformed(what) => Self::Malformed(what),
            HeadFault::FirstLineTooLong => Self::UriTooLong,
            HeadFault::TooLong => Self::HeadTooLarge,
        }
    }
}

fn interpret(head: &[u8], is_head: bool) -> Result<RequestHead, HttpErrorKind> {
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
    let (version, headers) = (Version::of_minor(minor), &*parsed.headers);
    let authorization = basic::authorization(headers)?;
    let options =
        ConnectionOptions::parse(headers, PROXY_MAX_HEADERS).map_err(HttpErrorKind::Malformed)?;
    let asked = Asked {
        version,
        is_head,
        // RFC 9112 §9.3 and §C.2.2: no proxy keeps a connection of an HTTP/1.0 client.
        is_persistent: version == Version::Http11 && !options.has("close"),
        is_upgrade: false,
    };
    let request = match method {
        "CONNECT" => connect(target, version, headers)?,
        _ => {
            let request = ClientRequest {
                method,
                target,
                version,
                headers,
                options: &options,
            };
            ProxyRequest::Forward(request.forward(asked)?)
        }
    };
    Ok(RequestHead {
        request,
        authorization,
        asked,
    })
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
    let content = Declared::parse(headers, version).map(Declared::of_request);
    if content != Ok(Content::NONE) {
        return Err(HttpErrorKind::Malformed("CONNECT with content"));
    }
    Ok(ProxyRequest::Connect {
        target: Target::parse_authority(target)?,
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
            if let ProxyRequest::Forward(request) = &head.request {
                check_forwarded(request);
            }
        }
        Ok(None) => assert!(data.len() < PROXY_MAX_HEAD),
        Err(error) => assert!(error.response().starts_with(b"HTTP/1.1 ")),
    }
}

/// Panics unless a forwarded head is one that every server reads alike.
#[cfg(any(test, feature = "fuzzing"))]
fn check_forwarded(request: &ForwardRequest) {
    let bytes = &request.head;
    let scanned = HeadScan::default().advance(bytes, usize::MAX);
    assert_eq!(scanned, Ok(Some(bytes.len())));
    let mut headers = [httparse::EMPTY_HEADER; PROXY_MAX_HEADERS + 3];
    let mut parsed = Request::new(&mut headers);
    assert_eq!(parsed.parse(bytes), Ok(Status::Complete(bytes.len())));
    assert_eq!(parsed.version, Some(1));
    assert!(
        parsed
            .path
            .is_some_and(|path| path.starts_with('/') || path == "*")
    );
    let value = |name| -> Vec<&[u8]> { super::fields::values(parsed.headers, name).collect() };
    let hosts: Vec<_> = value("host")
        .iter()
        .map(|host| Target::parse_authority_or(host, 80))
        .collect();
    assert_eq!(hosts, [Ok(request.target.clone())]);
    let (connection, upgrade): (&[&[u8]], &[&[u8]]) = match request.asked {
        Asked {
            is_upgrade: true, ..
        } => (&[b"Upgrade"], &[b"websocket"]),
        Asked {
            is_persistent: true,
            ..
        } => (&[], &[]),
        _ => (&[b"close"], &[]),
    };
    assert_eq!(value("connection"), connection);
    assert_eq!(value("upgrade"), upgrade);
    for gone in [
        "proxy-authorization",
        "proxy-connection",
        "keep-alive",
        "te",
    ] {
        assert!(value(gone).is_empty(), "{gone}");
    }
    let declared = Declared::parse(parsed.headers, Version::Http11);
    assert_eq!(
        declared.map(Declared::of_request),
        Ok(request.content.clone())
    );
}
