//! Tunnels: WebSocket connections from edges, each owned by one shard from its hand-over to its end.
//!
//! ```text
//!  accept (any shard): upgrade, token ──mesh──▶ owner: Tunnel
//!                                                 ├─ reader task: socket → mux → sessions
//!                                                 ├─ writer task: sessions → mux → socket; clock
//!                                                 └─ Session: one session as the relay sees it
//! ```
//!
//! The reader never waits for a session: credit bounds what a session can make the mux hold.

mod accept;
mod banished;
mod core;
mod link;
mod reader;
mod session;
mod table;
mod token;
mod writer;

pub use accept::accept;
pub use banished::Banished;
pub use core::Core;
pub use link::{Tunnel, serve};
pub use session::Session;
pub use table::Table;
pub use token::{Authority, TokenError};

/// The path at which edges ask for a tunnel.
pub const TUNNEL_PATH: &str = "/tunnel";
