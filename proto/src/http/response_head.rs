//! The head of an origin server's response.

use bytes::{BufMut, Bytes, BytesMut};
use httparse::{Header, Response, Status};

use super::{
    Asked, ChunkError, Content, Persistence, Version,
    content::Declared,
    fields::{ConnectionOptions, lines_len, members, put_line},
    lines::{HeadFault, HeadScan},
};
use crate::limits::{RESPONSE_MAX_HEAD, RESPONSE_MAX_HEADERS};

/// A response without its content, for the client that asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// What follows it.
    pub kind: ResponseKind,
    /// The head for the client; empty where the client must not see one.
    pub head: Bytes,
    /// The content that follows.
    pub content: Content,
    /// Whether the content goes to the client without its chunks' framing, which HTTP/1.0 does not
    /// know.
    pub is_unchunked: bool,
    /// What the head tells the client about its connection.
    pub persistence: Persistence,
    /// Whether the origin server takes another request on its connection behind the content.
    pub origin_persists: bool,
}

/// What follows a response's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseKind {
    /// Another response to the same request: this one is a 1xx (RFC 9110 §15.2).
    Interim,
    /// Its content, and that is all.
    Final,
    /// Another protocol, both ways (RFC 9110 §15.2.2).
    Switched,
}

/// Why a response is not passed on: what the origin server sent is not HTTP, or is HTTP that two
/// recipients may read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// It is malformed.
    #[error("the target's response is malformed: {0}")]
    Malformed(&'static str),
    /// Its head is longer than [`RESPONSE_MAX_HEAD`], or has more lines than
    /// [`RESPONSE_MAX_HEADERS`].
    #[error("the head of the target's response is too large")]
    TooLarge,
}

impl From<ChunkError> for ResponseError {
    fn from(ChunkError(what): ChunkError) -> Self {
        Self::Malformed(what)
    }
}

impl From<HeadFault> for ResponseError {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::Malformed(what) => Self::Malformed(what),
            HeadFault::FirstLineTooLong | HeadFault::TooLong => Self::TooLarge,
        }
    }
}

/// Collects the head of a response, which most often comes in one piece.
#[derive(Debug)]
pub struct ResponseReader {
    asked: Asked,
    scan: HeadScan,
    /// What has come of the head, while it is incomplete.
    buffer: BytesMut,
}

impl ResponseReader {
    /// For the response to a request that asked so.
    pub fn new(asked: Asked) -> Self {
        Self {
            asked,
            scan: HeadScan::default(),
            buffer: BytesMut::new(),
        }
    }

    /// Whether a part of a head has come.
    pub fn is_within_head(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Takes the next piece of what the origin server sent; gives the head, once it is complete,
    /// and what of the piece is behind it. After an interim response the next one may be read.
    ///
    /// The client's connection persists behind the response only if `may_persist`, whatever the
    /// two ends would like.
    ///
    /// # Errors
    /// Why the response is not passed on.
    pub fn push(
        &mut self,
        piece: &Bytes,
        may_persist: bool,
    ) -> Result<Option<(ResponseHead, Bytes)>, ResponseError> {
        let asked = Asked {
            is_persistent: self.asked.is_persistent && may_persist,
            ..self.asked
        };
        if self.buffer.is_empty() {
            let Some(len) = self.scan.advance(piece, RESPONSE_MAX_HEAD)? else {
                self.buffer.extend_from_slice(piece);
                return Ok(None);
            };
            return self.complete(piece, len, asked, piece.slice(len..));
        }
        let before = self.buffer.len();
        self.buffer.extend_from_slice(piece);
        let Some(len) = self.scan.advance(&self.buffer, RESPONSE_MAX_HEAD)? else {
            return Ok(None);
        };
        let whole = std::mem::take(&mut self.buffer);
        self.complete(&whole, len, asked, piece.slice(len - before..))
    }

    fn complete(
        &mut self,
        bytes: &[u8],
        len: usize,
        asked: Asked,
        rest: Bytes,
    ) -> Result<Option<(ResponseHead, Bytes)>, ResponseError> {
        self.scan = HeadScan::default();
        let head = interpret(bytes.get(..len).unwrap_or_default(), asked)?;
        Ok(Some((head, rest)))
    }
}

fn interpret(head: &[u8], asked: Asked) -> Result<ResponseHead, ResponseError> {
    let mut headers = [httparse::EMPTY_HEADER; RESPONSE_MAX_HEADERS];
    let mut parsed = Response::new(&mut headers);
    let status = parsed.parse(head).map_err(parse_error)?;
    let (Status::Complete(_), Some(code), Some(minor)) = (status, parsed.code, parsed.version)
    else {
        return Err(ResponseError::Malformed("no status line"));
    };
    let options = ConnectionOptions::parse(parsed.headers, RESPONSE_MAX_HEADERS)
        .map_err(ResponseError::Malformed)?;
    let response = OriginResponse {
        code,
        phrase: parsed.reason.unwrap_or_default(),
        version: Version::of_minor(minor),
        headers: parsed.headers,
        options: &options,
    };
    response.answer(asked)
}

/// A response as the origin server sent it.
struct OriginResponse<'h> {
    code: u16,
    phrase: &'h str,
    version: Version,
    headers: &'h [Header<'h>],
    options: &'h ConnectionOptions<'h>,
}

