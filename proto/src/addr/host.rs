//! A host as a client named it: an address or a checked name.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::AddrError;

/// A domain name, lower-cased and without the trailing dot: 1–253 bytes of letters, digits,
/// hyphens and underscores in labels of 1–63 bytes.
///
/// The underscore is no part of a host name in RFC 1123 §2.1, but names in use have it. Names in
/// other scripts arrive in their ASCII form (RFC 5891); their UTF-8 form is refused, because each
/// resolver would read it in its own way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Box<str>);

impl HostName {
    /// Longest name in bytes: 255 on the wire of DNS (RFC 1035 §3.1) less the first length byte and
    /// the root label.
    pub const MAX_LEN: usize = 253;

    /// Checks and normalises a name.
    ///
    /// # Errors
    ///
    /// Whatever breaks the rules above, and [`AddrError::NumericName`] for a name whose last label
    /// is a number. An IPv4 address is such a name: parse a [`Host`] where one may come.
    pub fn parse(name: &[u8]) -> Result<Self, AddrError> {
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.is_empty() {
            return Err(AddrError::EmptyHost);
        }
        if name.len() > Self::MAX_LEN {
            return Err(AddrError::NameTooLong);
        }
        let lower = name.iter().map(name_char).collect::<Result<String, _>>()?;
        check_labels(&lower)?;
        Ok(Self(lower.into()))
    }

    /// The name, lower-case, without a trailing dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for HostName {
    type Err = AddrError;
    fn from_str(text: &str) -> Result<Self, AddrError> {
        Self::parse(text.as_bytes())
    }
}

/// A host: an address, or a name that the edge resolves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address.
    V6(Ipv6Addr),
    /// A name, which is never the text of an address.
    Name(HostName),
}

impl Host {
    /// Reads a host from text: `192.0.2.1`, `2001:db8::1`, `[2001:db8::1]` or a name.
    ///
    /// # Errors
    ///
    /// [`AddrError::Ipv6Literal`] for what is in brackets or holds a colon and is no IPv6 address
    /// (zones as in `fe80::1%eth0` mean nothing on another machine), else as [`HostName::parse`].
    pub fn parse(text: &[u8]) -> Result<Self, AddrError> {
        if let Some(ip) = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<IpAddr>().ok())
        {
            return Ok(Self::from(ip));
        }
        if text.starts_with(b"[") || text.contains(&b':') {
            return bracketed(text).map(Self::V6).ok_or(AddrError::Ipv6Literal);
        }
        HostName::parse(text).map(Self::Name)
    }

    /// The address, unless this is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::V4(ip) => Some(IpAddr::V4(*ip)),
            Self::V6(ip) => Some(IpAddr::V6(*ip)),
            Self::Name(_) => None,
        }
    }

    /// The name, unless this is an address.
    pub fn name(&self) -> Option<&HostName> {
        match self {
            Self::Name(name) => Some(name),
            Self::V4(_) | Self::V6(_) => None,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => Self::V6(ip),
        }
    }
}

impl From<Ipv4Addr> for Host {
    fn from(ip: Ipv4Addr) -> Self {
        Self::V4(ip)
    }
}

impl From<Ipv6Addr> for Host {
    fn from(ip: Ipv6Addr) -> Self {
        Self::V6(ip)
    }
}

impl FromStr for Host {
    type Err = AddrError;
    fn from_str(text: &str) -> Result<Self, AddrError> {
        Self::parse(text.as_bytes())
    }
}

/// Without brackets around an IPv6 address; [`super::Target`] writes them.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(ip) => ip.fmt(f),
            Self::V6(ip) => ip.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Longest label in bytes (RFC 1035 §2.3.4).
const MAX_LABEL_LEN: usize = 63;

fn name_char(byte: &u8) -> Result<char, AddrError> {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            Ok(char::from(byte.to_ascii_lowercase()))
        }
        _ => Err(AddrError::NameByte(*byte)),
    }
}

fn check_labels(name: &str) -> Result<(), AddrError> {
    if name
        .split('.')
        .any(|label| label.is_empty() || label.len() > MAX_LABEL_LEN)
    {
        return Err(AddrError::LabelLength);
    }
    match name.rsplit('.').next() {
        Some(last) if is_number(last) => Err(AddrError::NumericName),
        _ => Ok(()),
    }
}

