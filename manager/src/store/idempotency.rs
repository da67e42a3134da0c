//! Requests that are carried out once however often they come, and what they were answered.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::UnixTime;

/// A digest of 256 bits, written in hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Digest(#[serde(with = "hex::serde")] pub(crate) [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A request under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyedRequest {
    /// Digest of all that makes the request what it is.
    pub(crate) request: Digest,
    /// When the key means nothing any more.
    pub(crate) expires_at: UnixTime,
    /// What it was answered, sealed; absent while it is in progress, and where its outcome is unknown.
    #[serde(with = "hex_option")]
    pub(crate) answer: Option<Vec<u8>>,
}

/// What became of the attempt to be the first with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reservation {
    /// The caller is the first and shall carry the request out.
    Granted,
    /// Somebody was first, with this request.
    Known(KeyedRequest),
    /// The store remembers as many as it may; try again when some have expired.
    Full,
}

mod hex_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(hex::encode).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(hex::decode).transpose().map_err(D::Error::custom)
    }
}
