//! Logins in a form that can be compared but not read.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use titan_proto::control::UserName;

/// The key of all digests of one process, one block of SHA-256 long; it is never written anywhere.
#[derive(Clone)]
pub struct LoginKey([u8; 64]);

impl LoginKey {
    /// A key from the system's entropy.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The digest of one user's password.
    pub fn digest(&self, name: &UserName, password: &str) -> LoginDigest {
        let mut mac = Hmac::<Sha256>::new(&self.0.into());
        mac.update(name.as_str().as_bytes());
        // A name cannot contain a zero byte, so the boundary is unambiguous.
        mac.update(&[0]);
        mac.update(password.as_bytes());
        LoginDigest(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginKey(…)")
    }
}

/// HMAC-SHA256 of a user name and a password.
///
/// Compared with `==`: without the key nobody can steer a digest towards another, so the time a
/// comparison takes tells nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LoginDigest([u8; 32]);

impl fmt::Debug for LoginDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoginDigest(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_key_name_and_password() {
        let name = |text: &str| text.parse::<UserName>().expect("a name");
        let (key, other) = (LoginKey::random(), LoginKey::random());
        let digest = key.digest(&name("alice"), "secret");
        assert_eq!(digest, key.digest(&name("alice"), "secret"));
        assert_ne!(digest, other.digest(&name("alice"), "secret"));
        assert_ne!(digest, key.digest(&name("alic"), "esecret"));
        assert_ne!(digest, key.digest(&name("alice"), "Secret"));
    }
}
