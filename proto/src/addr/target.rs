//! A host and a port, in the two forms in which they travel.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use bytes::BufMut;

use super::{AddrError, Host};

/// Longest target in its binary form: type, length, 255 bytes of name, port.
pub const MAX_ENCODED_TARGET: usize = 1 + 1 + 255 + 2;

/// Where a session goes.
///
/// The binary form is SOCKS5's (RFC 1928 §5), in client requests and in the tunnel's OPEN frames:
///
/// ```text
///   ATYP 1 │ IPv4 address, 4 bytes          │ port, big-endian
///   ATYP 3 │ length, 1 byte │ name          │ port
///   ATYP 4 │ IPv6 address, 16 bytes         │ port
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The port. The text forms refuse 0; the binary form carries it, because SOCKS5 uses it where
    /// no address is known yet (UDP ASSOCIATE).
    pub port: u16,
}

impl Target {
    /// A target of these parts.
    pub fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    /// Writes the binary form, at most [`MAX_ENCODED_TARGET`] bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        match &self.host {
            Host::V4(ip) => {
                out.put_u8(ATYP_IPV4);
                out.put_slice(&ip.octets());
            }
            Host::V6(ip) => {
                out.put_u8(ATYP_IPV6);
                out.put_slice(&ip.octets());
            }
            Host::Name(name) => {
                out.put_u8(ATYP_NAME);
                // Cannot be cut: a `HostName` has at most 253 bytes.
                out.put_u8(u8::try_from(name.as_str().len()).unwrap_or(u8::MAX));
                out.put_slice(name.as_str().as_bytes());
            }
        }
        out.put_u16(self.port);
    }

    /// Reads the binary form from the start of `input` and says how many bytes it took, or `None`
    /// where more must arrive first.
    ///
    /// # Errors
    ///
    /// [`AddrError::AddressType`] at the first byte, and the errors of [`Host::parse`] for a name.
    pub fn decode(input: &[u8]) -> Result<Option<(Self, usize)>, AddrError> {
        let Some((&kind, rest)) = input.split_first() else {
            return Ok(None);
        };
        let host = match kind {
            ATYP_IPV4 => rest
                .first_chunk::<4>()
                .map(|ip| (Host::from(IpAddr::from(*ip)), 4)),
            ATYP_IPV6 => rest
                .first_chunk::<16>()
                .map(|ip| (Host::from(IpAddr::from(*ip)), 16)),
            ATYP_NAME => decode_name(rest)?,
            _ => return Err(AddrError::AddressType(kind)),
        };
        Ok(host.and_then(|(host, len)| {
            let port = u16::from_be_bytes(*rest.get(len..)?.first_chunk()?);
            Some((Self { host, port }, 1 + len + 2))
        }))
    }

    /// Reads `host:port` as RFC 9110 §7.2 and §9.3.6 write it, with brackets around an IPv6
    /// address.
    ///
    /// # Errors
    ///
    /// What is wrong with the host or the port; a missing or empty port and port 0 are errors.
    pub fn parse_authority(text: impl AsRef<[u8]>) -> Result<Self, AddrError> {
        let (host, port) = split_authority(text.as_ref())?;
        let port = port.ok_or(AddrError::PortMissing)?;
        Ok(Self {
            host: Host::parse(host)?,
            port: parse_port(port)?,
        })
    }

    /// Reads `host` or `host:port`; `default_port` stands for a missing or empty port (RFC 3986
    /// §3.2.3).
    ///
    /// # Errors
    ///
    /// What is wrong with the host or the port; port 0 is an error.
    pub fn parse_authority_or(
        text: impl AsRef<[u8]>,
        default_port: u16,
    ) -> Result<Self, AddrError> {
        let (host, port) = split_authority(text.as_ref())?;
        let port = port.map_or(Ok(default_port), parse_port)?;
        Ok(Self {
            host: Host::parse(host)?,
            port,
        })
    }

    /// The socket address, unless the host is a name.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.host.ip()?, self.port))
    }
}

impl From<SocketAddr> for Target {
    fn from(addr: SocketAddr) -> Self {
        Self {
            host: addr.ip().into(),
            port: addr.port(),
        }
    }
}

