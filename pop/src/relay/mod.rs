//! Sessions: a client's socket and a tunnel's session, and the bytes between them.
//!
//! ```text
//!  ingress ─▶ start ─▶ route ─┬─ a tunnel here ─▶ session or udp
//!                             └─ a tunnel of another shard ──mesh──▶ arrive (there)
//!
//!  session, udp ─▶ end ─┬─ the edge failed before the target answered ─▶ start
//!                       └─ the true answer, or a reset
//! ```
//!
//! Plain HTTP requests, of which a client may have many, have a path of their own: `forward`.

mod down;
mod end;
mod forward;
mod kept;
mod linger;
mod link;
mod meter;
mod reply;
mod session;
mod start;
mod udp;
mod up;

pub use forward::{Client, arrive as arrive_forwarded, forward};
pub use start::{arrive, start};
