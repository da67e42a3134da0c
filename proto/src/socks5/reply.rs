//! The reply field of RFC 1928 §6.

use std::fmt;

/// How a SOCKS5 request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reply {
    /// The connection is there.
    Succeeded = 0,
    /// Any failure that has no code of its own.
    GeneralFailure = 1,
    /// A rule forbids the connection.
    NotAllowed = 2,
    /// No route to the target's network.
    NetworkUnreachable = 3,
    /// The target's host cannot be reached or found.
    HostUnreachable = 4,
    /// The target refused the connection.
    ConnectionRefused = 5,
    /// The hop limit of a packet ran out.
    TtlExpired = 6,
    /// The command is not CONNECT, or not one that is served.
    CommandNotSupported = 7,
    /// The address type is none that is served.
    AddressTypeNotSupported = 8,
}

impl Reply {
    /// The byte on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reply of a byte; those the RFC leaves unassigned count as a general failure.
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Succeeded,
            2 => Self::NotAllowed,
            3 => Self::NetworkUnreachable,
            4 => Self::HostUnreachable,
            5 => Self::ConnectionRefused,
            6 => Self::TtlExpired,
            7 => Self::CommandNotSupported,
            8 => Self::AddressTypeNotSupported,
            _ => Self::GeneralFailure,
        }
    }
}

/// The words of RFC 1928 §6.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Succeeded => "succeeded",
            Self::GeneralFailure => "general SOCKS server failure",
            Self::NotAllowed => "connection not allowed by ruleset",
            Self::NetworkUnreachable => "network unreachable",
            Self::HostUnreachable => "host unreachable",
            Self::ConnectionRefused => "connection refused",
            Self::TtlExpired => "TTL expired",
            Self::CommandNotSupported => "command not supported",
            Self::AddressTypeNotSupported => "address type not supported",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_reply_and_assigned_ones_keep_their_code() {
        for code in 0..=u8::MAX {
            let expected = if code <= 8 { code } else { 1 };
            assert_eq!(Reply::from_code(code).code(), expected);
        }
    }
}
