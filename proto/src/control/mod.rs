//! The JSON types of the manager's HTTP API that PoPs, edges and the operator's command share.
//!
//! Every type here is what travels; what is stored is the manager's own affair. Between
//! PoP, edge and manager unknown fields are ignored, so that an older one can talk to a newer one;
//! in what an operator asks for they are refused, so that nothing is silently left undone.

mod admin;
mod block;
mod events;
mod ids;
mod node;
mod package;
mod pop;
mod usage;
mod user;

pub use admin::{AdminTokenCreate, AdminTokenCreated, AdminTokenView, Scope};
pub use block::{BlockCreate, BlockTarget, BlockView};
pub use events::{Change, Event, EventsPage};
pub use ids::{IdError, LabelName, NodeId, Note, PopId, Region, UserName};
pub use node::{
    Assignment, AssignmentRequest, Challenge, EnrolRequest, EnrolResponse, EnrolmentKey,
    EnrolmentKeyCreate, EnrolmentKeyCreated, NodeView, TunnelClaims, assignment_message,
    enrolment_message,
};
pub use package::{Package, PackageRenewal, PackageUpdate, PackageView};
pub use pop::{
    NodeConnected, PopCreate, PopCreated, PopHeartbeat, PopHeartbeatReply, PopView, UserRecord,
};
pub use usage::{
    MAX_USAGE_BATCHES, MAX_USAGE_ENTRIES, TopUser, UsageBatch, UsagePoint, UsageReply, UsageReport,
    UsageResolution, UsageSeries, UsageStream, UsageTop, UsageTotals, UsageView, UserStanding,
    UserState, UserUsage,
};
pub use user::{
    LabelsUpdate, LimitsUpdate, ReplyMode, UserCreate, UserCreated, UserLimits, UserUpdate,
    UserView,
};

use serde::{Deserialize, Serialize};

/// Path under which every route of the API lies.
pub const API_PREFIX: &str = "/api/v1";

/// `iss` of every token the manager signs.
pub const TOKEN_ISSUER: &str = "titan-manager";

/// An error as RFC 9457 problem details, `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A URI reference that names the kind of problem, `about:blank` where the status says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short summary of the kind of problem.
    pub title: String,
    /// The HTTP status of this answer.
    pub status: u16,
    /// What went wrong this time, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The sequence that would have been taken, where one was refused that does not follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
}

/// Tells `null` from an absent field, which serde treats alike, for merge patches (RFC 7396).
fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page<T> {
    /// The items of this page, in the order of their ids.
    pub items: Vec<T>,
    /// What to send as `cursor` for the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
