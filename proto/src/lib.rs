//! The protocols of Titan IP Overlay, sans-IO.
//!
//! Everything both ends of a connection must agree on lives here: addresses, SOCKS5, HTTP proxy
//! heads, WebSocket, the multiplexing protocol `titan.v1`, the reasons a session can fail for and
//! the JSON types of the control plane. The types take bytes and the current time and give back
//! values; they hold no socket, read no clock and know no runtime, so that every one of them can
//! be driven through any history by a test.

#![forbid(unsafe_code)]

pub mod addr;
pub mod control;
pub mod credentials;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod http;
pub mod limits;
pub mod mux;
pub mod read_size;
pub mod reason;
pub mod sniff;
pub mod socks5;
pub mod username;
pub mod ws;
