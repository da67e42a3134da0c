//! Which addresses belong to the public Internet.
//!
//! An edge stands in somebody's home or office. What it may be told to connect to is what anybody
//! can reach from anywhere; its owner's network, its router and the machine itself are none of the
//! proxy's business. The tables follow the IANA special-purpose address registries (RFC 6890, with
//! RFC 8190's "globally reachable" column), and the stricter reading is taken where one is open.
//!
//! NAT64 prefixes that a network chose for itself (RFC 6052 §2.2) cannot be told from ordinary
//! addresses; only the well-known prefix is looked into.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `ip` is a unicast address of the public Internet.
///
/// An IPv6 address that carries an IPv4 address to which its packets finally go is public only if
/// that one is.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let bits = ip.to_bits();
    !SPECIAL_V4
        .iter()
        .any(|&(prefix, len)| (bits ^ prefix.to_bits()) >> (32 - len) == 0)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let bits = ip.to_bits();
    let known = SPECIAL_V6.iter().find(|(prefix, len, _)| {
        (bits ^ prefix.to_bits())
            .checked_shr(128 - len)
            .unwrap_or(0)
            == 0
    });
    match known {
        Some((_, _, Verdict::Public)) => true,
        Some((_, _, Verdict::Special)) => false,
        Some((_, _, Verdict::EmbeddedAt(shift))) => is_public_v4(v4_at(bits, *shift)),
        Some((_, _, Verdict::Teredo)) => {
            // RFC 4380 §4: the server's address, then the client's with every bit inverted.
            is_public_v4(v4_at(bits, 64)) && is_public_v4(v4_at(!bits, 0))
        }
        None => GLOBAL_UNICAST.contains(&ip.segments()[0]),
    }
}

/// The IPv4 address `shift` bits above the lowest bit of an IPv6 address.
#[expect(
    clippy::cast_possible_truncation,
    reason = "cutting out 32 bits is the purpose"
)]
fn v4_at(bits: u128, shift: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits((bits >> shift) as u32)
}

/// What a row of the IPv6 table says of its range.
enum Verdict {
    /// Reachable from anywhere, though a wider range around it is not.
    Public,
    /// Not for the public Internet.
    Special,
    /// As the IPv4 address that begins this many bits above the lowest bit.
    EmbeddedAt(u32),
    /// As the two IPv4 addresses inside, both.
    Teredo,
}

/// First segments of 2000::/3, the only block that IANA hands out for global unicast (RFC 4291
/// §2.4, RFC 3587). Everything else outside the table below is reserved.
const GLOBAL_UNICAST: std::ops::RangeInclusive<u16> = 0x2000..=0x3fff;