/// As [`Target::parse_authority`].
impl FromStr for Target {
    type Err = AddrError;
    fn from_str(text: &str) -> Result<Self, AddrError> {
        Self::parse_authority(text)
    }
}

/// `host:port`, an IPv6 address in brackets.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::V6(ip) => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

const ATYP_IPV4: u8 = 1;
const ATYP_NAME: u8 = 3;
const ATYP_IPV6: u8 = 4;

/// The host behind a length byte, and the length of both. A client that has no resolver of its own
/// sends addresses as names, too; they become addresses here.
fn decode_name(input: &[u8]) -> Result<Option<(Host, usize)>, AddrError> {
    let Some((&len, rest)) = input.split_first() else {
        return Ok(None);
    };
    if len == 0 {
        return Err(AddrError::EmptyHost);
    }
    let len = usize::from(len);
    let Some(name) = rest.get(..len) else {
        return Ok(None);
    };
    Ok(Some((Host::parse(name)?, 1 + len)))
}

/// Host and port of an authority; the port is `None` where it is missing or empty.
fn split_authority(text: &[u8]) -> Result<(&[u8], Option<&[u8]>), AddrError> {
    if text.contains(&b'@') {
        return Err(AddrError::UserInfo);
    }
    // The colons of an IPv6 address are inside its brackets. Without them it is no host here, other
    // than in a SOCKS5 name: the host ends at the first colon.
    let host_end = match text.iter().position(|&b| b == b']') {
        Some(bracket) => bracket + 1,
        None => text.iter().position(|&b| b == b':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at_checked(host_end).unwrap_or((text, b""));
    match rest.split_first() {
        None => Ok((host, None)),
        Some((b':', port)) => Ok((host, Some(port).filter(|port| !port.is_empty()))),
        Some(_) => Err(AddrError::Ipv6Literal),
    }
}

/// Decimal digits only: `u16::from_str` alone would take `+80`.
fn parse_port(text: &[u8]) -> Result<u16, AddrError> {
    if text.len() > 5 || !text.iter().all(u8::is_ascii_digit) {
        return Err(AddrError::PortInvalid);
    }
    let port = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    match port.ok_or(AddrError::PortInvalid)? {
        0 => Err(AddrError::PortZero),
        port => Ok(port),
    }
}

/// Fuzz entry: whatever decodes must encode to something that decodes to the same.
#[cfg(any(test, feature = "fuzzing"))]
pub fn fuzz_target_codec(data: &[u8]) {
    if let Ok(Some((target, len))) = Target::decode(data) {
        assert!(len <= data.len() && len <= MAX_ENCODED_TARGET);
        let mut again = Vec::new();
        target.encode(&mut again);
        assert_eq!(Target::decode(&again), Ok(Some((target, again.len()))));
    }
    if let Ok(target) = Target::parse_authority(data) {
        assert_eq!(target.to_string().parse(), Ok(target));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    /// RFC 1928 §5, byte for byte.
    const VECTORS: &[(&str, &[u8])] = &[
        ("192.0.2.1:80", &[1, 192, 0, 2, 1, 0, 80]),
        ("example.com:443", b"\x03\x0bexample.com\x01\xbb"),
        (
            "[2001:db8::1]:65535",
            b"\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xff\xff",
        ),
    ];

    #[test]
    fn vectors_encode_and_decode_and_are_incomplete_at_every_split() {
        for (text, bytes) in VECTORS {
            let mut encoded = Vec::new();
            target(text).encode(&mut encoded);
            assert_eq!(&encoded, bytes);
            assert_eq!(target(text).to_string(), *text);
            for split in 0..bytes.len() {
                assert_eq!(
                    Target::decode(&bytes[..split]),
                    Ok(None),
                    "{text} at {split}"
                );
            }
            let followed = [bytes, &b"early data"[..]].concat();
            assert_eq!(
                Target::decode(&followed),
                Ok(Some((target(text), bytes.len())))
            );
        }
    }

    #[test]
    fn an_address_sent_as_a_name_becomes_an_address() {
        let v4 = Target::decode(b"\x03\x09127.0.0.1\0\x50");
        assert_eq!(v4, Ok(Some((target("127.0.0.1:80"), 13))));
        let v6 = Target::decode(b"\x03\x03::1\0\x50");
        assert_eq!(v6, Ok(Some((target("[::1]:80"), 7))));
        assert_eq!(
            Target::decode(b"\x03\x05127.1\0\x50"),
            Err(AddrError::NumericName)
        );
    }

    #[test]
    fn bad_binary_forms_are_refused_as_early_as_possible() {
        assert_eq!(Target::decode(b"\x02"), Err(AddrError::AddressType(2)));
        assert_eq!(Target::decode(b"\x03\0"), Err(AddrError::EmptyHost));
        assert_eq!(Target::decode(b"\x03\x01 "), Err(AddrError::NameByte(b' ')));
    }

    #[test]
    fn authorities_have_an_explicit_port() {
        assert_eq!(target("EXAMPLE.com.:8080"), target("example.com:8080"));
        assert_eq!(
            target("[::FFFF:1.2.3.4]:1").to_string(),
            "[::ffff:1.2.3.4]:1"
        );
        for (bad, error) in [
            ("", AddrError::PortMissing),
            ("example.com", AddrError::PortMissing),
            ("example.com:", AddrError::PortMissing),
            ("[::1]", AddrError::PortMissing),
            (":80", AddrError::EmptyHost),
            ("::1:80", AddrError::EmptyHost),
            ("a::2:80", AddrError::PortInvalid),
            ("[::1]80", AddrError::Ipv6Literal),
            ("[::1", AddrError::Ipv6Literal),
            ("x[::1]:80", AddrError::Ipv6Literal),
            ("a:0", AddrError::PortZero),
            ("a:65536", AddrError::PortInvalid),
            ("a:+80", AddrError::PortInvalid),
            ("a:000080", AddrError::PortInvalid),
            ("a: 80", AddrError::PortInvalid),
            ("user@a:80", AddrError::UserInfo),
            ("user:secret@a:80", AddrError::UserInfo),
        ] {
            assert_eq!(Target::parse_authority(bad), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn a_default_port_stands_for_a_missing_or_empty_one() {
        for text in ["example.com", "example.com:", "example.com:80"] {
            let parsed = Target::parse_authority_or(text, 80);
            assert_eq!(parsed, Ok(target("example.com:80")), "{text:?}");
        }
        assert_eq!(
            Target::parse_authority_or(b"[::1]", 80),
            Ok(target("[::1]:80"))
        );
        assert_eq!(
            Target::parse_authority_or(b"", 80),
            Err(AddrError::EmptyHost)
        );
        assert_eq!(
            Target::parse_authority_or(b"a:0", 80),
            Err(AddrError::PortZero)
        );
    }

    #[test]
    fn socket_addresses_convert_both_ways() {
        let addr: SocketAddr = "[2001:db8::1]:53".parse().unwrap();
        assert_eq!(Target::from(addr).socket_addr(), Some(addr));
        assert_eq!(target("example.com:53").socket_addr(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_survive_the_fuzz_entry(data: Vec<u8>) {
            fuzz_target_codec(&data);
        }

        #[test]
        fn names_survive_the_fuzz_entry(name in "[a-zA-Z0-9._:-]{1,80}", port: u16) {
            let mut data = vec![ATYP_NAME, u8::try_from(name.len()).unwrap()];
            data.extend_from_slice(name.as_bytes());
            data.extend_from_slice(&port.to_be_bytes());
            fuzz_target_codec(&data);
            fuzz_target_codec(format!("{name}:{port}").as_bytes());
        }

        #[test]
        fn addresses_round_trip(v4: u32, v6: u128, port: u16) {
            for ip in [IpAddr::from(v4.to_be_bytes()), IpAddr::from(v6.to_be_bytes())] {
                let target = Target::new(ip.into(), port);
                let mut bytes = Vec::new();
                target.encode(&mut bytes);
                prop_assert_eq!(Target::decode(&bytes), Ok(Some((target, bytes.len()))));
            }
        }
    }
}
