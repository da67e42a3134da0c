//! Admin tokens: what operators and their programs are let in with.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::Note;

/// What an admin token opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To see users, nodes, PoPs, enrolment keys and blocks.
    Read,
    /// To see and change users.
    Users,
    /// To see and change nodes, PoPs, enrolment keys and blocks.
    Nodes,
    /// Everything, admin tokens included.
    All,
}

impl Scope {
    /// The scope as it travels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Users => "users",
            Self::Nodes => "nodes",
            Self::All => "all",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Body of `POST /api/v1/admin-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AdminTokenCreate {
    /// For whom or what it is.
    pub name: Note,
    /// What it opens; at least one.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Scope>, min_items = 1))]
    pub scopes: BTreeSet<Scope>,
    /// Seconds since the Unix epoch from which on it opens nothing; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 253402300799_u64))]
    pub expires_at: Option<u64>,
}

/// An admin token as the operator sees it; the token itself is shown only when made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AdminTokenView {
    /// Public handle of the token.
    pub id: String,
    /// For whom or what it is; absent for the one that a manager makes itself.
    pub name: Option<Note>,
    /// What it opens.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Scope>))]
    pub scopes: BTreeSet<Scope>,
    /// Made at, seconds since the Unix epoch.
    pub created_at: u64,
    /// Seconds since the Unix epoch from which on it opens nothing; absent: never.
    pub expires_at: Option<u64>,
    /// Used at, seconds since the Unix epoch, within ten minutes; absent: never.
    pub last_used_at: Option<u64>,
}

/// Answer to the creation of an admin token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AdminTokenCreated {
    /// The token's public part.
    #[serde(flatten)]
    pub token: AdminTokenView,
    /// The token, shown this once.
    pub secret: String,
}
