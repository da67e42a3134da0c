//! A range of ports as an operator writes it, for a firewall's sake.

use std::{ops::RangeInclusive, str::FromStr};

use serde::Deserialize;

/// Ports from the first to the last, none of them 0, as in `20000-29999`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The ports.
    pub fn ports(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

/// Why a text is no range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`udp_ports` is no range of ports as in 20000-29999")]
pub struct NoPortRange;

impl FromStr for PortRange {
    type Err = NoPortRange;

    fn from_str(text: &str) -> Result<Self, NoPortRange> {
        let (first, last) = text.split_once('-').ok_or(NoPortRange)?;
        let port = |text: &str| text.trim().parse().map_err(|_| NoPortRange);
        let (first, last) = (port(first)?, port(last)?);
        if first == 0 || first > last {
            return Err(NoPortRange);
        }
        Ok(Self { first, last })
    }
}

impl TryFrom<String> for PortRange {
    type Error = NoPortRange;

    fn try_from(text: String) -> Result<Self, NoPortRange> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_written() {
        let ports = |text: &str| text.parse().map(PortRange::ports);
        assert_eq!(ports("20000-29999"), Ok(20000..=29999));
        assert_eq!(ports("7 - 7"), Ok(7..=7));
        for wrong in ["", "-", "1", "0-9", "9-8", "1-65536", "a-b", "1-2-3"] {
            assert_eq!(ports(wrong), Err(NoPortRange), "{wrong:?}");
        }
    }
}
