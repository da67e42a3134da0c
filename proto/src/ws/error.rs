//! What a peer can do wrong after the opening handshake, and the close code that tells it.

use super::close::CloseCode;

/// A rule of RFC 6455 that the peer broke. The connection fails with [`Error::close_code`] (§7.1.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    /// A reserved bit is set though no extension was negotiated that gives it a meaning (§5.2).
    #[error("reserved header bits {0:#05b} are set without an extension (RFC 6455 §5.2)")]
    ReservedBits(u8),
    /// The opcode is one of those kept for the future (§5.2).
    #[error("opcode {0:#x} is reserved (RFC 6455 §5.2)")]
    ReservedOpcode(u8),
    /// The payload length is written in more bytes than it needs (§5.2).
    #[error("payload length {0} is not in its shortest form (RFC 6455 §5.2)")]
    LengthNotMinimal(u64),
    /// The most significant bit of a 64-bit payload length is set (§5.2).
    #[error("payload length {0:#x} has its top bit set (RFC 6455 §5.2)")]
    LengthTooLarge(u64),
    /// A client sent a frame without a mask (§5.1).
    #[error("a frame from a client is not masked (RFC 6455 §5.1)")]
    MaskMissing,
    /// A server sent a masked frame (§5.1).
    #[error("a frame from a server is masked (RFC 6455 §5.1)")]
    MaskUnexpected,
    /// A control frame is not final (§5.5).
    #[error("a control frame is fragmented (RFC 6455 §5.5)")]
    ControlFragmented,
    /// A control frame has more than 125 bytes of payload (§5.5).
    #[error("a control frame has {0} bytes of payload, more than 125 (RFC 6455 §5.5)")]
    ControlTooLong(u64),
    /// A continuation frame came while no fragmented message was open (§5.4).
    #[error("a continuation frame has no message to continue (RFC 6455 §5.4)")]
    UnexpectedContinuation,
    /// A new message began inside a fragmented one (§5.4).
    #[error("a message began before the one before it ended (RFC 6455 §5.4)")]
    MessageInterrupted,
    /// A text message is not UTF-8 (§8.1).
    #[error("a text message is not UTF-8 (RFC 6455 §8.1)")]
    TextNotUtf8,
    /// The payload of a close frame is one byte, half of a close code (§5.5.1).
    #[error("a close frame has one byte of payload, half of a close code (RFC 6455 §5.5.1)")]
    CloseCodeTruncated,
    /// The close code may not appear on the wire (§7.4).
    #[error("close code {0} may not be sent (RFC 6455 §7.4)")]
    InvalidCloseCode(u16),
    /// The reason in a close frame is not UTF-8 (§5.5.1).
    #[error("the reason in a close frame is not UTF-8 (RFC 6455 §5.5.1)")]
    CloseReasonNotUtf8,
}

impl Error {
    /// The code of the close frame that the peer gets for this: 1007 for text that is not UTF-8,
    /// 1002 for everything else.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::TextNotUtf8 | Self::CloseReasonNotUtf8 => CloseCode::INVALID_PAYLOAD,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}
