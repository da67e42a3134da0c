//! Sessions: a client's socket and a tunnel's session, and the bytes between them.
//!
//! ```text
//!  ingress ─▶ start ─▶ route ─┬─ a tunnel here ─▶ session
//!                             └─ a tunnel of another shard ──mesh──▶ arrive (there)
//! ```
//!
//! Plain HTTP requests, of which a client may have many, have a path of their own: `forward`.

mod down;
mod end;
mod forward;
mod linger;
mod link;
mod reply;
mod session;
mod start;
mod up;

pub use forward::{Client, arrive as arrive_forwarded, forward};
pub use start::{arrive, start};
