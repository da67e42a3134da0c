//! Turns a request in absolute form into what the origin server gets.

use bytes::{BufMut, Bytes, BytesMut};
use httparse::Header;

use super::{
    Asked, Content, HttpErrorKind, Version,
    content::Declared,
    fields::{ConnectionOptions, lines_len, members, put_line, values},
};
use crate::{addr::Target, limits::PROXY_MAX_METHOD};

/// A request to pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardRequest {
    /// Where to.
    pub target: Target,
    /// The head for the origin server.
    pub head: Bytes,
    /// The content that follows the head in the buffer and from the client.
    pub content: Content,
    /// What its response depends on.
    pub asked: Asked,
    /// Whether it may be sent again where nobody knows if it was received (RFC 9110 §9.2.2): the
    /// method is idempotent and there is no content, which by then would be gone.
    pub is_repeatable: bool,
}

/// A target in absolute form (RFC 9112 §3.2.2), taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AbsoluteUri<'u> {
    /// Host and maybe port, as the client wrote them.
    authority: &'u str,
    /// Path and query, as the client wrote them; maybe empty.
    path: &'u str,
}

impl<'u> AbsoluteUri<'u> {
    /// Takes `http://authority/path?query` apart.
    pub(super) fn parse(text: &'u str) -> Result<Self, HttpErrorKind> {
        let (scheme, rest) = text.split_once("://").ok_or(HttpErrorKind::NotForAProxy)?;
        if !is_scheme(scheme) {
            return Err(HttpErrorKind::NotForAProxy);
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(HttpErrorKind::Unsupported(
                "only http:// requests are forwarded: use CONNECT for anything else",
            ));
        }
        if rest.bytes().any(|b| !b.is_ascii_graphic() || b == b'#') {
            return Err(HttpErrorKind::Malformed(
                "the URI has a fragment or is not ASCII",
            ));
        }
        let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        Ok(Self { authority, path })
    }

    /// Where the request goes; port 80 unless another is given.
    pub(super) fn target(&self) -> Result<Target, HttpErrorKind> {
        Ok(Target::parse_authority_or(self.authority, HTTP_PORT)?)
    }

    /// Writes the target in origin form (RFC 9112 §3.2.1), or `*` for OPTIONS about the server as a
    /// whole (§3.2.4).
    fn write_origin_form(&self, method: &str, out: &mut BytesMut) {
        if self.path.is_empty() && method == "OPTIONS" {
            out.put_u8(b'*');
        } else {
            if !self.path.starts_with('/') {
                out.put_u8(b'/');
            }
            out.put_slice(self.path.as_bytes());
        }
    }
}

/// A request as its client sent it.
pub(super) struct ClientRequest<'h> {
    pub(super) method: &'h str,
    /// In absolute form (RFC 9112 §3.2.2).
    pub(super) target: &'h str,
    pub(super) version: Version,
    pub(super) headers: &'h [Header<'h>],
    pub(super) options: &'h ConnectionOptions<'h>,
}

