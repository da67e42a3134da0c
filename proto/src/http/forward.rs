//! Turns a request in absolute form into what the origin server gets.

use bytes::{BufMut, Bytes, BytesMut};
use httparse::Header;

use super::{HttpErrorKind, Version, values};
use crate::{addr::Target, limits::PROXY_MAX_HEADERS};

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

/// The head that the origin server gets.
///
/// Names, values and their order stay as the client sent them, so that its request looks like
/// nobody else's. What differs: the target is in origin form, `Host` is the authority of the URI
/// whatever the client wrote there (RFC 9112 §3.2.2), headers for this hop alone are gone, and
/// `Connection: close` says that no other request follows. `Expect: 100-continue` stays: the
/// origin's 100 (Continue) comes back with the rest of its answer.
pub(super) fn rewrite(
    method: &str,
    uri: &AbsoluteUri<'_>,
    version: Version,
    headers: &[Header<'_>],
) -> Result<Bytes, HttpErrorKind> {
    check_host(headers, version)?;
    if method == "OPTIONS" && values(headers, "max-forwards").next().is_some() {
        // RFC 9110 §7.6.2 would have us count it down, and by that show ourselves.
        return Err(HttpErrorKind::Unsupported("Max-Forwards is not served"));
    }
    let options = connection_options(headers)?;
    let mut out = BytesMut::with_capacity(capacity(method, uri, headers));
    out.put_slice(method.as_bytes());
    out.put_u8(b' ');
    uri.write_origin_form(method, &mut out);
    out.put_slice(if version == Version::Http10 {
        b" HTTP/1.0\r\n"
    } else {
        b" HTTP/1.1\r\n"
    });
    if values(headers, "host").next().is_none() {
        put_line(&mut out, "Host", uri.authority.as_bytes());
    }
    for Header { name, value } in headers {
        if name.eq_ignore_ascii_case("host") {
            put_line(&mut out, name, uri.authority.as_bytes());
        } else if !is_for_this_hop(name, &options) {
            put_line(&mut out, name, value);
        }
    }
    out.put_slice(CLOSE_AND_END);
    Ok(out.freeze())
}

/// The port of the http scheme (RFC 9110 §4.2.1).
const HTTP_PORT: u16 = 80;

/// The last header of a rewritten head and the empty line.
const CLOSE_AND_END: &[u8] = b"Connection: close\r\n\r\n";

/// Headers that concern one connection and not the request (RFC 9110 §7.6.1), those of proxy
/// authentication (§11.7), and the never standardised `Proxy-Connection`.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that `Connection` may name without effect: to drop the length would make content look
/// like a second request, and `Host` is ours.
const ALWAYS_KEPT: &[&str] = &["content-length", "host"];

fn is_for_this_hop(name: &str, options: &[&[u8]]) -> bool {
    let listed = |list: &[&str]| list.iter().any(|other| name.eq_ignore_ascii_case(other));
    let named = options
        .iter()
        .any(|option| option.eq_ignore_ascii_case(name.as_bytes()));
    listed(HOP_BY_HOP) || (named && !listed(ALWAYS_KEPT))
}

/// The names in `Connection` headers.
fn connection_options<'h>(headers: &'h [Header<'h>]) -> Result<Vec<&'h [u8]>, HttpErrorKind> {
    let options: Vec<_> = values(headers, "connection")
        .flat_map(|value| value.split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.is_empty())
        .take(PROXY_MAX_HEADERS + 1)
        .collect();
    if options.len() > PROXY_MAX_HEADERS {
        return Err(HttpErrorKind::Malformed(
            "Connection names more headers than there can be",
        ));
    }
    Ok(options)
}

/// RFC 9112 §3.2: exactly one in HTTP/1.1, at most one in HTTP/1.0, and a valid one. An empty one
/// stands for a URI without a host, which an origin server replaces by its own.
fn check_host(headers: &[Header<'_>], version: Version) -> Result<(), HttpErrorKind> {
    let mut hosts = values(headers, "host");
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(HttpErrorKind::Malformed("more than one Host"));
    }
    match host {
        None if version == Version::Http11 => {
            Err(HttpErrorKind::Malformed("HTTP/1.1 without a Host"))
        }
        None | Some(b"") => Ok(()),
        Some(host) if Target::parse_authority_or(host, HTTP_PORT).is_ok() => Ok(()),
        Some(_) => Err(HttpErrorKind::Malformed("Host is not a host")),
    }
}

/// RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn put_line(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Room for the rewritten head, so that it is written without growing: the lines of the old one,
/// and the authority once more for `Host`.
fn capacity(method: &str, uri: &AbsoluteUri<'_>, headers: &[Header<'_>]) -> usize {
    const REQUEST_LINE: usize = " / HTTP/1.1\r\n".len();
    const HOST_LINE: usize = "Host: \r\n".len();
    const PER_LINE: usize = ": \r\n".len();
    let lines: usize = headers
        .iter()
        .map(|h| h.name.len() + h.value.len() + PER_LINE)
        .sum();
    let start = method.len() + uri.path.len() + REQUEST_LINE;
    start + HOST_LINE + uri.authority.len() + lines + CLOSE_AND_END.len()
}
