//! What requests and responses have in common: header look-up and safe writing.

use httparse::Header;

use super::UpgradeError;
use crate::limits::UPGRADE_MAX_HEAD;

/// The header lines of a head.
pub(super) struct Headers<'a>(pub(super) &'a [Header<'a>]);

impl<'a> Headers<'a> {
    /// The values of a header that may be repeated.
    pub(super) fn all(
        &self,
        name: &'static str,
    ) -> impl Iterator<Item = Result<&'a str, UpgradeError>> {
        let lines = self
            .0
            .iter()
            .filter(move |line| line.name.eq_ignore_ascii_case(name));
        lines.map(move |line| str::from_utf8(line.value).map_err(|_| UpgradeError::Invalid(name)))
    }

    /// The value of a header that may come once at most.
    pub(super) fn optional(&self, name: &'static str) -> Result<Option<&'a str>, UpgradeError> {
        let mut values = self.all(name);
        let value = values.next().transpose()?;
        match values.next() {
            Some(_) => Err(UpgradeError::Repeated(name)),
            None => Ok(value),
        }
    }

    /// The value of a header that must come exactly once.
    pub(super) fn required(&self, name: &'static str) -> Result<&'a str, UpgradeError> {
        self.optional(name)?.ok_or(UpgradeError::Missing(name))
    }

    /// The elements of a comma-separated list, over all lines of that name (RFC 9110 §5.6.1).
    pub(super) fn list(&self, name: &'static str) -> Result<Vec<&'a str>, UpgradeError> {
        let mut elements = Vec::new();
        for value in self.all(name) {
            elements.extend(
                value?
                    .split(',')
                    .map(str::trim)
                    .filter(|element| !element.is_empty()),
            );
        }
        Ok(elements)
    }

    /// Whether the lists that §4.2.1 asks for name WebSocket and the upgrade to it.
    pub(super) fn check_upgrade(&self) -> Result<(), UpgradeError> {
        for (name, token) in [("Upgrade", "websocket"), ("Connection", "upgrade")] {
            if !self
                .list(name)?
                .iter()
                .any(|element| element.eq_ignore_ascii_case(token))
            {
                return Err(UpgradeError::NotWebSocket);
            }
        }
        Ok(())
    }
}

/// The length of the head at the front of `input`, or `None` while it is incomplete.
pub(super) fn head_len(
    input: &[u8],
    parsed: httparse::Result<usize>,
) -> Result<Option<usize>, UpgradeError> {
    match parsed {
        Ok(httparse::Status::Complete(len)) if len <= UPGRADE_MAX_HEAD => Ok(Some(len)),
        Ok(httparse::Status::Partial) if input.len() < UPGRADE_MAX_HEAD => Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Err(UpgradeError::TooLarge),
        Err(error) => Err(error.into()),
    }
}

/// `text` with every byte that is not visible ASCII percent-encoded, so that no value we are given
/// can end its line and begin another.
pub(super) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            0x21..=0x7e => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