/// The ranges of IPv4 that are not public: prefix and its length in bits.
const SPECIAL_V4: &[(Ipv4Addr, u32)] = &[
    // "This network", RFC 791 §3.2, RFC 1122 §3.2.1.3. Linux connects to itself on 0.0.0.0.
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    // Private use, RFC 1918.
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Shared address space of carrier-grade NAT, RFC 6598.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    // Loopback, RFC 1122 §3.2.1.3.
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local, RFC 3927; the metadata services of clouds answer here.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // IETF protocol assignments, RFC 6890 §2.1. Its two anycast addresses count as reachable, but
    // 192.0.0.9 is the owner's own router (PCP, RFC 7723).
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation, RFC 5737.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // 6to4 relay anycast, deprecated, RFC 7526.
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    // Benchmarking, RFC 2544.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // Multicast, RFC 5771.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved, RFC 1112 §4, with limited broadcast at its end, RFC 8190.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The ranges of IPv6 that need a word: prefix, its length in bits, verdict. The first row that
/// matches decides, so a range stands after those inside it.
///
/// Rows outside 2000::/3 would be refused without standing here; they are listed so that the table
/// can be held against the registry.
const SPECIAL_V6: &[(Ipv6Addr, u32, Verdict)] = &[
    // Unspecified and loopback, RFC 4291 §2.5.2 and §2.5.3, and the IPv4-compatible addresses
    // around them, deprecated and without a route, §2.5.5.1.
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 0), 96, Verdict::Special),
    // IPv4-mapped, RFC 4291 §2.5.5.2: the kernel connects these by IPv4.
    (
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0),
        96,
        Verdict::EmbeddedAt(0),
    ),
    // NAT64 with the well-known prefix, RFC 6052.
    (
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0),
        96,
        Verdict::EmbeddedAt(0),
    ),
    // NAT64 for local use, RFC 8215.
    (
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0),
        48,
        Verdict::Special,
    ),
    // Discard-only, RFC 6666, and the dummy prefix, RFC 9780.
    (
        Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0),
        64,
        Verdict::Special,
    ),
    (
        Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 0),
        64,
        Verdict::Special,
    ),
    // Teredo, RFC 4380.
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        32,
        Verdict::Teredo,
    ),
    // AMT, RFC 7450, and AS112, RFC 7535: anycast services open to all.
    (
        Ipv6Addr::new(0x2001, 3, 0, 0, 0, 0, 0, 0),
        32,
        Verdict::Public,
    ),
    (
        Ipv6Addr::new(0x2001, 4, 0x112, 0, 0, 0, 0, 0),
        48,
        Verdict::Public,
    ),
    // IETF protocol assignments, RFC 2928, among them the owner's router (PCP, RFC 7723),
    // benchmarking (RFC 5180) and identifiers that are no addresses (RFC 7343, RFC 9374).
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        Verdict::Special,
    ),
    // Documentation, RFC 3849 and RFC 9637.
    (
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
        32,
        Verdict::Special,
    ),
    (
        Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0),
        20,
        Verdict::Special,
    ),
    // 6to4, RFC 3056: the IPv4 address of the site's router follows the first 16 bits.
    (
        Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0),
        16,
        Verdict::EmbeddedAt(80),
    ),
    // Segment routing identifiers, RFC 9602.
    (
        Ipv6Addr::new(0x5f00, 0, 0, 0, 0, 0, 0, 0),
        16,
        Verdict::Special,
    ),
    // Unique local, RFC 4193.
    (
        Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0),
        7,
        Verdict::Special,
    ),
    // Link-local, RFC 4291 §2.5.6, and site-local, deprecated, RFC 3879.
    (
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
        10,
        Verdict::Special,
    ),
    (
        Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0),
        10,
        Verdict::Special,
    ),
    // Multicast, RFC 4291 §2.7.
    (
        Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0),
        8,
        Verdict::Special,
    ),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    /// First and last address of each range, and whether the ones just outside are public.
    const V4_RANGES: &[(&str, &str, Option<&str>, Option<&str>)] = &[
        ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
        (
            "10.0.0.0",
            "10.255.255.255",
            Some("9.255.255.255"),
            Some("11.0.0.0"),
        ),
        (
            "100.64.0.0",
            "100.127.255.255",
            Some("100.63.255.255"),
            Some("100.128.0.0"),
        ),
        (
            "127.0.0.0",
            "127.255.255.255",
            Some("126.255.255.255"),
            Some("128.0.0.0"),
        ),
        (
            "169.254.0.0",
            "169.254.255.255",
            Some("169.253.255.255"),
            Some("169.255.0.0"),
        ),
        (
            "172.16.0.0",
            "172.31.255.255",
            Some("172.15.255.255"),
            Some("172.32.0.0"),
        ),
        (
            "192.0.0.0",
            "192.0.0.255",
            Some("191.255.255.255"),
            Some("192.0.1.0"),
        ),
        (
            "192.0.2.0",
            "192.0.2.255",
            Some("192.0.1.255"),
            Some("192.0.3.0"),
        ),
        (
            "192.88.99.0",
            "192.88.99.255",
            Some("192.88.98.255"),
            Some("192.88.100.0"),
        ),
        (
            "192.168.0.0",
            "192.168.255.255",
            Some("192.167.255.255"),
            Some("192.169.0.0"),
        ),
        (
            "198.18.0.0",
            "198.19.255.255",
            Some("198.17.255.255"),
            Some("198.20.0.0"),
        ),
        (
            "198.51.100.0",
            "198.51.100.255",
            Some("198.51.99.255"),
            Some("198.51.101.0"),
        ),
        (
            "203.0.113.0",
            "203.0.113.255",
            Some("203.0.112.255"),
            Some("203.0.114.0"),
        ),
        (
            "224.0.0.0",
            "239.255.255.255",
            Some("223.255.255.255"),
            None,
        ),
        ("240.0.0.0", "255.255.255.255", None, None),
    ];

    const V6_RANGES: &[(&str, &str, Option<&str>, Option<&str>)] = &[
        ("::", "::ffff:ffff", None, None),
        (
            "64:ff9b:1::",
            "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
            None,
            None,
        ),
        ("100::", "100::1:ffff:ffff:ffff:ffff", None, None),
        (
            "2001:1::",
            "2001:2:ffff:ffff:ffff:ffff:ffff:ffff",
            None,
            Some("2001:3::"),
        ),
        (
            "2001:4:113::",
            "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
            None,
            Some("2001:200::"),
        ),
        (
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            Some("2001:db7::"),
            Some("2001:db9::"),
        ),
        (
            "3fff::",
            "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
            Some("3ffe:ffff::"),
            Some("3fff:1000::"),
        ),
        ("4000::", "5fff:ffff::", Some("3fff:ffff::"), None),
        (
            "fc00::",
            "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            None,
            None,
        ),
        (
            "fe80::",
            "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            None,
            None,
        ),
        (
            "fec0::",
            "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            None,
            None,
        ),
        (
            "ff00::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            None,
            None,
        ),
    ];

    #[test]
    fn both_ends_of_every_range_are_refused_and_their_neighbours_are_not() {
        for (first, last, before, after) in V4_RANGES.iter().chain(V6_RANGES) {
            assert!(!public(first), "{first}");
            assert!(!public(last), "{last}");
            for neighbour in [before, after].into_iter().flatten() {
                assert!(public(neighbour), "{neighbour}");
            }
        }
    }

    #[test]
    fn every_row_of_the_ipv4_table_is_tested_at_its_ends() {
        for (prefix, len) in SPECIAL_V4 {
            let last = Ipv4Addr::from_bits(prefix.to_bits() | (u32::MAX >> len));
            let tested = V4_RANGES
                .iter()
                .any(|row| row.0 == prefix.to_string() && row.1 == last.to_string());
            assert!(tested, "{prefix}/{len}");
        }
    }

    #[test]
    fn addresses_of_real_services_are_public() {
        for ip in [
            "1.1.1.1",
            "8.8.8.8",
            "192.31.196.1",
            "192.175.48.1",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
            "2620:4f:8000::1",
            "2001:4:112::1",
        ] {
            assert!(public(ip), "{ip}");
        }
    }

    #[test]
    fn the_owners_router_is_not_public_by_its_anycast_address() {
        assert!(!public("192.0.0.9"));
        assert!(!public("2001:1::1"));
    }

    #[test]
    fn embedded_ipv4_addresses_decide() {
        for (with_public, with_private) in [
            ("::ffff:8.8.8.8", "::ffff:127.0.0.1"),
            ("64:ff9b::8.8.8.8", "64:ff9b::192.168.1.1"),
            ("2002:808:808::1", "2002:a00:1::1"),
            // Server 8.8.8.8; client 8.8.4.4 and 10.0.0.1, inverted.
            (
                "2001:0:808:808:0:0:f7f7:fbfb",
                "2001:0:808:808:0:0:f5ff:fffe",
            ),
        ] {
            assert!(public(with_public), "{with_public}");
            assert!(!public(with_private), "{with_private}");
        }
        // A Teredo server on the inside does not help either: 10.0.0.1, client 8.8.4.4.
        assert!(!public("2001:0:a00:1:0:0:f7f7:fbfb"));
        // IPv4-compatible addresses have no route at all.
        assert!(!public("::8.8.8.8"));
    }

    proptest! {
        #[test]
        fn no_wrapping_makes_an_ipv4_address_more_public(bits: u32) {
            let ip = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = ip.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let expected = is_public(ip.into());
            for wrapped in [
                ip.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 0x808, 0x808, 0, 0, !high, !low),
            ] {
                prop_assert_eq!(is_public(wrapped.into()), expected, "{}", wrapped);
            }
        }

        #[test]
        fn agrees_with_the_standard_library_where_it_has_a_word(bits: u32) {
            let ip = Ipv4Addr::from_bits(bits);
            let special = ip.is_private() || ip.is_loopback() || ip.is_link_local()
                || ip.is_multicast() || ip.is_broadcast() || ip.is_documentation() || ip.is_unspecified();
            prop_assert!(!(special && is_public(ip.into())), "{}", ip);
        }
    }
}
