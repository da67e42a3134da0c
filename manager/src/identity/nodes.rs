//! Nodes prove who they are: enrolment with a key pair, then a signed challenge each time.

use std::net::IpAddr;

use ed25519_dalek::{Signature, VerifyingKey};
use titan_proto::control::{
    AssignmentRequest, EnrolRequest, NodeId, assignment_message, enrolment_message,
};

use super::{challenges, match_enrolment_key};
use crate::{
    error::StoreError,
    limits,
    store::{BlockId, Node, NonceClaim, Store, UnixTime},
};

/// Why a node is turned away. The texts are for the edge's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the enrolment key is not valid")]
    EnrolmentKey,
    #[error("public_key is not an Ed25519 public key in 64 hexadecimal digits")]
    PublicKey,
    #[error("the signature does not fit the node's key and the message")]
    Signature,
    #[error("no node with this id has enrolled")]
    UnknownNode,
    #[error("the challenge is not this node's, too old, or was used before: ask for another")]
    Challenge,
    #[error("this node or the address it comes from is blocked")]
    Blocked,
    #[error("too many challenges were answered within a minute: try again later")]
    Overload,
}

/// A refusal, or a fault of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Enrols the node that holds the private key of `request.public_key` and comes from `address`.
pub(crate) async fn enrol(
    store: &dyn Store,
    request: EnrolRequest,
    address: IpAddr,
) -> Result<Node, NodeError> {
    let public_key = parse_public_key(&request.public_key).ok_or(Refusal::PublicKey)?;
    let id = NodeId::from_public_key(public_key.as_bytes());
    refuse_blocked(store, id, address).await?;
    let message = enrolment_message(&request.enrolment_key);
    verify(&public_key, &message, &request.signature)?;
    let key = match_enrolment_key(store, &request.enrolment_key).await?;
    let region = key.ok_or(Refusal::EnrolmentKey)?.region;
    let public_key = public_key.to_bytes();
    let node = Node {
        id,
        public_key,
        region,
        version: request.version,
        enrolled_at: UnixTime::now(),
        pop: None,
    };
    Ok(store.enrol_node(node).await?)
}

/// A challenge for a node that has enrolled.
pub(crate) async fn challenge(
    store: &dyn Store,
    id: NodeId,
    address: IpAddr,
) -> Result<String, NodeError> {
    refuse_blocked(store, id, address).await?;
    store.node(id).await?.ok_or(Refusal::UnknownNode)?;
    let key = store.challenge_key().await?;
    Ok(challenges::make(&key, id, UnixTime::now()))
}

/// Checks that `request` comes from the node `id`, and for the first time.
pub(crate) async fn prove(
    store: &dyn Store,
    id: NodeId,
    request: &AssignmentRequest,
    address: IpAddr,
) -> Result<Node, NodeError> {
    refuse_blocked(store, id, address).await?;
    let node = store.node(id).await?.ok_or(Refusal::UnknownNode)?;
    let key = store.challenge_key().await?;
    let nonce = challenges::check(&key, id, &request.challenge, UnixTime::now());
    let nonce = nonce.ok_or(Refusal::Challenge)?;
    let public_key = VerifyingKey::from_bytes(&node.public_key).map_err(|_| Refusal::Signature)?;
    verify(
        &public_key,
        &assignment_message(id, &request.challenge),
        &request.signature,
    )?;
    match store.claim_nonce(nonce, limits::CHALLENGE_LIFETIME).await? {
        NonceClaim::Granted => Ok(node),
        NonceClaim::Used => Err(Refusal::Challenge.into()),
        NonceClaim::Full => Err(Refusal::Overload.into()),
    }
}

async fn refuse_blocked(store: &dyn Store, id: NodeId, address: IpAddr) -> Result<(), NodeError> {
    let ids = BlockId::concerning(Some(id), address);
    match store.find_block(ids).await? {
        Some(block) => {
            tracing::debug!(node = %id, %address, block = ?block.target, "a blocked node asks");
            Err(Refusal::Blocked.into())
        }
        None => Ok(()),
    }
}

fn parse_public_key(text: &str) -> Option<VerifyingKey> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    // Under a weak key anybody could sign anything.
    VerifyingKey::from_bytes(&bytes)
        .ok()
        .filter(|key| !key.is_weak())
}

fn verify(key: &VerifyingKey, message: &[u8], signature: &str) -> Result<(), Refusal> {
    let mut bytes = [0; Signature::BYTE_SIZE];
    hex::decode_to_slice(signature, &mut bytes).map_err(|_| Refusal::Signature)?;
    key.verify_strict(message, &Signature::from_bytes(&bytes))
        .map_err(|_| Refusal::Signature)
}
