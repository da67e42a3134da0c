//! The frame header (RFC 6455 §5.2).

use bytes::BufMut;

use super::Error;

/// What a frame carries (§5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// The next part of the message that an earlier frame began.
    Continuation,
    /// A text message, or its first part.
    Text,
    /// A binary message, or its first part.
    Binary,
    /// The last frame of a direction.
    Close,
    /// A request for a pong.
    Ping,
    /// The answer to a ping, or a sign of life that nobody asked for.
    Pong,
}

impl Opcode {
    /// True for close, ping and pong.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    /// The opcode's four bits.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    /// The opcode of these four bits.
    ///
    /// # Errors
    ///
    /// [`Error::ReservedOpcode`] for the ten that have no meaning yet.
    pub const fn from_bits(bits: u8) -> Result<Self, Error> {
        Ok(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return Err(Error::ReservedOpcode(bits)),
        })
    }
}

/// A frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// True on the last frame of a message.
    pub fin: bool,
    /// RSV1, RSV2 and RSV3 as the low three bits, RSV1 the highest; 0 without extensions.
    pub rsv: u8,
    /// What the frame carries.
    pub opcode: Opcode,
    /// The masking key, when the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// Length of the payload in bytes; less than 2⁶³.
    pub len: u64,
}

/// Longest frame header in bytes: two, a 64-bit length and a masking key.
pub const MAX_LEN: usize = 14;

impl Header {
    /// Length of the encoded header in bytes, 2 to [`MAX_LEN`].
    pub const fn encoded_len(&self) -> usize {
        let length = match self.len {
            0..=125 => 0,
            126..=0xffff => 2,
            _ => 8,
        };
        2 + length + if self.mask.is_some() { 4 } else { 0 }
    }

    /// Writes the header to the front of `out` and returns its length in bytes.
    pub fn encode(&self, out: &mut [u8; MAX_LEN]) -> usize {
        debug_assert!(self.rsv < 8 && self.len < TOP_BIT);
        let mut rest = &mut out[..];
        rest.put_u8(u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode.bits());
        let masked = u8::from(self.mask.is_some()) << 7;
        match (u8::try_from(self.len), u16::try_from(self.len)) {
            (Ok(len @ ..=125), _) => rest.put_u8(masked | len),
            (_, Ok(len)) => {
                rest.put_u8(masked | LENGTH_IS_U16);
                rest.put_u16(len);
            }
            _ => {
                rest.put_u8(masked | LENGTH_IS_U64);
                rest.put_u64(self.len);
            }
        }
        if let Some(key) = self.mask {
            rest.put_slice(&key);
        }
        MAX_LEN - rest.len()
    }
}

/// Reads the header at the front of `input` and returns it with its length in bytes, or `None` while
/// it is incomplete.
///
/// # Errors
///
/// [`Error::ReservedOpcode`], [`Error::LengthNotMinimal`] or [`Error::LengthTooLarge`], each as
/// soon as the bytes that show it are there.
pub fn decode(input: &[u8]) -> Result<Option<(Header, usize)>, Error> {
    let Some((&first, rest)) = input.split_first() else {
        return Ok(None);
    };
    let opcode = Opcode::from_bits(first & 0x0f)?;
    let Some((&second, rest)) = rest.split_first() else {
        return Ok(None);
    };
    let Some((len, rest)) = decode_length(second & 0x7f, rest)? else {
        return Ok(None);
    };
    let (mask, rest) = match rest.split_first_chunk() {
        _ if second & 0x80 == 0 => (None, rest),
        Some((key, rest)) => (Some(*key), rest),
        None => return Ok(None),
    };
    let header = Header {
        fin: first & 0x80 != 0,
        rsv: first >> 4 & 0b111,
        opcode,
        mask,
        len,
    };
    Ok(Some((header, input.len() - rest.len())))
}

/// Appends a header with clear reserved bits to `out`, which must have room for
/// [`Header::encoded_len`] bytes.
pub fn encode_frame_header(
    fin: bool,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    len: u64,
    out: &mut impl BufMut,
) {
    let mut bytes = [0; MAX_LEN];
    let encoded = Header {
        fin,
        rsv: 0,
        opcode,
        mask,
        len,
    }
    .encode(&mut bytes);
    out.put_slice(&bytes[..encoded]);
}

