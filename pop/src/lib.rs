//! The ingress gateway (PoP) of Titan IP Overlay.
//!
//! A PoP takes SOCKS5 and HTTP proxy clients, authenticates them, picks the best edge and carries
//! their bytes over that edge's tunnel. One thread per core (a *shard*) owns its sockets, tunnels
//! and sessions without locks; one control thread talks to the manager and to operators.
//!
//! Modules are the stages of a connection's life. Each imports only from those to its right:
//!
//! ```text
//! main → server → shard → {control, admin} → ingress → relay → route → tunnel → mesh
//!      → {users, directory, metrics} → net → {config, limits, error}
//! ```

#![deny(unsafe_code)]

pub mod admin;
pub mod config;
pub mod control;
pub mod directory;
pub mod error;
pub mod ingress;
pub mod limits;
pub mod mesh;
pub mod metrics;
pub mod net;
pub mod relay;
pub mod route;
pub mod server;
pub mod shard;
pub mod tunnel;
pub mod users;

pub use config::Config;
pub use error::{ConfigError, StartError};
pub use server::Pop;
