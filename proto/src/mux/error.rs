//! What ends a tunnel, and what a command may answer.

use super::FrameKind;
use crate::ws::{self, CloseCode};

/// A breach of `titan.v1` or of WebSocket by the peer. It ends the tunnel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The WebSocket layer was breached.
    #[error(transparent)]
    WebSocket(#[from] ws::Error),
    /// A text message; `titan.v1` is binary.
    #[error("text message")]
    TextMessage,
    /// A frame type this version does not know or did not agree to.
    #[error("frame of unknown type {0}")]
    UnknownFrame(u8),
    /// A session where the frame's type has none, or none where it needs one.
    #[error("{0:?} frame with the wrong session field")]
    WrongSession(FrameKind),
    /// A payload that is cut short, too long or out of bounds.
    #[error("malformed {0} frame")]
    Malformed(&'static str),
    /// A version we do not speak.
    #[error("protocol version {0}")]
    Version(u8),
    /// A frame before HELLO, or a second HELLO.
    #[error("{0:?} frame at the wrong time")]
    OutOfOrder(FrameKind),
    /// A frame that only the other side may send.
    #[error("{0:?} frame from the wrong side")]
    WrongSide(FrameKind),
    /// More bytes than were granted.
    #[error("more bytes than granted")]
    CreditExceeded,
    /// A grant of zero, or above the maximum.
    #[error("credit out of bounds")]
    BadCredit,
    /// A frame longer than we announced to take.
    #[error("DATA frame longer than announced")]
    FrameTooLong,
    /// The peer makes us answer faster than it reads the answers.
    #[error("answers are not being read")]
    AnswersUnread,
    /// More frames that bring nothing on than an honest peer sends.
    #[error("a flood of frames that bring nothing on")]
    Flood,
}

impl Violation {
    /// The WebSocket close code (RFC 6455 §7.4.1) that tells the peer.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::WebSocket(error) => error.close_code(),
            Self::TextMessage => CloseCode::UNSUPPORTED_DATA,
            Self::CreditExceeded | Self::BadCredit | Self::AnswersUnread | Self::Flood => {
                CloseCode::POLICY_VIOLATION
            }
            Self::FrameTooLong => CloseCode::MESSAGE_TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// The breach as a metrics label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::WebSocket(_) => "websocket",
            Self::TextMessage => "text_message",
            Self::UnknownFrame(_) => "unknown_frame",
            Self::WrongSession(_) => "wrong_session",
            Self::Malformed(_) => "malformed",
            Self::Version(_) => "version",
            Self::OutOfOrder(_) => "out_of_order",
            Self::WrongSide(_) => "wrong_side",
            Self::CreditExceeded => "credit_exceeded",
            Self::BadCredit => "bad_credit",
            Self::FrameTooLong => "frame_too_long",
            Self::AnswersUnread => "answers_unread",
            Self::Flood => "flood",
        }
    }
}

/// Why a tunnel is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseCause {
    /// The peer broke the protocol.
    Violation(Violation),
    /// The peer closed it.
    Peer {
        /// Its close code, if it gave one.
        code: Option<CloseCode>,
        /// Its reason, at most 123 bytes.
        reason: String,
    },
    /// We closed it.
    Local,
    /// The transport ended without a close handshake.
    TransportEnded,
    /// The peer was silent for too long.
    HeartbeatTimeout,
    /// The peer never said HELLO.
    HelloTimeout,
}

/// Why a session cannot be opened here now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Only a PoP opens sessions.
    #[error("only a PoP opens sessions")]
    WrongSide,
    /// The peer's HELLO has not arrived.
    #[error("the tunnel is not ready")]
    NotReady,
    /// One of the ends has sent GOAWAY.
    #[error("the tunnel is draining")]
    GoingAway,
    /// As many sessions are open as the peer takes.
    #[error("the tunnel is full")]
    TooManySessions,
    /// The peer does not read the OPEN frames that are queued already.
    #[error("the tunnel is congested")]
    Congested,
    /// A UDP session, and not both ends carry datagrams.
    #[error("the tunnel carries no datagrams")]
    Unsupported,
    /// The tunnel is over.
    #[error("the tunnel is closed")]
    Closed,
}

/// Why bytes were not taken for sending. The payload is lost to the session, which is over or was
/// misused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The session is over.
    #[error("no such session")]
    NoSession,
    /// Our direction was finished already.
    #[error("our direction has ended")]
    Finished,
    /// An edge that has not accepted the session yet cannot send in it.
    #[error("the session is not accepted yet")]
    NotAccepted,
    /// More than the credit, or than the peer's longest frame.
    #[error("more than may be sent now")]
    TooMuch,
}

/// Why a datagram was not taken for sending. It is lost, as datagrams may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// The datagrams' part of the write ring, or this session's share of it, is full.
    #[error("the buffer is full")]
    BufferFull,
    /// More data than a datagram can have.
    #[error("the datagram is too long")]
    TooLong,
    /// There is no such UDP session, or our direction of it cannot be sent in: it has ended, or an
    /// edge has not accepted it yet.
    #[error("the session takes no datagrams")]
    NoSession,
}