/// Decodes the payload length whose first seven bits are `short`; returns it with what follows it.
fn decode_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, Error> {
    let (len, shortest, rest) = match short {
        LENGTH_IS_U64 => match rest.split_first_chunk() {
            Some((len, rest)) => (u64::from_be_bytes(*len), 0x1_0000, rest),
            None => return Ok(None),
        },
        LENGTH_IS_U16 => match rest.split_first_chunk() {
            Some((len, rest)) => (u16::from_be_bytes(*len).into(), 126, rest),
            None => return Ok(None),
        },
        _ => (short.into(), 0, rest),
    };
    if len < shortest {
        return Err(Error::LengthNotMinimal(len));
    }
    if len & TOP_BIT != 0 {
        return Err(Error::LengthTooLarge(len));
    }
    Ok(Some((len, rest)))
}

/// Value of the seven length bits when a 16-bit length follows.
const LENGTH_IS_U16: u8 = 126;
/// Value of the seven length bits when a 64-bit length follows.
const LENGTH_IS_U64: u8 = 127;
/// The bit that must be clear in a 64-bit length.
const TOP_BIT: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(header: &Header) -> Vec<u8> {
        let mut bytes = [0; MAX_LEN];
        let len = header.encode(&mut bytes);
        assert_eq!(len, header.encoded_len());
        bytes[..len].to_vec()
    }

    fn binary(len: u64) -> Header {
        Header {
            fin: true,
            rsv: 0,
            opcode: Opcode::Binary,
            mask: None,
            len,
        }
    }

    /// The headers of the examples in §5.7.
    #[test]
    fn rfc_examples_encode_and_decode() {
        let text = Header {
            opcode: Opcode::Text,
            ..binary(5)
        };
        let masked = Some([0x37, 0xfa, 0x21, 0x3d]);
        let examples: [(Header, &[u8]); 8] = [
            (text, &[0x81, 0x05]),
            (
                Header {
                    mask: masked,
                    ..text
                },
                &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d],
            ),
            (
                Header {
                    fin: false,
                    len: 3,
                    ..text
                },
                &[0x01, 0x03],
            ),
            (
                Header {
                    opcode: Opcode::Continuation,
                    ..binary(2)
                },
                &[0x80, 0x02],
            ),
            (
                Header {
                    opcode: Opcode::Ping,
                    ..text
                },
                &[0x89, 0x05],
            ),
            (
                Header {
                    opcode: Opcode::Pong,
                    mask: masked,
                    ..text
                },
                &[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d],
            ),
            (binary(256), &[0x82, 0x7e, 0x01, 0x00]),
            (binary(65536), &[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]),
        ];
        for (header, bytes) in examples {
            assert_eq!(encoded(&header), bytes);
            assert_eq!(decode(bytes), Ok(Some((header, bytes.len()))));
        }
    }

    #[test]
    fn lengths_take_the_shortest_form_and_no_other_is_accepted() {
        for (len, bytes) in [
            (125, 2),
            (126, 4),
            (65535, 4),
            (65536, 10),
            (TOP_BIT - 1, 10),
        ] {
            assert_eq!(encoded(&binary(len)).len(), bytes);
        }
        assert_eq!(
            decode(&[0x82, 126, 0, 125]),
            Err(Error::LengthNotMinimal(125))
        );
        assert_eq!(
            decode(&[0x82, 127, 0, 0, 0, 0, 0, 0, 255, 255]),
            Err(Error::LengthNotMinimal(65535))
        );
        assert_eq!(
            decode(&[0x82, 127, 128, 0, 0, 0, 0, 0, 0, 0]),
            Err(Error::LengthTooLarge(TOP_BIT))
        );
    }

    #[test]
    fn reserved_opcodes_are_refused_at_the_first_byte() {
        for bits in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
            assert_eq!(decode(&[0x80 | bits]), Err(Error::ReservedOpcode(bits)));
        }
    }

    fn any_header() -> impl Strategy<Value = Header> {
        let opcode = (0_u8..16).prop_filter_map("reserved", |bits| Opcode::from_bits(bits).ok());
        let len = (any::<u64>(), 1_u32..64).prop_map(|(bits, shift)| bits >> shift);
        (
            any::<bool>(),
            0_u8..8,
            opcode,
            any::<Option<[u8; 4]>>(),
            len,
        )
            .prop_map(|(fin, rsv, opcode, mask, len)| Header {
                fin,
                rsv,
                opcode,
                mask,
                len,
            })
    }

    proptest! {
        #[test]
        fn a_header_survives_its_wire_form_and_every_prefix_is_incomplete(header in any_header()) {
            let mut bytes = encoded(&header);
            let len = bytes.len();
            for cut in 0..len {
                prop_assert_eq!(decode(&bytes[..cut]), Ok(None));
            }
            bytes.extend_from_slice(b"payload");
            prop_assert_eq!(decode(&bytes), Ok(Some((header, len))));
        }
    }
}
