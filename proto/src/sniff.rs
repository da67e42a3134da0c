//! Tells what a client on the mixed proxy port speaks.

/// A protocol that a proxy client may begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// SOCKS5, RFC 1928.
    Socks5,
    /// SOCKS4 or SOCKS4a, which are not served but deserve a clear answer.
    Socks4,
    /// HTTP/1, RFC 9112.
    Http,
    /// Something else, TLS for example.
    Unknown,
}

/// The protocol of a client whose first byte is `first`.
///
/// SOCKS begins with its version. HTTP begins with a method; every registered one starts with an
/// upper-case letter, and methods are case-sensitive (RFC 9110 §9.1).
pub const fn sniff(first: u8) -> Protocol {
    match first {
        5 => Protocol::Socks5,
        4 => Protocol::Socks4,
        b'A'..=b'Z' => Protocol::Http,
        _ => Protocol::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_decides() {
        assert_eq!(sniff(5), Protocol::Socks5);
        assert_eq!(sniff(4), Protocol::Socks4);
        for method in ["CONNECT", "GET", "OPTIONS", "PROPFIND", "ZZZ", "ACL"] {
            assert_eq!(sniff(method.as_bytes()[0]), Protocol::Http, "{method}");
        }
        // A TLS record, a line end, an SSH banner in lower case, the neighbours of the letters.
        for other in [0x16, b'\r', b's', b'@', b'[', 0, 6, 0xff] {
            assert_eq!(sniff(other), Protocol::Unknown, "{other:#04x}");
        }
    }
}