impl OriginResponse<'_> {
    fn answer(&self, asked: Asked) -> Result<ResponseHead, ResponseError> {
        let kind = self.kind(asked)?;
        let declared =
            Declared::parse(self.headers, self.version).map_err(ResponseError::Malformed)?;
        let content = if self.has_content(asked) {
            declared.of_response()
        } else {
            Content::NONE
        };
        let is_delimited = content != Content::UntilClose;
        let is_chunked = matches!(content, Content::Chunked(_));
        let is_unchunked = is_chunked && asked.version == Version::Http10;
        let persistence = Persistence::when(asked.is_persistent && is_delimited);
        let head = if kind == ResponseKind::Interim && asked.version == Version::Http10 {
            // RFC 9110 §15.2: HTTP/1.0 knows no interim responses.
            Bytes::new()
        } else {
            self.rewrite(kind, persistence, is_chunked && !is_unchunked)
        };
        Ok(ResponseHead {
            status: self.code,
            kind,
            head,
            content,
            is_unchunked,
            persistence,
            origin_persists: is_delimited && self.persists(),
        })
    }

    fn kind(&self, asked: Asked) -> Result<ResponseKind, ResponseError> {
        match self.code {
            101 if !asked.is_upgrade => Err(ResponseError::Malformed("101 without being asked")),
            101 if !self.is_websocket() => Err(ResponseError::Malformed("101 to no WebSocket")),
            101 => Ok(ResponseKind::Switched),
            100..=199 => Ok(ResponseKind::Interim),
            // The client would take it for ours, and ask its user for the proxy's password.
            407 => Err(ResponseError::Malformed("407 from an origin server")),
            200..=999 => Ok(ResponseKind::Final),
            _ => Err(ResponseError::Malformed("a status below 100")),
        }
    }

    /// RFC 9110 §7.8: the response names the protocol.
    fn is_websocket(&self) -> bool {
        self.options.has("upgrade")
            && members(self.headers, "upgrade").any(|name| name.eq_ignore_ascii_case(b"websocket"))
    }

    /// RFC 9112 §6.3, rule 1.
    fn has_content(&self, asked: Asked) -> bool {
        !asked.is_head && !self.is_never_content() && self.code != 304
    }

    /// Whether neither content nor its length can be there (RFC 9110 §8.6, RFC 9112 §6.1).
    fn is_never_content(&self) -> bool {
        self.code < 200 || self.code == 204
    }

    /// RFC 9112 §9.3.
    fn persists(&self) -> bool {
        match self.version {
            Version::Http11 => !self.options.has("close"),
            Version::Http10 => self.options.has("keep-alive") && !self.options.has("close"),
        }
    }

    /// The head that the client gets: the version is ours (RFC 9112 §2.3), headers for the origin's
    /// hop are gone, and new ones say what this hop does. Names, values and order stay.
    fn rewrite(&self, kind: ResponseKind, persistence: Persistence, is_chunked: bool) -> Bytes {
        const AROUND: usize = "HTTP/1.1 200 \r\nConnection: keep-alive\r\n\r\n".len();
        const HOP: usize = "Transfer-Encoding: chunked\r\nUpgrade: websocket\r\n".len();
        let room = AROUND + HOP + self.phrase.len() + lines_len(self.headers);
        let mut out = BytesMut::with_capacity(room);
        out.put_slice(b"HTTP/1.1 ");
        out.put_slice(&[self.code / 100, self.code / 10 % 10, self.code % 10].map(digit));
        out.put_u8(b' ');
        out.put_slice(self.phrase.as_bytes());
        out.put_slice(b"\r\n");
        for Header { name, value } in self.headers {
            if !self.is_dropped(name) {
                put_line(&mut out, name, value);
            }
        }
        if is_chunked {
            put_line(&mut out, "Transfer-Encoding", b"chunked");
        }
        match kind {
            ResponseKind::Interim => {}
            ResponseKind::Final => {
                put_line(&mut out, "Connection", persistence.option().as_bytes());
            }
            ResponseKind::Switched => {
                put_line(&mut out, "Connection", b"Upgrade");
                put_line(&mut out, "Upgrade", b"websocket");
            }
        }
        out.put_slice(b"\r\n");
        out.freeze()
    }

    /// Headers that do not go on. The last is the proxy's own: nobody else may speak for it.
    fn is_dropped(&self, name: &str) -> bool {
        self.options.is_for_this_hop(name)
            || (self.is_never_content() && name.eq_ignore_ascii_case("content-length"))
            || name.eq_ignore_ascii_case("x-titan-error")
    }
}

/// A decimal digit as it is written; a number above 9 cannot come from a three-digit status.
fn digit(number: u16) -> u8 {
    u8::try_from(number).map_or(b'0', |number| b'0' + number)
}

