//! How many tunnels an edge keeps open.

use std::{fmt, str::FromStr};

use serde::Deserialize;

use crate::limits::MAX_TUNNELS;

/// A number of tunnels, 1 to 16; 1 by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub struct TunnelCount(u8);

/// The number is 0 or beyond [`TunnelCount`]'s bound, or it is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a number from 1 to {MAX_TUNNELS}")]
pub struct BadTunnelCount;

impl TunnelCount {
    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for TunnelCount {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u8> for TunnelCount {
    type Error = BadTunnelCount;

    fn try_from(number: u8) -> Result<Self, BadTunnelCount> {
        match number {
            1..=MAX_TUNNELS => Ok(Self(number)),
            _ => Err(BadTunnelCount),
        }
    }
}

impl FromStr for TunnelCount {
    type Err = BadTunnelCount;

    fn from_str(text: &str) -> Result<Self, BadTunnelCount> {
        text.parse()
            .map_err(|_| BadTunnelCount)
            .and_then(|number: u8| Self::try_from(number))
    }
}

impl fmt::Display for TunnelCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_and_too_many_are_no_number_of_tunnels() {
        for good in ["1", "4", "16"] {
            let count: TunnelCount = good.parse().unwrap();
            assert_eq!(count.to_string(), good);
        }
        for bad in ["0", "17", "256", "-1", "many", ""] {
            assert_eq!(bad.parse::<TunnelCount>(), Err(BadTunnelCount), "{bad}");
        }
    }
}
