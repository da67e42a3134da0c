//! Where a client wants to go: hosts, targets, and which addresses belong to the public Internet.
//!
//! Addresses are parsed once, where they enter, and travel as types from there on. A name that
//! spells an IP address becomes that address, so that no rule about addresses can be dodged by
//! writing one as a name.

mod host;
mod public;
mod target;

pub use host::{Host, HostName};
pub use public::is_public;
pub use target::{MAX_ENCODED_TARGET, Target};

#[cfg(any(test, feature = "fuzzing"))]
pub use target::fuzz_target_codec;

/// The name that an edge answers for itself, without leaving the node.
///
/// `.internal` is reserved for private use (ICANN resolution 2024.07.29.06), so no public site can
/// ever have it.
pub const WHOAMI_HOST: &str = "whoami.titan.internal";

/// Why bytes or text are no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddrError {
    /// The address type is none of RFC 1928 §5.
    #[error("address type {0:#04x} is not supported")]
    AddressType(u8),
    /// There is no host at all.
    #[error("the host is empty")]
    EmptyHost,
    /// The name is longer than [`HostName::MAX_LEN`].
    #[error("the host name is longer than 253 bytes")]
    NameTooLong,
    /// A label of the name is empty or longer than 63 bytes (RFC 1035 §2.3.4).
    #[error("the host name has a label that is not 1 to 63 bytes long")]
    LabelLength,
    /// The name has a byte other than a letter, digit, hyphen, underscore or dot.
    #[error("byte {0:#04x} is not allowed in a host name")]
    NameByte(u8),
    /// The last label of the name is a number, which is how old resolvers spell IPv4 addresses
    /// (`127.1`, `0x7f000001`); no domain ends so.
    #[error("the host name ends in a number but is not an IPv4 address")]
    NumericName,
    /// Brackets that do not enclose an IPv6 address.
    #[error("the host is not a valid IPv6 address in brackets")]
    Ipv6Literal,
    /// A user name in front of the host (RFC 3986 §3.2.1).
    #[error("user information in the address is not allowed")]
    UserInfo,
    /// There is no port where one is required.
    #[error("the port is missing")]
    PortMissing,
    /// The port is no decimal number up to 65535.
    #[error("the port is not a number from 1 to 65535")]
    PortInvalid,
    /// Port 0, to which nobody can connect.
    #[error("port 0 cannot be connected to")]
    PortZero,
}
