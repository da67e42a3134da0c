//! Nodes (edges): enrolment, the daily question "which PoP?", and the token that answers it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{NodeId, PopId, Region};

/// Body of `POST /api/v1/nodes/enrol`: an edge makes itself known with an enrolment key.
///
/// Enrolling twice with the same key pair is not an error: an edge that lost the answer repeats it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolRequest {
    /// The operator's enrolment key.
    pub enrolment_key: String,
    /// The edge's Ed25519 public key, 64 hexadecimal digits.
    pub public_key: String,
    /// Proof of the private key: its signature over the text `titan-enrol.v1`, a line feed and the
    /// enrolment key; 128 hexadecimal digits.
    pub signature: String,
    /// Version of the edge's program.
    pub version: String,
}

/// The bytes an edge signs to enrol ([`EnrolRequest::signature`]): bound to the enrolment key and useless elsewhere.
pub fn enrolment_message(enrolment_key: &str) -> Vec<u8> {
    format!("titan-enrol.v1\n{enrolment_key}").into_bytes()
}

/// Answer to an enrolment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolResponse {
    /// The node's id, derived from its public key.
    pub node_id: NodeId,
    /// The region the enrolment key gives its nodes.
    pub region: Option<Region>,
}

/// Answer to `POST /api/v1/nodes/{id}/challenge`: what to sign, so that no clock need agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Challenge {
    /// Opaque text, valid once within a minute.
    pub challenge: String,
}

/// Body of `POST /api/v1/nodes/{id}/assignment`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AssignmentRequest {
    /// The challenge as it was received.
    pub challenge: String,
    /// The node key's signature over the text `titan-assign.v1`, a line feed, the node's id, a line
    /// feed and the challenge; 128 hexadecimal digits.
    pub signature: String,
    /// Version of the edge's program.
    pub version: String,
    /// A PoP the edge could not reach a moment ago: another is preferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avoid: Option<PopId>,
}

/// The bytes an edge signs to be assigned a PoP ([`AssignmentRequest::signature`]).
pub fn assignment_message(node: NodeId, challenge: &str) -> Vec<u8> {
    format!("titan-assign.v1\n{node}\n{challenge}").into_bytes()
}

/// Answer to an assignment request: where to dial and what to show there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Assignment {
    /// The PoP to dial.
    pub pop: PopId,
    /// Its tunnel endpoint, `ws://host:port/tunnel`.
    pub tunnel_url: String,
    /// A signed token, sent to the PoP as `Authorization: Bearer`.
    pub token: String,
    /// Seconds for which the token can be used to open a tunnel.
    pub expires_in_s: u64,
    /// The node's region, for its own `whoami`.
    pub region: Option<Region>,
}

/// Claims of a tunnel token ([`Assignment::token`]: JWT, EdDSA), checked by the PoP with the manager's public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelClaims {
    /// [`TOKEN_ISSUER`](super::TOKEN_ISSUER).
    pub iss: String,
    /// The node.
    pub sub: NodeId,
    /// The only PoP that accepts this token.
    pub aud: PopId,
    /// Issued at, seconds since the Unix epoch.
    pub iat: u64,
    /// Expires at, seconds since the Unix epoch.
    pub exp: u64,
    /// The node's region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
}

/// A node as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeView {
    /// The node's id.
    pub id: NodeId,
    /// Region given at enrolment.
    pub region: Option<Region>,
    /// Version of its program when it last asked for a PoP.
    pub version: String,
    /// Enrolled at, seconds since the Unix epoch.
    pub enrolled_at: u64,
    /// Whether a PoP holds a tunnel to it now.
    pub online: bool,
    /// The PoP that holds it, or the one it was last assigned to.
    pub pop: Option<PopId>,
    /// The address it connects from, while online.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub address: Option<IpAddr>,
}

/// Body of `POST /api/v1/enrolment-keys`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnrolmentKeyCreate {
    /// Region of the nodes that enrol with this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
}

/// An enrolment key as the operator sees it; the key itself is shown only when made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolmentKey {
    /// Public handle of the key.
    pub id: String,
    /// Region its nodes get.
    pub region: Option<Region>,
    /// Made at, seconds since the Unix epoch.
    pub created_at: u64,
}

/// Answer to the creation of an enrolment key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolmentKeyCreated {
    /// The key's public part.
    #[serde(flatten)]
    pub key: EnrolmentKey,
    /// The key, shown this once.
    pub secret: String,
}
