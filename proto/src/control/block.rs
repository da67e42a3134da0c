//! Blocks: nodes and addresses that the manager turns away.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{NodeId, Note};

/// Who is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum BlockTarget {
    /// One node, wherever it comes from.
    Node(NodeId),
    /// Every node that comes from this network, in CIDR notation.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    Address(IpNet),
}

/// Body of `POST /api/v1/blocks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BlockCreate {
    /// Who is turned away.
    pub target: BlockTarget,
    /// Why, for other operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Note>,
}

/// A block as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlockView {
    /// Handle of the block, which follows from its target.
    pub id: String,
    /// Who is turned away.
    pub target: BlockTarget,
    /// Why.
    pub reason: Option<Note>,
    /// Made at, seconds since the Unix epoch.
    pub created_at: u64,
}
