//! Whether an edge may hold a tunnel here: the manager's signed word for it, and nothing else. No
//! header and no address decides who a node is.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, errors::ErrorKind};
use titan_proto::control::{PopId, TOKEN_ISSUER, TunnelClaims};

use crate::{limits::TOKEN_LEEWAY_S, mesh::TokenAuthority};

/// Checks tokens against the manager's key and this PoP's name.
pub struct Authority {
    key: DecodingKey,
    validation: Validation,
    pop: PopId,
}

/// Why a token opens no tunnel here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Malformed, wrongly signed, expired, or not for tunnels.
    #[error("the token is not valid: {0}")]
    Invalid(String),
    /// Signed by the manager, for another PoP.
    #[error("the token is for another PoP")]
    OtherPop,
}

impl Authority {
    /// Believes what `authority` says.
    pub fn new(authority: &TokenAuthority) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = TOKEN_LEEWAY_S;
        validation.set_issuer(&[TOKEN_ISSUER]);
        validation.set_audience(&[authority.pop.as_str()]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Self {
            key: DecodingKey::from_ed_der(&authority.key),
            validation,
            pop: authority.pop.clone(),
        }
    }

    /// The claims of `token`, if it opens a tunnel here.
    ///
    /// # Errors
    /// Why it does not.
    pub fn verify(&self, token: &str) -> Result<TunnelClaims, TokenError> {
        match decode::<TunnelClaims>(token, &self.key, &self.validation) {
            Ok(token) if token.claims.aud == self.pop => Ok(token.claims),
            Ok(_) => Err(TokenError::OtherPop),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidAudience) => {
                Err(TokenError::OtherPop)
            }
            Err(error) => Err(TokenError::Invalid(error.to_string())),
        }
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("pop", &self.pop)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
    use jsonwebtoken::{EncodingKey, Header, encode};
    use titan_proto::control::NodeId;

    use super::*;

    struct Manager(SigningKey);

    impl Manager {
        fn sign(&self, claims: &TunnelClaims) -> String {
            let der = self.0.to_pkcs8_der().expect("a key");
            let key = EncodingKey::from_ed_der(der.as_bytes());
            encode(&Header::new(Algorithm::EdDSA), claims, &key).expect("a token")
        }

        fn authority(&self) -> Authority {
            let key = self.0.verifying_key().to_bytes();
            Authority::new(&TokenAuthority {
                pop: "pop1".parse().expect("an id"),
                key,
            })
        }
    }

    fn claims() -> TunnelClaims {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        TunnelClaims {
            iss: TOKEN_ISSUER.into(),
            sub: NodeId::from_public_key(&[1; 32]),
            aud: "pop1".parse().expect("an id"),
            iat: now,
            exp: now + 60,
            region: None,
        }
    }

    #[test]
    fn only_a_fresh_token_of_this_manager_for_this_pop_is_good() {
        let manager = Manager(SigningKey::from_bytes(&[3; 32]));
        let authority = manager.authority();
        assert_eq!(authority.verify(&manager.sign(&claims())), Ok(claims()));

        let other_pop = TunnelClaims {
            aud: "pop2".parse().expect("an id"),
            ..claims()
        };
        assert_eq!(
            authority.verify(&manager.sign(&other_pop)),
            Err(TokenError::OtherPop)
        );

        let forger = Manager(SigningKey::from_bytes(&[4; 32]));
        let expired = TunnelClaims {
            exp: claims().iat - TOKEN_LEEWAY_S - 1,
            ..claims()
        };
        let issuer = TunnelClaims {
            iss: "somebody".into(),
            ..claims()
        };
        for token in [
            forger.sign(&claims()),
            manager.sign(&expired),
            manager.sign(&issuer),
            String::new(),
            "a.b.c".into(),
        ] {
            assert!(
                matches!(authority.verify(&token), Err(TokenError::Invalid(_))),
                "{token}"
            );
        }
    }
}
