//! Tunnel tokens: JWT (RFC 7519) signed with EdDSA (RFC 8037).

use std::fmt;

use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use titan_proto::control::{PopId, TOKEN_ISSUER, TunnelClaims};

use crate::{
    error::IdentityError,
    limits,
    store::{Node, Store, UnixTime},
};

/// Signs tunnel tokens with the manager's key.
pub(crate) struct TokenSigner {
    key: EncodingKey,
    public_key: String,
}

impl TokenSigner {
    /// Takes the key from the store, which gets a new one if it has none.
    pub(crate) async fn load(store: &dyn Store) -> Result<Self, IdentityError> {
        let seed = store.signing_key(rand::random()).await?;
        Self::from_seed(&seed)
    }

    fn from_seed(seed: &[u8; 32]) -> Result<Self, IdentityError> {
        let key = SigningKey::from_bytes(seed);
        let public_key = hex::encode(key.verifying_key().as_bytes());
        let der = key
            .to_pkcs8_der()
            .map_err(|error| IdentityError::Token(error.to_string()))?;
        Ok(Self {
            key: EncodingKey::from_ed_der(der.as_bytes()),
            public_key,
        })
    }

    /// The key that PoPs check tokens with: 64 hexadecimal digits.
    pub(crate) fn public_key(&self) -> &str {
        &self.public_key
    }

    /// A token with which `node` may open a tunnel to `pop`, and to no other.
    pub(crate) fn sign(
        &self,
        node: &Node,
        pop: &PopId,
        now: UnixTime,
    ) -> Result<String, IdentityError> {
        let claims = TunnelClaims {
            iss: TOKEN_ISSUER.into(),
            sub: node.id,
            aud: pop.clone(),
            iat: now.0,
            exp: now.0 + limits::TUNNEL_TOKEN_LIFETIME_S,
            region: node.region,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.key)
            .map_err(|error| IdentityError::Token(error.to_string()))
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSigner")
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use titan_proto::control::NodeId;

    use super::*;

    /// RFC 8032 §7.1, test 1: secret and public key.
    const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    #[test]
    fn the_public_key_is_that_of_the_rfc() {
        let seed: [u8; 32] = hex::decode(SEED)
            .expect("hex")
            .try_into()
            .expect("32 bytes");
        let signer = TokenSigner::from_seed(&seed).expect("a key");
        assert_eq!(signer.public_key(), PUBLIC);
        let node = Node {
            id: NodeId::from_public_key(&[7; 32]),
            public_key: [7; 32],
            region: None,
            version: String::new(),
            enrolled_at: UnixTime(0),
            pop: None,
        };
        let pop = "p1".parse().expect("an id");
        assert!(signer.sign(&node, &pop, UnixTime::now()).is_ok());
        assert!(!format!("{signer:?}").contains(SEED));
    }
}