impl ClientRequest<'_> {
    /// Makes of it what the origin server gets.
    pub(super) fn forward(&self, asked: Asked) -> Result<ForwardRequest, HttpErrorKind> {
        let uri = AbsoluteUri::parse(self.target)?;
        self.check_method()?;
        self.check_host()?;
        let declared =
            Declared::parse(self.headers, self.version).map_err(HttpErrorKind::Malformed)?;
        let content = declared.of_request();
        let is_upgrade = self.is_websocket() && content.is_complete();
        let asked = Asked {
            is_upgrade,
            ..asked
        };
        Ok(ForwardRequest {
            target: uri.target()?,
            head: self.rewrite(&uri, declared, asked),
            is_repeatable: IDEMPOTENT.contains(&self.method) && content.is_complete(),
            content,
            asked,
        })
    }

    fn check_method(&self) -> Result<(), HttpErrorKind> {
        let unsupported = if self.method.len() > PROXY_MAX_METHOD {
            "the method is too long to be one"
        } else if self.method == "TRACE" {
            // It has the origin send the request's headers back, cookies and all.
            "TRACE is not served"
        } else if self.method == "OPTIONS" && self.has("max-forwards") {
            // RFC 9110 §7.6.2 would have us count it down, and by that show ourselves.
            "Max-Forwards is not served"
        } else {
            return Ok(());
        };
        Err(HttpErrorKind::Unsupported(unsupported))
    }

    /// RFC 9112 §3.2: exactly one in HTTP/1.1, at most one in HTTP/1.0, and a valid one. An empty
    /// one stands for a URI without a host, which an origin server replaces by its own.
    fn check_host(&self) -> Result<(), HttpErrorKind> {
        let mut hosts = values(self.headers, "host");
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(HttpErrorKind::Malformed("more than one Host"));
        }
        match host {
            None if self.version == Version::Http11 => {
                Err(HttpErrorKind::Malformed("HTTP/1.1 without a Host"))
            }
            None | Some(b"") => Ok(()),
            Some(host) if Target::parse_authority_or(host, HTTP_PORT).is_ok() => Ok(()),
            Some(_) => Err(HttpErrorKind::Malformed("Host is not a host")),
        }
    }

    /// Whether the client wants to speak WebSocket (RFC 6455 §4.1). No other protocol is upgraded
    /// to: a proxy that does not know where its messages end cannot tell what follows.
    fn is_websocket(&self) -> bool {
        self.method == "GET"
            && self.version == Version::Http11
            && self.options.has("upgrade")
            && members(self.headers, "upgrade").any(|name| name.eq_ignore_ascii_case(b"websocket"))
    }

    /// The head that the origin server gets.
    ///
    /// Names, values and their order stay as the client sent them, so that its request looks like
    /// nobody else's. What differs: the target is in origin form, `Host` is the authority of the
    /// URI whatever the client wrote there (RFC 9112 §3.2.2), the version is ours (§2.3), headers
    /// for this hop alone are gone, and new ones say what this hop does.
    fn rewrite(&self, uri: &AbsoluteUri<'_>, declared: Declared, asked: Asked) -> Bytes {
        let mut out = BytesMut::with_capacity(self.capacity(uri));
        out.put_slice(self.method.as_bytes());
        out.put_u8(b' ');
        uri.write_origin_form(self.method, &mut out);
        out.put_slice(b" HTTP/1.1\r\n");
        if !self.has("host") {
            put_line(&mut out, "Host", uri.authority.as_bytes());
        }
        for Header { name, value } in self.headers {
            if name.eq_ignore_ascii_case("host") {
                put_line(&mut out, name, uri.authority.as_bytes());
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                debug_assert_eq!(declared, Declared::Chunked);
                put_line(&mut out, name, b"chunked");
            } else if !self.is_dropped(name) {
                put_line(&mut out, name, value);
            }
        }
        out.put_slice(match asked {
            Asked {
                is_upgrade: true, ..
            } => UPGRADE,
            Asked {
                is_persistent: false,
                ..
            } => CLOSE,
            _ => b"",
        });
        out.put_slice(b"\r\n");
        out.freeze()
    }

    /// Headers that do not go on. `Expect` of an HTTP/1.0 client must be ignored (RFC 9110
    /// §10.1.1); any other goes on to the origin, whose 100 (Continue) comes back.
    fn is_dropped(&self, name: &str) -> bool {
        self.options.is_for_this_hop(name)
            || (self.version == Version::Http10 && name.eq_ignore_ascii_case("expect"))
    }

    fn has(&self, name: &str) -> bool {
        values(self.headers, name).next().is_some()
    }

    /// Room for the rewritten head, so that it is written without growing: the lines of the old
    /// one, the authority once more for `Host`, and the lines of this hop.
    fn capacity(&self, uri: &AbsoluteUri<'_>) -> usize {
        const AROUND: usize = " / HTTP/1.1\r\nHost: \r\n\r\n".len();
        let start = self.method.len() + uri.path.len() + uri.authority.len();
        AROUND + start + lines_len(self.headers) + UPGRADE.len()
    }
}

/// The port of the http scheme (RFC 9110 §4.2.1).
const HTTP_PORT: u16 = 80;

/// The methods that RFC 9110 §9.2.2 says are idempotent, but for TRACE.
const IDEMPOTENT: &[&str] = &["GET", "HEAD", "OPTIONS", "PUT", "DELETE"];

/// Says that the client's last request is the last one here too.
const CLOSE: &[u8] = b"Connection: close\r\n";

/// Asks for WebSocket.
const UPGRADE: &[u8] = b"Connection: Upgrade\r\nUpgrade: websocket\r\n";

/// RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}
