//! PoPs: registration, heartbeats and what a PoP may know of a user.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{NodeId, PopId, Region, ReplyMode, UserLimits, UserName};

/// Body of `POST /api/v1/pops`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PopCreate {
    /// The PoP's name.
    pub id: PopId,
    /// The PoP's region: nodes of the same region prefer it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
}

/// Answer to the registration of a PoP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PopCreated {
    /// The PoP's name.
    pub id: PopId,
    /// Its credential, sent as `Authorization: Bearer`; shown this once.
    pub credential: String,
}

/// A PoP as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PopView {
    /// The PoP's name.
    pub id: PopId,
    /// Its region.
    pub region: Option<Region>,
    /// Whether it sent a heartbeat within the last 15 seconds.
    pub online: bool,
    /// Where edges dial it, as it last said.
    pub tunnel_url: Option<String>,
    /// Where customers reach its proxy port, as it last said.
    pub proxy_addr: Option<String>,
    /// Tunnels it holds.
    pub tunnels: u32,
    /// Sessions it carries.
    pub sessions: u32,
    /// Version of its program.
    pub version: Option<String>,
    /// Registered at, seconds since the Unix epoch.
    pub created_at: u64,
}

/// Body of `POST /api/v1/pop/heartbeat`, sent by a PoP every few seconds and when a node comes or goes.
///
/// Nodes travel as changes: `connected` and `disconnected` hold the nodes whose state changed since
/// the last heartbeat that was *answered*, each node in at most one of the two, as it is now. A
/// heartbeat whose answer was lost is therefore not repeated: its changes travel again in the next
/// one, under the next `sequence`. One that arrives with a `sequence` already passed is ignored.
///
/// The manager answers `resync` when it does not hold the state that `boot_id` continues; the PoP
/// then sends the whole list with `full`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PopHeartbeat {
    /// Random number of this run of the PoP, hexadecimal.
    pub boot_id: String,
    /// Counts heartbeats of this run from 1.
    pub sequence: u64,
    /// Where edges can dial this PoP, `ws://host:port/tunnel`.
    pub tunnel_url: String,
    /// Where customers reach the proxy port.
    pub proxy_addr: String,
    /// Version of the PoP's program.
    pub version: String,
    /// Tunnels held now.
    pub tunnels: u32,
    /// Sessions carried now.
    pub sessions: u32,
    /// Whether the PoP takes new nodes; false while it drains.
    pub accepting: bool,
    /// Whether `connected` is the whole list rather than what is new.
    pub full: bool,
    /// Nodes that connected since the last heartbeat that was answered.
    pub connected: Vec<NodeConnected>,
    /// Nodes that left since the last heartbeat that was answered.
    pub disconnected: Vec<NodeId>,
}

/// A node's tunnel as its PoP reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeConnected {
    /// The node.
    pub node: NodeId,
    /// The address its tunnel comes from.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub address: IpAddr,
}

/// Answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PopHeartbeatReply {
    /// The PoP's own id, as the manager knows its credential.
    pub pop: PopId,
    /// The manager's Ed25519 public key for tunnel tokens, 64 hexadecimal digits.
    pub token_key: String,
    /// Whether the next heartbeat must carry the whole list of nodes.
    pub resync: bool,
}

/// Answer to `GET /api/v1/pop/users/{name}`: all a PoP needs to serve the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserRecord {
    /// The user.
    pub name: UserName,
    /// Changes whenever anything about the user does.
    pub version: u64,
    /// Argon2id hash of the password in PHC string form.
    pub password_hash: String,
    /// Whether the user may connect.
    pub enabled: bool,
    /// How the user's connections are answered; absent: as the PoP's operator set.
    #[serde(default)]
    pub reply_mode: Option<ReplyMode>,
    /// Seconds since the Unix epoch before which the user may not connect; absent: no such time.
    #[serde(default)]
    pub valid_from: Option<u64>,
    /// Seconds since the Unix epoch from which on the user may not connect; absent: no such time.
    #[serde(default)]
    pub valid_until: Option<u64>,
    /// Bytes the user may still relay, both directions together, by what PoPs have reported so far;
    /// absent: any number.
    #[serde(default)]
    pub bytes_left: Option<u64>,
    /// What the user may do at once.
    #[serde(default)]
    pub limits: UserLimits,
}
