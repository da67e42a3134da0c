//! The control plane of Titan IP Overlay: users, nodes and PoPs behind an HTTP API.
//!
//! Modules are stages of a request's way and import in one direction only:
//!
//! ```text
//! main → server → api → {assignment, identity} → store → {config, error, limits}
//! ```

#![forbid(unsafe_code)]

mod api;
mod assignment;
mod config;
mod error;
mod identity;
mod limits;
mod server;
mod store;

pub use config::{
    Config, ConfigError, KeyPrefix, LogFormat, RedisKind, RedisPassword, RedisUrl, Settings,
    StoreUrl,
};
pub use error::{IdentityError, ServerError, StoreError};
pub use server::{Bootstrap, Server, migrate, replace_admin_token};
