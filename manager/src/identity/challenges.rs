//! Challenges for nodes: made without being stored, valid once within a minute.
//!
//! ```text
//! base64url( nonce: 16 | expires: u64 | HMAC-SHA256(key, label | node id | nonce | expires): 32 )
//! ```
//!
//! Only those that a node has answered are remembered (by `Store::claim_nonce`), so that asking
//! for challenges costs the manager no memory.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use titan_proto::control::NodeId;

use crate::{limits, store::UnixTime};

/// Keeps these MACs apart from any other use of the key.
const LABEL: &[u8] = b"titan-challenge.v1";
const NONCE_LEN: usize = 16;
const EXPIRES_LEN: usize = 8;
const MAC_LEN: usize = 32;

/// A challenge for `node`.
pub(super) fn make(key: &[u8; 32], node: NodeId, now: UnixTime) -> String {
    let nonce: [u8; NONCE_LEN] = rand::random();
    let expires = (now.0 + limits::CHALLENGE_LIFETIME.as_secs()).to_be_bytes();
    let mac: [u8; MAC_LEN] = mac(key, node, &nonce, expires)
        .finalize()
        .into_bytes()
        .into();
    BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &expires, &mac].concat())
}

/// The nonce of `text`, if it is a challenge made with `key` for `node` and not too old.
pub(super) fn check(
    key: &[u8; 32],
    node: NodeId,
    text: &str,
    now: UnixTime,
) -> Option<[u8; NONCE_LEN]> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let (nonce, rest) = bytes.split_first_chunk::<NONCE_LEN>()?;
    let (expires, tag) = rest.split_first_chunk::<EXPIRES_LEN>()?;
    // Compares in constant time.
    mac(key, node, nonce, *expires).verify_slice(tag).ok()?;
    (now.0 < u64::from_be_bytes(*expires)).then_some(*nonce)
}

fn mac(
    key: &[u8; 32],
    node: NodeId,
    nonce: &[u8; NONCE_LEN],
    expires: [u8; EXPIRES_LEN],
) -> Hmac<Sha256> {
    // RFC 2104 §2 pads a key to the block of the hash with zeros; done here, it cannot fail.
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    Hmac::<Sha256>::new(&block.into())
        .chain_update(LABEL)
        .chain_update(node.as_bytes())
        .chain_update(nonce)
        .chain_update(expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [1; 32];
    const NOW: UnixTime = UnixTime(1_000);

    fn node(key: u8) -> NodeId {
        NodeId::from_public_key(&[key; 32])
    }

    #[test]
    fn a_challenge_is_for_one_node_one_key_and_one_minute() {
        let text = make(&KEY, node(1), NOW);
        let check = |key, id, time| check(key, id, &text, UnixTime(time)).is_some();
        assert!(check(&KEY, node(1), 1_000));
        assert!(check(&KEY, node(1), 1_059));
        assert!(!check(&KEY, node(1), 1_060), "expired");
        assert!(!check(&KEY, node(2), 1_000), "another node's");
        assert!(!check(&[2; 32], node(1), 1_000), "made by another process");
    }

    #[test]
    fn no_bit_of_a_challenge_can_be_changed() {
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(make(&KEY, node(1), NOW))
            .expect("base64");
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let text = BASE64_URL_SAFE_NO_PAD.encode(forged);
            assert_eq!(check(&KEY, node(1), &text, NOW), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            let text = BASE64_URL_SAFE_NO_PAD.encode(&bytes[..len]);
            assert_eq!(check(&KEY, node(1), &text, NOW), None, "{len} bytes");
        }
        assert_eq!(check(&KEY, node(1), "no base64!", NOW), None);
    }

    #[test]
    fn no_two_challenges_are_alike() {
        assert_ne!(make(&KEY, node(1), NOW), make(&KEY, node(1), NOW));
    }
}
