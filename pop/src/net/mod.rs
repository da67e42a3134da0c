//! Sockets, timers and tasks of one core: the only module that names the runtime (monoio).
//!
//! The whole crate sees sockets through readiness. A task waits on the ring (or on epoll) until a
//! socket can be read or written and then calls the kernel directly without blocking. That has
//! three consequences that everything else builds on:
//!
//! * a wait can be dropped at any time without losing a byte, so timeouts and races are safe;
//! * a socket that waits owns no buffer;
//! * a burst of bytes is drained with as few calls as its size allows.
//!
//! Rules that the runtime imposes, kept inside this module: nothing wakes a task from another
//! thread (see [`Doorbell`]), no task wakes itself to yield (waiting on readiness yields), and a
//! task that panics is contained by [`spawn_guarded`].

mod buffer;
mod doorbell;
mod farewell;
mod future;
mod listener;
mod lobby;
mod notify;
mod raw;
mod runtime;
mod socket;
mod task;
mod timer;
mod udp;
mod wheel;

#[cfg(test)]
mod tests;

pub use buffer::BufferPool;
pub use doorbell::{Doorbell, Installed, Ringer};
pub use farewell::farewell;
pub use future::{Either, join, race};
pub use listener::{Accepted, Listener, bind};
pub use lobby::{Lobby, Place};
pub use notify::{Notify, OnceEvent};
pub use runtime::{Driver, probe, run};
pub use socket::{Received, Socket};
pub use task::{Stats, guarded, spawn_guarded};
pub use timer::{Elapsed, Sleep, sleep, sleep_until, sleep_until_fine, timeout};
pub use udp::{Sent, UdpSocket, canonical};
