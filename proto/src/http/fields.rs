//! Header fields, and which of them are for one hop alone.

use bytes::{BufMut, BytesMut};
use httparse::Header;

/// The values of every header line with this name.
pub(super) fn values<'h>(headers: &'h [Header<'h>], name: &str) -> impl Iterator<Item = &'h [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

/// The members of a comma-separated list (RFC 9110 §5.6.1) that may be spread over several lines.
pub(super) fn members<'h>(headers: &'h [Header<'h>], name: &str) -> impl Iterator<Item = &'h [u8]> {
    values(headers, name)
        .flat_map(|value| value.split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// The options in a message's `Connection` headers (RFC 9110 §7.6.1).
pub(super) struct ConnectionOptions<'h>(Vec<&'h [u8]>);

impl<'h> ConnectionOptions<'h> {
    /// Reads them; no more than `max`, as many as there can be headers: each costs a look at every
    /// header.
    pub(super) fn parse(headers: &'h [Header<'h>], max: usize) -> Result<Self, &'static str> {
        let options: Vec<_> = members(headers, "connection").take(max + 1).collect();
        if options.len() > max {
            return Err("Connection names more headers than there can be");
        }
        Ok(Self(options))
    }

    /// Whether `option` is among them.
    pub(super) fn has(&self, option: &str) -> bool {
        self.0
            .iter()
            .any(|other| other.eq_ignore_ascii_case(option.as_bytes()))
    }

    /// Whether a header concerns one connection and not the message.
    pub(super) fn is_for_this_hop(&self, name: &str) -> bool {
        is_listed(name, HOP_BY_HOP) || (self.has(name) && !is_listed(name, ALWAYS_KEPT))
    }
}

/// Whether a trailer field must not be there: it would frame or route the message it ends, or is
/// for one hop alone (RFC 9110 §6.5.1). A recipient that merges trailers into the head would read
/// another message than everybody else.
pub(super) fn is_forbidden_trailer(name: &str) -> bool {
    is_listed(name, HOP_BY_HOP) || is_listed(name, ALWAYS_KEPT)
}

/// Appends a header line.
pub(super) fn put_line(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Bytes of the lines of `headers`.
pub(super) fn lines_len(headers: &[Header<'_>]) -> usize {
    const PER_LINE: usize = ": \r\n".len();
    headers
        .iter()
        .map(|header| header.name.len() + header.value.len() + PER_LINE)
        .sum()
}

fn is_listed(name: &str, list: &[&str]) -> bool {
    list.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Headers that concern one connection and not the message (RFC 9110 §7.6.1), those of proxy
/// authentication (§11.7), and the never standardised `Proxy-Connection`. `Trailer` is none of
/// them: trailers are passed on.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Headers that `Connection` may name without effect: to drop the length would make content look
/// like a second message, and `Host` is ours.
const ALWAYS_KEPT: &[&str] = &["content-length", "host"];

/// Bytes of the longest name in the lists above.
pub(super) const LONGEST_FORBIDDEN_TRAILER: usize = "proxy-authentication-info".len();
