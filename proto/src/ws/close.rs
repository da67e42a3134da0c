//! Close codes and the payload of close frames (RFC 6455 §5.5.1, §7.4).

use std::{fmt, str};

use bytes::{BufMut, BytesMut};

use super::{Error, MAX_CONTROL_PAYLOAD};

/// A close code that may appear in a close frame (§7.4).
///
/// The codes 1005, 1006 and 1015 mean "there was no code" to a local API and never occur here; so
/// do the ranges that nobody has given a meaning to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection has been fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the endpoint goes away, such as a server that shuts down.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data that this endpoint does not accept, such as text where it wants binary.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1007: the data does not agree with its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: the peer violated a policy, and no other code says it better.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message is too big to process.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the client expected an extension that the server did not negotiate.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: the server met a condition that keeps it from going on.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts (IANA registry).
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the service is overloaded; connect elsewhere or later (IANA registry).
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got an invalid answer from the server behind it (IANA registry).
    pub const BAD_GATEWAY: Self = Self(1014);

    /// The code `value`, unless it may not appear in a close frame.
    ///
    /// Allowed are the registered 1000–1003 and 1007–1014, and the ranges for libraries (3000–3999)
    /// and for private use (4000–4999).
    pub const fn new(value: u16) -> Option<Self> {
        match value {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(value)),
            _ => None,
        }
    }

    /// The code as a number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Longest reason in a close frame in bytes: a control frame's payload less the code.
pub const MAX_REASON: usize = MAX_CONTROL_PAYLOAD - 2;

/// Builds the payload of a close frame. A reason longer than [`MAX_REASON`] is cut between
/// characters.
pub fn encode(code: CloseCode, reason: &str) -> BytesMut {
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
    let mut payload = BytesMut::with_capacity(2 + reason.len());
    payload.put_u16(code.get());
    payload.put_slice(reason.as_bytes());
    payload
}

/// Parses the payload of a close frame; an empty one carries neither code nor reason.
///
/// # Errors
///
/// [`Error::CloseCodeTruncated`], [`Error::InvalidCloseCode`] or [`Error::CloseReasonNotUtf8`].
pub fn parse(payload: &[u8]) -> Result<Option<(CloseCode, String)>, Error> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Error::CloseCodeTruncated)
        };
    };
    let code = u16::from_be_bytes(*code);
    let code = CloseCode::new(code).ok_or(Error::InvalidCloseCode(code))?;
    let reason = str::from_utf8(reason).map_err(|_| Error::CloseReasonNotUtf8)?;
    Ok(Some((code, reason.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_not_be_sent_are_refused() {
        for code in [
            0,
            999,
            1004,
            1005,
            1006,
            1015,
            1016,
            1100,
            2000,
            2999,
            5000,
            u16::MAX,
        ] {
            assert_eq!(CloseCode::new(code), None);
            assert_eq!(
                parse(&code.to_be_bytes()),
                Err(Error::InvalidCloseCode(code))
            );
        }
        for code in [
            1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999,
        ] {
            let parsed = CloseCode::new(code).expect("may be sent");
            assert_eq!(
                parse(&code.to_be_bytes()),
                Ok(Some((parsed, String::new())))
            );
        }
    }

    #[test]
    fn a_payload_survives_its_wire_form() {
        let payload = encode(CloseCode::NORMAL, "Grüße");
        assert_eq!(
            parse(&payload),
            Ok(Some((CloseCode::NORMAL, "Grüße".into())))
        );
        assert_eq!(parse(&[]), Ok(None));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let payload = encode(CloseCode::NORMAL, &"ü".repeat(100));
        assert_eq!(payload.len(), MAX_CONTROL_PAYLOAD - 1);
        assert_eq!(
            parse(&payload),
            Ok(Some((CloseCode::NORMAL, "ü".repeat(61))))
        );
    }

    #[test]
    fn malformed_payloads_are_refused() {
        assert_eq!(parse(&[3]), Err(Error::CloseCodeTruncated));
        assert_eq!(parse(&[3, 232, 0xff]), Err(Error::CloseReasonNotUtf8));
        assert_eq!(parse(&[3, 232, 0xe2, 0x82]), Err(Error::CloseReasonNotUtf8));
    }
}
