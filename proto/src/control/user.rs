//! Users as the operator creates, changes and sees them.

use serde::{Deserialize, Serialize};

use super::UserName;

/// When a proxy client is told that it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ReplyMode {
    /// As soon as an edge has been picked; a later failure is a TCP reset. Saves a round trip.
    #[default]
    Optimistic,
    /// When the edge has connected to the target; the reply carries the true code.
    Confirmed,
}

/// Body of `POST /api/v1/users`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserCreate {
    /// The name to log in with.
    pub name: UserName,
    /// The password, 8 to 255 bytes of UTF-8 (RFC 1929 carries no more); absent: one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Whether the user may connect.
    #[serde(default = "enabled_by_default")]
    pub enabled: bool,
    /// How the user's connections are answered; absent: as each PoP's operator set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_mode: Option<ReplyMode>,
}

fn enabled_by_default() -> bool {
    true
}

/// Answer to the creation of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserCreated {
    /// The user.
    #[serde(flatten)]
    pub user: UserView,
    /// The password that was made, shown this once; absent where the caller chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Body of `PATCH /api/v1/users/{name}`: absent fields stay as they are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserUpdate {
    /// A new password, 8 to 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Whether the user may connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How the user's connections are answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_mode: Option<ReplyMode>,
}

/// A user as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserView {
    /// The name to log in with.
    pub name: UserName,
    /// Changes whenever anything about the user does.
    pub version: u64,
    /// Whether the user may connect.
    pub enabled: bool,
    /// How the user's connections are answered; absent: as each PoP's operator set.
    pub reply_mode: Option<ReplyMode>,
    /// Created at, seconds since the Unix epoch.
    pub created_at: u64,
}
