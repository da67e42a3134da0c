//! The 8-byte header in front of every frame of `titan.v1`.

use super::{SessionId, Violation};

/// What a frame says. The numbers are the wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// First frame of each end: version, window, limits.
    Hello = 1,
    /// PoP → edge: open a session to a target.
    Open = 2,
    /// Edge → PoP: the target is connected.
    Opened = 3,
    /// Bytes of one session.
    Data = 4,
    /// This direction of the session has ended (half-close).
    Fin = 5,
    /// The session is over, with a reason.
    Reset = 6,
    /// That many more bytes may be sent in this session.
    Credit = 7,
    /// One datagram of a UDP session; not sent unless both ends have the capability.
    Datagram = 8,
    /// Reserved for the upload test; not sent unless a capability says so.
    Probe = 9,
    /// Open no more sessions here, come back elsewhere.
    GoAway = 10,
}

impl FrameKind {
    fn from_wire(raw: u8) -> Option<Self> {
        Some(match raw {
            1 => Self::Hello,
            2 => Self::Open,
            3 => Self::Opened,
            4 => Self::Data,
            5 => Self::Fin,
            6 => Self::Reset,
            7 => Self::Credit,
            8 => Self::Datagram,
            9 => Self::Probe,
            10 => Self::GoAway,
            _ => return None,
        })
    }

    /// Whether the frame concerns the tunnel rather than one session.
    fn is_for_tunnel(self) -> bool {
        matches!(self, Self::Hello | Self::GoAway | Self::Probe)
    }
}

/// A frame's header. The payload is the rest of the WebSocket message.
///
/// ```text
///  0        1        2                 4                                 8
/// +--------+--------+-----------------+---------------------------------+
/// |  type  | flags  |    reserved     |      session (big-endian)       |
/// +--------+--------+-----------------+---------------------------------+
/// ```
///
/// `flags` and `reserved` are sent as zero and ignored on receipt, which leaves them to later
/// versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame says.
    pub kind: FrameKind,
    /// The session it concerns; `None` for frames that concern the tunnel.
    pub session: Option<SessionId>,
}

impl FrameHeader {
    /// Bytes of an encoded header.
    pub const LEN: usize = 8;

    pub(super) fn tunnel(kind: FrameKind) -> Self {
        Self {
            kind,
            session: None,
        }
    }

    pub(super) fn session(kind: FrameKind, id: SessionId) -> Self {
        Self {
            kind,
            session: Some(id),
        }
    }

    /// The header as it travels.
    pub fn encode(self) -> [u8; Self::LEN] {
        let [a, b, c, d] = self.session.map_or(0, SessionId::to_wire).to_be_bytes();
        [self.kind as u8, 0, 0, 0, a, b, c, d]
    }

    /// Reads a header.
    ///
    /// # Errors
    /// An unknown type, or a session where the type has none and the other way round.
    pub fn decode(bytes: [u8; Self::LEN]) -> Result<Self, Violation> {
        let [kind, _, _, _, a, b, c, d] = bytes;
        let kind = FrameKind::from_wire(kind).ok_or(Violation::UnknownFrame(kind))?;
        let session = SessionId::from_wire(u32::from_be_bytes([a, b, c, d]));
        if session.is_none() != kind.is_for_tunnel() {
            return Err(Violation::WrongSession(kind));
        }
        Ok(Self { kind, session })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_wire() {
        for raw in 1..=10 {
            let kind = FrameKind::from_wire(raw).expect("known");
            let session = (!kind.is_for_tunnel()).then(|| SessionId::new(3, 7).expect("valid"));
            let header = FrameHeader { kind, session };
            assert_eq!(FrameHeader::decode(header.encode()), Ok(header));
        }
    }

    #[test]
    fn a_data_frame_looks_like_this() {
        let id = SessionId::new(0x0203, 0x0405).expect("valid");
        let header = FrameHeader::session(FrameKind::Data, id);
        assert_eq!(header.encode(), [4, 0, 0, 0, 4, 5, 2, 3]);
    }

    #[test]
    fn flags_and_reserved_are_left_to_later_versions() {
        let decoded = FrameHeader::decode([4, 0xff, 0xff, 0xff, 0, 1, 0, 0]).expect("valid");
        assert_eq!(decoded.kind, FrameKind::Data);
    }

    #[test]
    fn unknown_types_and_misplaced_sessions_are_violations() {
        assert_eq!(FrameHeader::decode([0; 8]), Err(Violation::UnknownFrame(0)));
        assert_eq!(
            FrameHeader::decode([4, 0, 0, 0, 0, 0, 0, 0]),
            Err(Violation::WrongSession(FrameKind::Data))
        );
        assert_eq!(
            FrameHeader::decode([1, 0, 0, 0, 0, 1, 0, 0]),
            Err(Violation::WrongSession(FrameKind::Hello))
        );
    }
}
