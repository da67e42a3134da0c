//! Payloads of OPEN, OPENED and RESET.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::{Buf, BufMut, BytesMut};

use super::Violation;
use crate::{addr::Target, limits::MAX_RESET_TEXT, reason::Reason};

/// What a session carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SessionKind {
    /// A TCP connection to the target.
    Tcp = 1,
    /// A UDP association.
    Udp = 2,
}

/// Payload of OPEN: kind, target, options.
///
/// ```text
///  0        1                      n
/// +--------+----------------------+------------------------------------+
/// |  kind  | target as in SOCKS5  | options: (type u8, length u8, …)*  |
/// +--------+----------------------+------------------------------------+
/// ```
///
/// No option is defined in version 1. Unknown ones are skipped, so that a newer PoP can say more to
/// an older edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRequest {
    /// What the session carries.
    pub kind: SessionKind,
    /// Where to; names are resolved by the edge. Means nothing in a UDP session.
    pub target: Target,
}

impl OpenRequest {
    /// A TCP session to `target`.
    pub fn tcp(target: Target) -> Self {
        Self {
            kind: SessionKind::Tcp,
            target,
        }
    }

    /// A UDP session. Every datagram has its own target; that of the session is zeros.
    pub fn udp() -> Self {
        Self {
            kind: SessionKind::Udp,
            target: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into(),
        }
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.kind as u8);
        self.target.encode(out);
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Violation> {
        const MALFORMED: Violation = Violation::Malformed("OPEN");
        let (&kind, rest) = payload.split_first().ok_or(MALFORMED)?;
        let kind = match kind {
            1 => SessionKind::Tcp,
            2 => SessionKind::Udp,
            _ => return Err(MALFORMED),
        };
        let (target, used) = Target::decode(rest)
            .map_err(|_| MALFORMED)?
            .ok_or(MALFORMED)?;
        skip_options(rest.get(used..).unwrap_or_default()).ok_or(MALFORMED)?;
        Ok(Self { kind, target })
    }
}

/// Walks over `(type, length, value)` triples; `None` where one is cut short.
fn skip_options(mut options: &[u8]) -> Option<()> {
    while let [_kind, len, rest @ ..] = options {
        options = rest.get(usize::from(*len)..)?;
    }
    options.is_empty().then_some(())
}

/// Encodes the payload of OPENED: family (1 or 4, as SOCKS5 numbers them), address, port.
pub(super) fn encode_bound(bound: SocketAddr, out: &mut BytesMut) {
    match bound.ip() {
        IpAddr::V4(ip) => {
            out.put_u8(1);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_u8(4);
            out.put_slice(&ip.octets());
        }
    }
    out.put_u16(bound.port());
}

/// Decodes the payload of OPENED.
pub(super) fn decode_bound(mut payload: &[u8]) -> Result<SocketAddr, Violation> {
    const MALFORMED: Violation = Violation::Malformed("OPENED");
    let family = payload.try_get_u8().map_err(|_| MALFORMED)?;
    let ip = match family {
        1 => IpAddr::from(payload.try_get_u32().map_err(|_| MALFORMED)?.to_be_bytes()),
        4 => IpAddr::from(payload.try_get_u128().map_err(|_| MALFORMED)?.to_be_bytes()),
        _ => return Err(MALFORMED),
    };
    let port = payload.try_get_u16().map_err(|_| MALFORMED)?;
    if payload.is_empty() {
        Ok(SocketAddr::new(ip, port))
    } else {
        Err(MALFORMED)
    }
}

/// Why a session ended before both directions had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// The reason, as both ends and the proxy client know it.
    pub reason: Reason,
    /// More for a person's eyes, at most [`MAX_RESET_TEXT`] bytes; may be empty.
    pub text: String,
}

impl Reset {
    /// A reset without further text.
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            text: String::new(),
        }
    }

    /// Encodes `reason` and as much of `text` as may travel.
    pub(super) fn encode(reason: Reason, text: &str, out: &mut BytesMut) {
        out.put_u8(reason.code());
        out.put_slice(&text.as_bytes()[..text.floor_char_boundary(MAX_RESET_TEXT)]);
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Violation> {
        let (&code, text) = payload.split_first().ok_or(Violation::Malformed("RESET"))?;
        let text = &text[..text.len().min(MAX_RESET_TEXT)];
        Ok(Self {
            reason: Reason::from_code(code),
            text: String::from_utf8_lossy(text).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        Target::parse_authority(text.as_bytes()).expect("valid")
    }

    #[test]
    fn open_survives_the_wire_and_skips_options() {
        for text in ["example.com:443", "192.0.2.1:80", "[2001:db8::1]:8080"] {
            let request = OpenRequest::tcp(target(text));
            let mut bytes = BytesMut::new();
            request.encode(&mut bytes);
            assert_eq!(OpenRequest::decode(&bytes), Ok(request.clone()));
            bytes.put_slice(&[77, 2, 0, 0, 78, 0]);
            assert_eq!(OpenRequest::decode(&bytes), Ok(request));
            bytes.put_slice(&[79, 1]);
            assert_eq!(
                OpenRequest::decode(&bytes),
                Err(Violation::Malformed("OPEN"))
            );
        }
    }

    #[test]
    fn a_cut_open_is_a_violation_at_every_length() {
        let mut bytes = BytesMut::new();
        OpenRequest::tcp(target("example.com:443")).encode(&mut bytes);
        for len in 0..bytes.len() {
            assert_eq!(
                OpenRequest::decode(&bytes[..len]),
                Err(Violation::Malformed("OPEN"))
            );
        }
    }

    #[test]
    fn opened_survives_the_wire_and_is_exact() {
        for bound in ["192.0.2.1:80", "[2001:db8::1]:0"] {
            let bound: SocketAddr = bound.parse().expect("valid");
            let mut bytes = BytesMut::new();
            encode_bound(bound, &mut bytes);
            assert_eq!(decode_bound(&bytes), Ok(bound));
            bytes.put_u8(0);
            assert!(decode_bound(&bytes).is_err());
            for len in 0..bytes.len() - 1 {
                assert!(decode_bound(&bytes[..len]).is_err());
            }
        }
    }

    #[test]
    fn reset_text_is_cut_at_a_character() {
        let text = "é".repeat(MAX_RESET_TEXT);
        let mut bytes = BytesMut::new();
        Reset::encode(Reason::TimedOut, &format!("x{text}"), &mut bytes);
        let reset = Reset::decode(&bytes).expect("valid");
        assert_eq!(reset.reason, Reason::TimedOut);
        assert_eq!(reset.text.len(), MAX_RESET_TEXT - 1);
        assert!(Reset::decode(&[]).is_err());
    }
}
