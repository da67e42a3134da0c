//! Settings from flags and environment variables.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, CommandFactory, Parser};
use serde::Serialize;

use super::{IoChoice, LogFormat};
use crate::error::ConfigError;

/// Every setting as a flag `--key` and as an environment variable `TITAN_POP_<KEY>`.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub struct Overrides {
    /// Base URL of the manager.
    #[arg(long, env = "TITAN_POP_MANAGER_URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager_url: Option<String>,
    /// The PoP's credential; better in a file or in the environment than on the command line.
    #[arg(long, env = "TITAN_POP_CREDENTIAL", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// File that holds the credential.
    #[arg(long, env = "TITAN_POP_CREDENTIAL_FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_file: Option<PathBuf>,
    /// Folder for usage that the manager has not counted yet.
    #[arg(long, env = "TITAN_POP_DATA_DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// MiB of usage on disk from which on no new sessions are let in.
    #[arg(long, env = "TITAN_POP_SPOOL_MIB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool_mib: Option<u32>,
    /// Where SOCKS5 and HTTP proxy clients connect.
    #[arg(long, env = "TITAN_POP_PROXY_LISTEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_listen: Option<SocketAddr>,
    /// Where edges connect.
    #[arg(long, env = "TITAN_POP_TUNNEL_LISTEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_listen: Option<SocketAddr>,
    /// Where operators ask for health and metrics.
    #[arg(long, env = "TITAN_POP_ADMIN_LISTEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_listen: Option<SocketAddr>,
    /// The URL at which edges reach this PoP.
    #[arg(long, env = "TITAN_POP_ADVERTISE_TUNNEL_URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise_tunnel_url: Option<String>,
    /// The address at which customers reach this PoP.
    #[arg(long, env = "TITAN_POP_ADVERTISE_PROXY_ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise_proxy_addr: Option<String>,
    /// Threads that carry connections; 0: one for each core.
    #[arg(long, env = "TITAN_POP_SHARDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<u16>,
    /// How threads wait for their sockets.
    #[arg(long, env = "TITAN_POP_IO")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io: Option<IoChoice>,
    /// When clients are told that they are connected: optimistic or confirmed.
    #[arg(long, env = "TITAN_POP_REPLY_MODE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_mode: Option<String>,
    /// Seconds for each step of a handshake.
    #[arg(long, env = "TITAN_POP_HANDSHAKE_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_s: Option<u32>,
    /// Clients of one shard in their handshake at once, and as many edges.
    #[arg(long, env = "TITAN_POP_MAX_HANDSHAKES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_handshakes: Option<u32>,
    /// How many of those may come from one address; 0: no limit.
    #[arg(long, env = "TITAN_POP_MAX_HANDSHAKES_PER_ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_handshakes_per_address: Option<u32>,
    /// Seconds until an edge has connected to a target, all together that are tried for one session.
    #[arg(long, env = "TITAN_POP_OPEN_TIMEOUT_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_timeout_s: Option<u32>,
    /// Seconds between two pings of an edge.
    #[arg(long, env = "TITAN_POP_HEARTBEAT_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_s: Option<u32>,
    /// Whether a session goes on with another edge when its own fails it before the target has
    /// answered.
    #[arg(long, env = "TITAN_POP_REOPEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reopen: Option<bool>,
    /// Seconds of silence that end a half-closed session.
    #[arg(long, env = "TITAN_POP_LINGER_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger_s: Option<u32>,
    /// MiB that the sessions of one shard may hold.
    #[arg(long, env = "TITAN_POP_SESSION_MEMORY_MIB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_memory_mib: Option<u32>,
    /// The address that clients are told to send datagrams to.
    #[arg(long, env = "TITAN_POP_UDP_ADVERTISE_ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp_advertise_address: Option<IpAddr>,
    /// Ports of the sockets that take datagrams, as in 20000-29999.
    #[arg(long, env = "TITAN_POP_UDP_PORTS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp_ports: Option<String>,
    /// Seconds without a datagram that end a UDP association.
    #[arg(long, env = "TITAN_POP_UDP_IDLE_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp_idle_s: Option<u32>,
    /// Seconds that an HTTP client's connection may wait for its next request.
    #[arg(long, env = "TITAN_POP_HTTP_IDLE_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_idle_s: Option<u32>,
    /// Seconds that running sessions get when the PoP drains.
    #[arg(long, env = "TITAN_POP_DRAIN_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_s: Option<u32>,
    /// How log lines look.
    #[arg(long, env = "TITAN_POP_LOG_FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// Which log lines there are.
    #[arg(long, env = "TITAN_POP_LOG_LEVEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
}

impl Overrides {
    /// Puts what was given in place of what `table` says.
    pub(super) fn lay_over(&self, table: &mut toml::Table) -> Result<(), ConfigError> {
        let given =
            toml::Table::try_from(self).map_err(|error| ConfigError::Parse(error.to_string()))?;
        // The two ways to give the credential exclude each other: a new one replaces both.
        if given.contains_key("credential") || given.contains_key("credential_file") {
            table.remove("credential");
            table.remove("credential_file");
        }
        table.extend(given);
        Ok(())
    }

    /// The names of all settings.
    pub fn keys() -> Vec<String> {
        Alone::command()
            .get_arguments()
            .map(|arg| arg.get_id().to_string())
            .collect()
    }
}

/// The settings as a command of their own, from which their names can be asked.
#[derive(Debug, Parser)]
struct Alone {
    #[command(flatten)]
    _overrides: Overrides,
}
