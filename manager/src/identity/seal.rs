//! Answers under an idempotency key, sealed for who sent the request.
//!
//! Both digests are HMACs (RFC 2104) under the operator's token, which has 256 random bits and of which the
//! store has only a hash. So even a key that can be guessed, such as `1`, gives nothing away.

use chacha20poly1305::{ChaCha20Poly1305, KeyInit, aead::Aead};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::store::Digest;

/// Random bytes in front of what is sealed: the nonce of RFC 8439 §2.8. A key seals an answer or two, so
/// that random ones never meet.
const NONCE_LEN: usize = 12;

/// What one operator's answers under one key are found and sealed with.
pub(crate) struct Seal {
    id: Digest,
    key: [u8; 32],
}

impl Seal {
    /// For the operator with this token.
    pub(crate) fn new(token: &str, idempotency_key: &str) -> Self {
        let derive = |label: &str| mac(token, &format!("{label}\n{idempotency_key}"));
        Self {
            id: Digest(derive("titan-idempotency-id.v1")),
            key: derive("titan-idempotency-seal.v1"),
        }
    }

    /// Where the request is remembered.
    pub(crate) const fn id(&self) -> Digest {
        self.id
    }

    /// Seals `text`: nonce, then ciphertext and tag.
    pub(crate) fn close(&self, text: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        // Fails only for gigabytes; an answer that was not kept is one that cannot be opened.
        let sealed = self
            .cipher()
            .encrypt(&nonce.into(), text)
            .unwrap_or_default();
        [&nonce[..], &sealed].concat()
    }

    /// Opens what [`Seal::close`] made. `None`: it was made with another token or key, or changed.
    pub(crate) fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        self.cipher().decrypt(&(*nonce).into(), sealed).ok()
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&self.key.into())
    }
}

fn mac(token: &str, text: &str) -> [u8; 32] {
    // A key of any length will do, so there is always a MAC.
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(token.as_bytes());
    mac.map_or([0; 32], |mac| {
        mac.chain_update(text).finalize().into_bytes().into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_opens_for_the_same_token_and_key_only() {
        let seal = Seal::new("token", "1");
        let sealed = seal.close(b"a secret");
        assert_eq!(seal.open(&sealed).as_deref(), Some(&b"a secret"[..]));
        assert!(!sealed.windows(8).any(|window| window == b"a secret"));
        assert_eq!(
            Seal::new("token", "1").open(&sealed).as_deref(),
            Some(&b"a secret"[..])
        );
        for other in [Seal::new("token", "2"), Seal::new("another", "1")] {
            assert_eq!(other.open(&sealed), None);
            assert_ne!(other.id(), seal.id());
        }
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let seal = Seal::new("token", "1");
        let sealed = seal.close(b"a secret");
        for byte in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert_eq!(seal.open(&changed), None, "byte {byte}");
            assert_eq!(seal.open(&sealed[..byte]), None, "{byte} bytes");
        }
    }
}
