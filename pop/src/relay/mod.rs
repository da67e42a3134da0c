//! Sessions: a client's socket and a tunnel's session, and the bytes between them.
//!
//! ```text
//!  ingress ─▶ start ─▶ route ─┬─ a tunnel here ─▶ session, forward or udp
//!                             └─ a tunnel of another shard ──mesh──▶ arrive (there)
//! ```

mod down;
mod end;
mod forward;
mod linger;
mod link;
mod reply;
mod session;
mod start;
mod udp;
mod up;

pub use reply::refuse;
pub use start::{arrive, start};
