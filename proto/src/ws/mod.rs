//! WebSocket (RFC 6455) without extensions, sans-IO.
//!
//! A connection lives through these modules in this order:
//!
//! 1. [`upgrade`]: the opening handshake of both sides (§4).
//! 2. [`Deframer`]: what the peer sends, as pieces handed on before their frame is complete (§5, §6.2).
//! 3. [`header`], [`mask`]: the frame header codec (§5.2) and masking (§5.3), for both directions.
//! 4. [`close`]: close codes and the payload of close frames (§5.5.1, §7.4).
//!
//! There is no type for sending: [`encode_frame_header`], [`mask::apply`] and the payload are all
//! there is to it, and the caller knows best where its payload lies.

pub mod close;
mod deframer;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod header;
pub mod mask;
#[cfg(any(test, feature = "fuzzing"))]
mod model;
pub mod upgrade;
mod utf8;

pub use close::CloseCode;
pub use deframer::{Deframer, Piece};
pub use error::Error;
pub use header::{Header, Opcode, encode_frame_header};

/// Longest payload of a control frame in bytes (§5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// Which end of the connection we are.
///
/// It decides about masking (§5.1): a client masks all it sends, a server nothing, and each refuses
/// a peer that does otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// We opened the connection: we mask, and refuse masked frames.
    Client,
    /// We accepted the connection: we do not mask, and refuse frames that are not masked.
    Server,
}
