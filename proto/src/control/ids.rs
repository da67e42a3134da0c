//! Names of users, PoPs, nodes and labels, parsed once at the edge of the system.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why a text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or longer than the kind of id allows.
    #[error("must have {min} to {max} characters")]
    Length {
        /// Fewest characters allowed.
        min: usize,
        /// Most characters allowed.
        max: usize,
    },
    /// A character outside the alphabet of this kind of id.
    #[error("character {0:?} is not allowed")]
    Character(char),
}

/// Implements the text form of an id: checked construction, `Display`, `FromStr` and serde.
macro_rules! text_id {
    ($name:ident) => {
        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                check(text, Self::MAX_LEN, Self::allows)?;
                Ok(Self(text.into()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }
    };
}

/// A user's base name: 1–64 of `A–Z a–z 0–9 . _ @ +`, case-sensitive.
///
/// The hyphen is not among them: it starts the parameters that a customer appends to the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z0-9._@+]{1,64}$"))]
#[serde(try_from = "String", into = "String")]
pub struct UserName(Box<str>);

impl UserName {
    /// Longest name in characters.
    pub const MAX_LEN: usize = 64;

    fn allows(c: char) -> bool {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@' | '+')
    }
}
text_id!(UserName);

/// A PoP's name as its operator chose it: 1–64 of `a–z 0–9 -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[a-z0-9-]{1,64}$"))]
#[serde(try_from = "String", into = "String")]
pub struct PopId(Box<str>);

impl PopId {
    /// Longest name in characters.
    pub const MAX_LEN: usize = 64;

    fn allows(c: char) -> bool {
        c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
    }
}
text_id!(PopId);

/// The name of a label: 1–64 of `a–z 0–9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[a-z0-9._-]{1,64}$"))]
#[serde(try_from = "String", into = "String")]
pub struct LabelName(Box<str>);

impl LabelName {
    /// Longest name in characters.
    pub const MAX_LEN: usize = 64;

    fn allows(c: char) -> bool {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-')
    }
}
text_id!(LabelName);

/// A short text of an operator's, such as a label's value or a token's name: 1–128 characters, none of
/// them a control character, because it is printed on terminals.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,128}$"))]
#[serde(try_from = "String", into = "String")]
pub struct Note(Box<str>);

impl Note {
    /// Longest text in characters.
    pub const MAX_LEN: usize = 128;

    fn allows(c: char) -> bool {
        !c.is_control()
    }
}
text_id!(Note);

/// A region: an ISO 3166-1 alpha-2 code. Read in either case, kept and written in upper case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[A-Za-z]{2}$"))]
#[serde(try_from = "String", into = "String")]
pub struct Region([u8; 2]);

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|&byte| write!(f, "{}", char::from(byte)))
    }
}

impl FromStr for Region {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if let Some(c) = text.chars().find(|c| !c.is_ascii_alphabetic()) {
            return Err(IdError::Character(c));
        }
        let code: [u8; 2] = text
            .as_bytes()
            .try_into()
            .map_err(|_| IdError::Length { min: 2, max: 2 })?;
        Ok(Self(code.map(|byte| byte.to_ascii_uppercase())))
    }
}

impl TryFrom<String> for Region {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Region> for String {
    fn from(region: Region) -> String {
        region.to_string()
    }
}

/// A node's id: the first 16 bytes of the SHA-256 of its Ed25519 public key, so that no node can
/// claim another's. Written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{32}$"))]
#[serde(try_from = "String", into = "String")]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// Derives the id of the node that owns `public_key`.
    pub fn from_public_key(public_key: &[u8; 32]) -> Self {
        let digest: [u8; 32] = Sha256::digest(public_key).into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }

    /// The id as bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if let Some(c) = text.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            return Err(IdError::Character(c));
        }
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id).map_err(|_| IdError::Length { min: 32, max: 32 })?;
        Ok(Self(id))
    }
}

impl TryFrom<String> for NodeId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<NodeId> for String {
    fn from(id: NodeId) -> String {
        id.to_string()
    }
}

fn check(text: &str, max: usize, allows: fn(char) -> bool) -> Result<(), IdError> {
    // Bytes first: what is far too long need not be counted through.
    if text.is_empty() || text.len() > 4 * max || text.chars().count() > max {
        return Err(IdError::Length { min: 1, max });
    }
    match text.chars().find(|&c| !allows(c)) {
        Some(c) => Err(IdError::Character(c)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_their_alphabet_are_refused() {
        assert_eq!("a-b".parse::<UserName>(), Err(IdError::Character('-')));
        assert_eq!("Pop".parse::<PopId>(), Err(IdError::Character('P')));
        assert_eq!(
            "".parse::<UserName>(),
            Err(IdError::Length { min: 1, max: 64 })
        );
        assert!("a".repeat(65).parse::<UserName>().is_err());
        assert!("a.b_c@d+1".parse::<UserName>().is_ok());
        assert_eq!("Plan".parse::<LabelName>(), Err(IdError::Character('P')));
        assert!("\u{1b}[2J".parse::<Note>().is_err());
    }

    #[test]
    fn a_label_is_measured_in_characters() {
        assert!("金".repeat(128).parse::<Note>().is_ok());
        assert!("金".repeat(129).parse::<Note>().is_err());
    }

    #[test]
    fn a_region_is_two_letters_in_upper_case() {
        assert_eq!(
            "us".parse::<Region>().map(|region| region.to_string()),
            Ok("US".into())
        );
        assert_eq!("U1".parse::<Region>(), Err(IdError::Character('1')));
        assert_eq!(
            "USA".parse::<Region>(),
            Err(IdError::Length { min: 2, max: 2 })
        );
    }

    #[test]
    fn a_node_id_survives_its_text_form() {
        let id = NodeId::from_public_key(&[7; 32]);
        assert_eq!(id.to_string().parse::<NodeId>(), Ok(id));
        assert!("00".parse::<NodeId>().is_err());
        assert!("A".repeat(32).parse::<NodeId>().is_err());
    }
}