/// Whether `inet_aton`, and with it every C resolver, reads the label as a number: decimal, octal
/// or `0x` and hexadecimal digits, of which there may be none.
fn is_number(label: &str) -> bool {
    let decimal = label.bytes().all(|b| b.is_ascii_digit());
    let hexadecimal = label
        .strip_prefix("0x")
        .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    decimal || hexadecimal
}

fn bracketed(text: &[u8]) -> Option<Ipv6Addr> {
    let inner = text.strip_prefix(b"[")?.strip_suffix(b"]")?;
    std::str::from_utf8(inner).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Result<String, AddrError> {
        HostName::parse(text.as_bytes()).map(|name| name.to_string())
    }

    #[test]
    fn names_are_lower_cased_and_lose_their_trailing_dot() {
        assert_eq!(name("WWW.Example.COM."), Ok("www.example.com".into()));
        assert_eq!(name("localhost"), Ok("localhost".into()));
        assert_eq!(
            name("r3---sn-4g5e6nsz.example"),
            Ok("r3---sn-4g5e6nsz.example".into())
        );
        assert_eq!(
            name("_dmarc.xn--bcher-kva.example"),
            Ok("_dmarc.xn--bcher-kva.example".into())
        );
    }

    #[test]
    fn lengths_are_checked_at_both_ends() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), HostName::MAX_LEN);
        assert_eq!(name(&longest), Ok(longest.clone()));
        assert_eq!(name(&format!("{longest}.")), Ok(longest.clone()));
        assert_eq!(name(&format!("{longest}a")), Err(AddrError::NameTooLong));
        assert_eq!(name(&label), Ok(label.clone()));
        assert_eq!(name(&format!("{label}a")), Err(AddrError::LabelLength));
    }

    #[test]
    fn malformed_names_are_refused() {
        assert_eq!(name(""), Err(AddrError::EmptyHost));
        assert_eq!(name("."), Err(AddrError::EmptyHost));
        for bad in ["a..b", ".a", "a.."] {
            assert_eq!(name(bad), Err(AddrError::LabelLength), "{bad:?}");
        }
        for bad in [
            "a b",
            "a/b",
            "a\0",
            "user@a",
            "a%2e",
            "bücher.example",
            "a:1",
        ] {
            assert!(matches!(name(bad), Err(AddrError::NameByte(_))), "{bad:?}");
        }
    }

    #[test]
    fn an_address_in_any_old_spelling_is_no_name() {
        for bad in [
            "127.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "1.2.3.4.5",
            "a.0x",
        ] {
            assert_eq!(name(bad), Err(AddrError::NumericName), "{bad:?}");
            assert_eq!(bad.parse::<Host>(), Err(AddrError::NumericName), "{bad:?}");
        }
        assert_eq!(name("1.2.3.4.example"), Ok("1.2.3.4.example".into()));
        assert_eq!(name("a.0xg"), Ok("a.0xg".into()));
    }

    #[test]
    fn an_address_becomes_an_address() {
        assert_eq!("127.0.0.1".parse(), Ok(Host::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!("::1".parse(), Ok(Host::V6(Ipv6Addr::LOCALHOST)));
        assert_eq!("[::1]".parse(), Ok(Host::V6(Ipv6Addr::LOCALHOST)));
        assert!(matches!("example.com".parse(), Ok(Host::Name(_))));
        for bad in [
            "[::1",
            "::1]",
            "[127.0.0.1]",
            "[]",
            "fe80::1%eth0",
            "[fe80::1%25eth0]",
            "a:b",
        ] {
            assert_eq!(bad.parse::<Host>(), Err(AddrError::Ipv6Literal), "{bad:?}");
        }
        // The trailing dot makes no name of an address.
        assert_eq!("127.0.0.1.".parse::<Host>(), Err(AddrError::NumericName));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail_without_a_panic(bytes: Vec<u8>) {
            let _ = Host::parse(&bytes);
        }

        #[test]
        fn what_parses_survives_its_text_form(text in "[a-zA-Z0-9._:\\[\\]-]{1,40}") {
            if let Ok(host) = text.parse::<Host>() {
                prop_assert_eq!(host.to_string().parse::<Host>(), Ok(host));
            }
        }
    }
}
