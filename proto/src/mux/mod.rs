//! `titan.v1`: many sessions over one WebSocket.
//!
//! After the HTTP upgrade (sub-protocol `titan.v1`) both ends send binary messages, each of which is
//! one frame: an 8-byte header and a payload. [`Connection`] is one end of such a tunnel. A frame's
//! life, in the order of the modules:
//!
//! ```text
//!   transport ─▶ ws::Deframer ─▶ inbox ─▶ input ─▶ session (credit) ─▶ receive() ─▶ consumer
//!   producer ─▶ send() (commands) ─▶ session (credit) ─▶ outbox ─▶ output ─▶ transport
//! ```
//!
//! | frame | from | payload |
//! | --- | --- | --- |
//! | HELLO | both, first | version, capabilities, initial window, longest frame, most sessions |
//! | OPEN | PoP | kind, target, options |
//! | OPENED | edge | bound address |
//! | DATA | both | bytes |
//! | FIN | both | none: this direction has ended |
//! | RESET | both | reason code, text: the session is over |
//! | CREDIT | both | u32: that many more bytes may be sent |
//! | DATAGRAM | both | address, bytes: one datagram of a UDP session, if both have the capability |
//! | GOAWAY | both | none: open no more sessions here |
//!
//! Heartbeats are WebSocket pings.

mod budget;
mod commands;
mod connection;
mod credit;
mod datagram;
mod error;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod heartbeat;
mod hello;
mod id;
mod inbox;
mod input;
mod memory;
mod open;
mod outbox;
mod output;
mod pace;
mod payload;
mod session;
mod table;

use std::{net::SocketAddr, time::Duration};

pub use connection::Connection;
pub use datagram::{Datagram, DatagramPayload};
pub use error::{CloseCause, DatagramError, OpenError, SendError, Violation};
pub use frame::{FrameHeader, FrameKind};
pub use hello::Hello;
pub use id::SessionId;
pub use memory::Memory;
pub use open::{OpenRequest, Reset, SessionKind};
pub use pace::Pace;
pub use payload::Payload;
pub use session::Received;

use crate::limits;

/// Name of the WebSocket sub-protocol (RFC 6455 §1.9).
pub const SUBPROTOCOL: &str = "titan.v1";

/// Which end of the tunnel this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Opens sessions; the WebSocket server.
    Pop,
    /// Connects them to their targets; the WebSocket client, which masks what it sends.
    Edge,
}

/// What one end of a tunnel allows its peer and itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes the peer may send in each new session, whatever the memory: 4 KiB to 64 MiB.
    pub initial_window: u32,
    /// Bytes it may send in one at once where there is memory; less than the former means nothing.
    pub start_window: u32,
    /// The memory that this tunnel's sessions share with others.
    pub memory: Memory,
    /// Longest DATA payload accepted and sent, at least 1 KiB.
    pub max_frame: u32,
    /// Most sessions at once, 1 to 65,535.
    pub max_sessions: u32,
    /// DATA bytes queued for transmission, of all sessions.
    pub ring_bytes: usize,
    /// Whether UDP sessions are offered to the peer.
    pub datagrams: bool,
    /// Bytes of datagrams queued for transmission, of all sessions, their overhead included.
    pub datagram_ring_bytes: usize,
    /// Bytes of datagrams that arrived in one session and were not taken, their overhead included.
    pub datagram_inbox_bytes: usize,
    /// Time between pings.
    pub heartbeat_interval: Duration,
    /// Silence after which the tunnel counts as dead.
    pub heartbeat_timeout: Duration,
    /// Time the peer has for its HELLO.
    pub hello_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            initial_window: limits::INITIAL_WINDOW,
            start_window: limits::START_WINDOW,
            memory: Memory::new(limits::SESSION_MEMORY),
            max_frame: limits::MAX_FRAME,
            max_sessions: limits::MAX_SESSIONS,
            ring_bytes: limits::RING_BYTES,
            datagrams: true,
            datagram_ring_bytes: limits::DATAGRAM_RING_BYTES,
            datagram_inbox_bytes: limits::DATAGRAM_INBOX_BYTES,
            heartbeat_interval: limits::HEARTBEAT_INTERVAL,
            heartbeat_timeout: limits::HEARTBEAT_TIMEOUT,
            hello_timeout: limits::HELLO_TIMEOUT,
        }
    }
}

/// What the owner of a tunnel should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer's HELLO arrived: a PoP may open sessions now.
    Ready,
    /// The PoP wants a session. Comes at an edge only.
    Open {
        /// The new session.
        id: SessionId,
        /// What is asked for.
        request: OpenRequest,
    },
    /// The edge has connected the session to its target. Comes at a PoP only.
    Opened {
        /// The session.
        id: SessionId,
        /// The edge's local address towards the target.
        bound: SocketAddr,
    },
    /// `receive`, or `receive_datagram`, has something for this session.
    Readable(SessionId),
    /// `send_capacity` of this session is no longer 0.
    Writable(SessionId),
    /// The session is over and its id means nothing any more: the peer reset it, or the tunnel
    /// ended.
    Reset {
        /// The session.
        id: SessionId,
        /// Why.
        reset: Reset,
    },
    /// Both directions of the session have ended and were drained; its id means nothing any more.
    Finished(SessionId),
    /// The peer drains: no more sessions can be opened here.
    GoingAway,
    /// The tunnel is over. The last event.
    Closed(CloseCause),
}
