//! HELLO: what each end tells the other before anything else.

use bytes::{Buf, BufMut};

use super::{Settings, Violation};
use crate::limits::{MAX_WINDOW, MIN_MAX_FRAME, MIN_WINDOW};

/// The version of the protocol this crate speaks.
pub(super) const VERSION: u8 = 1;

/// The limits the sender of a HELLO imposes on its peer.
///
/// ```text
///  0         1               4              8              12             16             20
/// +---------+---------------+--------------+--------------+--------------+--------------+
/// | version |   reserved    | capabilities | init. window |  max frame   | max sessions |
/// +---------+---------------+--------------+--------------+--------------+--------------+
/// ```
///
/// Bytes behind these are ignored: a later version may say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Bits for what a peer need not know, as [`DATAGRAMS`](Self::DATAGRAMS); unknown ones are
    /// ignored.
    pub capabilities: u32,
    /// Bytes the peer may send in each new session.
    pub initial_window: u32,
    /// Longest DATA payload the peer may send in one frame.
    pub max_frame: u32,
    /// Most sessions the peer may have open at once.
    pub max_sessions: u32,
}

impl Hello {
    /// Capability: UDP sessions and DATAGRAM frames.
    pub const DATAGRAMS: u32 = 1;

    const LEN: usize = 20;

    pub(super) fn from_settings(settings: &Settings) -> Self {
        Self {
            capabilities: if settings.datagrams {
                Self::DATAGRAMS
            } else {
                0
            },
            initial_window: settings.initial_window,
            max_frame: settings.max_frame,
            max_sessions: settings.max_sessions,
        }
    }

    pub(super) fn encode(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        let mut rest = &mut out[..];
        rest.put_u8(VERSION);
        rest.put_bytes(0, 3);
        rest.put_u32(self.capabilities);
        rest.put_u32(self.initial_window);
        rest.put_u32(self.max_frame);
        rest.put_u32(self.max_sessions);
        out
    }

    pub(super) fn decode(mut payload: &[u8]) -> Result<Self, Violation> {
        if payload.len() < Self::LEN {
            return Err(Violation::Malformed("HELLO"));
        }
        let version = payload.get_u8();
        if version != VERSION {
            return Err(Violation::Version(version));
        }
        payload.advance(3);
        let hello = Self {
            capabilities: payload.get_u32(),
            initial_window: payload.get_u32(),
            max_frame: payload.get_u32(),
            max_sessions: payload.get_u32(),
        };
        let sound = (MIN_WINDOW..=MAX_WINDOW).contains(&hello.initial_window)
            && hello.max_frame >= MIN_MAX_FRAME
            && hello.max_sessions > 0;
        if sound {
            Ok(hello)
        } else {
            Err(Violation::Malformed("HELLO"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_survives_the_wire_and_may_grow() {
        let hello = Hello::from_settings(&Settings::default());
        let mut bytes = hello.encode().to_vec();
        assert_eq!(Hello::decode(&bytes), Ok(hello));
        bytes.push(9);
        assert_eq!(Hello::decode(&bytes), Ok(hello));
        assert_eq!(
            Hello::decode(&bytes[..19]),
            Err(Violation::Malformed("HELLO"))
        );
    }

    #[test]
    fn another_version_or_a_useless_limit_is_a_violation() {
        let hello = Hello::from_settings(&Settings::default());
        let mut bytes = hello.encode();
        bytes[0] = 2;
        assert_eq!(Hello::decode(&bytes), Err(Violation::Version(2)));
        for bad in [
            Hello {
                initial_window: MIN_WINDOW - 1,
                ..hello
            },
            Hello {
                initial_window: MAX_WINDOW + 1,
                ..hello
            },
            Hello {
                max_frame: MIN_MAX_FRAME - 1,
                ..hello
            },
            Hello {
                max_sessions: 0,
                ..hello
            },
        ] {
            assert_eq!(
                Hello::decode(&bad.encode()),
                Err(Violation::Malformed("HELLO"))
            );
        }
    }
}