fn parse_error(error: httparse::Error) -> ResponseError {
    ResponseError::Malformed(match error {
        httparse::Error::TooManyHeaders => return ResponseError::TooLarge,
        httparse::Error::HeaderName => "a header's name is malformed, or a header is folded",
        httparse::Error::HeaderValue => "a header's value is malformed",
        httparse::Error::Version => "the version is neither HTTP/1.0 nor HTTP/1.1",
        _ => "the status line is malformed",
    })
}

/// Fuzz entry: in whatever pieces a response arrives the outcome is the same, and the head that
/// goes on says to any reader what we understood.
#[cfg(any(test, feature = "fuzzing"))]
pub fn fuzz_http_response(data: &[u8]) {
    let Some(([seed, flags], data)) = data.split_first_chunk() else {
        return;
    };
    let asked = Asked {
        version: Version::of_minor(flags & 1),
        is_head: flags & 2 != 0,
        is_persistent: flags & 4 != 0,
        is_upgrade: flags & 8 != 0,
    };
    let whole = read_all(asked, [data].into_iter());
    let pieces = read_all(asked, crate::fuzz::segments(data, *seed));
    assert_eq!(pieces, whole);
    for head in whole.heads {
        check_passed_on(&head, asked);
    }
}

/// What a response is read as: its heads, the bytes of its content, and how it ended.
#[cfg(any(test, feature = "fuzzing"))]
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    heads: Vec<ResponseHead>,
    content: usize,
    data: usize,
    is_complete: bool,
    error: Option<String>,
}

#[cfg(any(test, feature = "fuzzing"))]
fn read_all<'d>(asked: Asked, pieces: impl Iterator<Item = &'d [u8]>) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut reader, mut content) = (ResponseReader::new(asked), None);
    for piece in pieces {
        let read = read_piece(piece, &mut reader, &mut content, &mut outcome);
        if let Err(error) = read {
            // How far it came before depends on the pieces.
            (outcome.content, outcome.data) = (0, 0);
            outcome.error = Some(error);
            return outcome;
        }
    }
    outcome.is_complete = content.is_some_and(|content: Content| content.is_complete());
    outcome
}

#[cfg(any(test, feature = "fuzzing"))]
fn read_piece(
    piece: &[u8],
    reader: &mut ResponseReader,
    content: &mut Option<Content>,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let mut rest = Bytes::copy_from_slice(piece);
    while content.is_none() {
        let pushed = reader
            .push(&rest, true)
            .map_err(|error| error.to_string())?;
        let Some((head, behind)) = pushed else {
            return Ok(());
        };
        rest = behind;
        if head.kind != ResponseKind::Interim {
            *content = Some(head.content.clone());
        }
        outcome.heads.push(head);
    }
    let content = content.as_mut().expect("the loop has ended");
    while !rest.is_empty() && !content.is_complete() {
        let piece = content.advance(&rest).map_err(|error| error.to_string())?;
        outcome.content += piece.framing + piece.data;
        outcome.data += piece.data;
        rest = rest.split_off(piece.framing + piece.data);
    }
    Ok(())
}

/// Panics unless a head that goes to the client is one that every client reads alike.
#[cfg(any(test, feature = "fuzzing"))]
fn check_passed_on(passed: &ResponseHead, asked: Asked) {
    if passed.head.is_empty() {
        assert_eq!(
            (passed.kind, asked.version),
            (ResponseKind::Interim, Version::Http10)
        );
        return;
    }
    let mut headers = [httparse::EMPTY_HEADER; RESPONSE_MAX_HEADERS + 3];
    let mut parsed = Response::new(&mut headers);
    let end = parsed.parse(&passed.head);
    assert_eq!(end, Ok(Status::Complete(passed.head.len())));
    assert_eq!(
        (parsed.version, parsed.code),
        (Some(1), Some(passed.status))
    );
    let value = |name| -> Vec<&[u8]> { super::fields::values(parsed.headers, name).collect() };
    let expected: &[&[u8]] = match (passed.kind, passed.persistence) {
        (ResponseKind::Interim, _) => &[],
        (ResponseKind::Switched, _) => &[b"Upgrade"],
        (ResponseKind::Final, Persistence::KeepAlive) => &[b"keep-alive"],
        (ResponseKind::Final, Persistence::Close) => &[b"close"],
    };
    assert_eq!(value("connection"), expected);
    for gone in ["keep-alive", "proxy-authenticate", "te", "x-titan-error"] {
        assert!(value(gone).is_empty(), "{gone}");
    }
    if passed.kind == ResponseKind::Final && !asked.is_head && ![204, 304].contains(&passed.status)
    {
        let declared = Declared::parse(parsed.headers, Version::Http11).expect("sound");
        let as_sent = declared.of_response();
        let expected = match passed.content {
            Content::Chunked(_) if passed.is_unchunked => Content::UntilClose,
            ref content => content.clone(),
        };
        assert_eq!(as_sent, expected);
    }
}

#[cfg(test)]
mod tests;
