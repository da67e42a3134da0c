//! Secret texts: `titan_<kind>_<id>_<64 hexadecimal digits>`.
//!
//! The prefix lets people and scanners recognise a leaked secret. The id in the middle is public
//! and finds the record; the digits are 256 random bits of which only the hash is stored.

use sha2::{Digest, Sha256};

use crate::{limits, store::SecretHash};

/// What a secret opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Everything an operator may do.
    Admin,
    /// What the PoP named by the id may do.
    Pop,
    /// Enrolment of nodes.
    Enrolment,
}

/// A secret that was just made. The text exists only here and with whom it is given to.
pub(super) struct Made {
    /// What the holder keeps.
    pub(super) text: String,
    /// What is stored.
    pub(super) hash: SecretHash,
}

/// Makes a secret for the record `id`.
pub(super) fn make(kind: Kind, id: &str) -> Made {
    let random: [u8; limits::SECRET_LEN] = rand::random();
    let text = format!("{}{id}_{}", kind.prefix(), hex::encode(random));
    Made {
        hash: hash(&text),
        text,
    }
}

/// A random public handle for a record whose owner does not name it.
pub(super) fn make_handle() -> String {
    hex::encode(rand::random::<[u8; limits::HANDLE_LEN]>())
}

/// Splits a text that claims to be a secret into the id of its record and the hash to compare.
/// `None`: it is not of this kind at all.
pub(super) fn parse(kind: Kind, text: &str) -> Option<(&str, SecretHash)> {
    let rest = text
        .strip_prefix(kind.prefix())
        .filter(|_| text.len() <= limits::MAX_BEARER_LEN)?;
    let (id, digits) = rest.rsplit_once('_')?;
    let is_secret = digits.len() == 2 * limits::SECRET_LEN && !id.is_empty();
    is_secret.then(|| (id, hash(text)))
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Admin => "titan_admin_",
            Self::Pop => "titan_pop_",
            Self::Enrolment => "titan_enrol_",
        }
    }
}

/// Over the whole text, so that a hash stored for one kind or id fits no other.
fn hash(text: &str) -> SecretHash {
    SecretHash::new(Sha256::digest(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_found_again() {
        let made = make(Kind::Pop, "a-b");
        assert!(made.text.starts_with("titan_pop_a-b_"));
        let (id, hash) = parse(Kind::Pop, &made.text).expect("a secret");
        assert_eq!((id, hash == made.hash), ("a-b", true));
        assert!(parse(Kind::Admin, &made.text).is_none());
        assert!(make(Kind::Pop, "a-b").hash != made.hash);
    }

    #[test]
    fn the_longest_secret_is_within_the_limit() {
        let id = "x".repeat(titan_proto::control::PopId::MAX_LEN);
        assert!(parse(Kind::Pop, &make(Kind::Pop, &id).text).is_some());
    }

    #[test]
    fn what_is_no_secret_is_not_looked_up() {
        let digits = "0".repeat(64);
        for text in [
            "",
            "titan_admin_",
            "titan_admin_x",
            "titan_admin_x_00",
            "Bearer",
        ] {
            assert!(parse(Kind::Admin, text).is_none(), "{text}");
        }
        assert!(
            parse(Kind::Admin, &format!("titan_admin__{digits}")).is_none(),
            "no id"
        );
        let long = format!(
            "titan_admin_{}_{digits}",
            "x".repeat(limits::MAX_BEARER_LEN)
        );
        assert!(parse(Kind::Admin, &long).is_none(), "too long");
    }
}
