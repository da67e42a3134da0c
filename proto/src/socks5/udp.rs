//! The header in front of every datagram between a client and its relay (RFC 1928 §7).
//!
//! ```text
//!   RSV, 2 bytes │ FRAG, 1 byte │ ATYP, address and port as in a request │ DATA
//! ```
//!
//! Behind FRAG it is what a DATAGRAM frame of the tunnel carries, so a relay that receives a
//! datagram with room in front passes its data on without a copy.

use bytes::BufMut;

use crate::addr::{AddrError, MAX_ENCODED_TARGET, Target};

/// Longest header: RSV, FRAG and the longest address.
pub const MAX_UDP_HEADER: usize = PREFIX + MAX_ENCODED_TARGET;

/// Why a datagram from a client cannot be relayed. It is dropped; the association goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UdpError {
    /// A fragment. Reassembly is optional (RFC 1928 §7), no client in use sends any, and "an
    /// implementation that does not support fragmentation MUST drop any datagram whose FRAG field is
    /// other than X'00'".
    #[error("fragment {0:#04x} of a datagram")]
    Fragment(u8),
    /// The datagram ends within its header.
    #[error("the datagram ends within its header")]
    Truncated,
    /// The target cannot be used.
    #[error("bad target: {0}")]
    Target(#[from] AddrError),
}

/// Reads the header of a client's datagram: where the data goes, and at which byte it begins. RSV is
/// not looked at: no harm comes of any value.
///
/// # Errors
///
/// What is wrong with the header; port 0 is an error, too.
pub fn decode_udp(datagram: &[u8]) -> Result<(Target, usize), UdpError> {
    let (&[_, _, fragment], rest) = datagram
        .split_first_chunk::<PREFIX>()
        .ok_or(UdpError::Truncated)?;
    if fragment != STANDALONE {
        return Err(UdpError::Fragment(fragment));
    }
    match Target::decode(rest)? {
        None => Err(UdpError::Truncated),
        Some((target, _)) if target.port == 0 => Err(AddrError::PortZero.into()),
        Some((target, len)) => Ok((target, PREFIX + len)),
    }
}

/// Writes the header of a datagram for a client, at most [`MAX_UDP_HEADER`] bytes; `source` is who
/// sent the data.
pub fn encode_udp_header(source: &Target, out: &mut impl BufMut) {
    out.put_slice(&[RESERVED, RESERVED, STANDALONE]);
    source.encode(out);
}

/// RSV and FRAG.
const PREFIX: usize = 3;
const RESERVED: u8 = 0;
/// FRAG of a datagram that is whole.
const STANDALONE: u8 = 0;

/// Fuzz entry: whatever decodes must encode to a header that decodes to the same.
#[cfg(any(test, feature = "fuzzing"))]
pub fn fuzz_socks5_udp(data: &[u8]) {
    let Ok((target, data_at)) = decode_udp(data) else {
        return;
    };
    assert!(data_at <= data.len() && data_at <= MAX_UDP_HEADER);
    let mut again = Vec::new();
    encode_udp_header(&target, &mut again);
    assert_eq!(decode_udp(&again), Ok((target, again.len())));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_of_every_kind_of_address_are_the_bytes_of_rfc_1928() {
        for (header, text) in [
            (&[0, 0, 0, 1, 192, 0, 2, 1, 0, 53][..], "192.0.2.1:53"),
            (b"\0\0\0\x03\x06a.test\0\x35", "a.test:53"),
            (
                b"\0\0\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x35",
                "[2001:db8::1]:53",
            ),
        ] {
            let target: Target = text.parse().expect("valid");
            let mut encoded = Vec::new();
            encode_udp_header(&target, &mut encoded);
            assert_eq!(encoded, header);
            let datagram = [header, &b"data"[..]].concat();
            assert_eq!(decode_udp(&datagram), Ok((target, header.len())));
            for len in 0..header.len() {
                assert_eq!(decode_udp(&header[..len]), Err(UdpError::Truncated));
            }
        }
    }

    #[test]
    fn an_empty_datagram_is_one() {
        let datagram = [0, 0, 0, 1, 192, 0, 2, 1, 0, 53];
        assert_eq!(decode_udp(&datagram).map(|(_, at)| at), Ok(datagram.len()));
    }

    #[test]
    fn what_cannot_be_relayed_is_told_apart() {
        for (datagram, error) in [
            (
                &[0, 0, 1, 1, 192, 0, 2, 1, 0, 53][..],
                UdpError::Fragment(1),
            ),
            (&[0, 0, 0x80, 9], UdpError::Fragment(0x80)),
            (&[0, 0, 0, 2], AddrError::AddressType(2).into()),
            (&[0, 0, 0, 3, 0], AddrError::EmptyHost.into()),
            (
                &[0, 0, 0, 1, 192, 0, 2, 1, 0, 0],
                AddrError::PortZero.into(),
            ),
        ] {
            assert_eq!(decode_udp(datagram), Err(error), "{datagram:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive_the_fuzz_entry(data: Vec<u8>) {
            fuzz_socks5_udp(&data);
        }

        #[test]
        fn any_address_round_trips(v6: bool, ip: u128, port in 1u16.., data: Vec<u8>) {
            let ip = if v6 {
                std::net::IpAddr::from(ip.to_be_bytes())
            } else {
                let [a, b, c, d, ..] = ip.to_be_bytes();
                std::net::IpAddr::from([a, b, c, d])
            };
            let target = Target::new(ip.into(), port);
            let mut datagram = Vec::new();
            encode_udp_header(&target, &mut datagram);
            let data_at = datagram.len();
            datagram.extend_from_slice(&data);
            prop_assert_eq!(decode_udp(&datagram), Ok((target, data_at)));
        }
    }
}
