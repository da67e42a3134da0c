//! The chunked transfer coding (RFC 9112 §7.1): found to its end, byte for byte, and passed on.

use super::fields::{LONGEST_FORBIDDEN_TRAILER, is_forbidden_trailer};
use crate::limits::{CHUNKED_MAX_EXTENSION, CHUNKED_MAX_TRAILER};

/// Why chunked content is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("chunked content: {0}")]
pub struct ChunkError(pub(super) &'static str);

/// A stretch of a message's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Bytes of framing it begins with.
    pub framing: usize,
    /// Bytes of data behind them.
    pub data: usize,
}

/// A reader of chunked content. It holds no bytes: it says what those that pass by are.
///
/// The grammar is the RFC's without its leniencies: CR LF and nothing else ends a line, no white
/// space around a size, sizes of 64 bits at most, extensions and trailers within bounds. Two
/// readers that differ over where content ends read two different messages behind it.
///
/// ```text
///  [Size] ─;─▶ [Extension]           [Data] ─▶ [DataCr] ─▶ [DataLf] ─▶ [Size]
///    └───CR───────┴──▶ [SizeLf] ─ size > 0 ─▶┘
///                          └───── size = 0 ─▶ [LineStart] ─▶ [Name] ─▶ [Value] ─▶ [ValueLf] ─▶┐
///                                              ▲   └─CR─▶ [EndLf] ─▶ [Done]                   │
///                                              └──────────────────────────────────────────────┘
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunked {
    state: State,
    /// Bytes of the trailer section so far.
    trailer: usize,
    name: Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { size: u64, digits: u8 },
    Extension { size: u64, len: usize },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    LineStart,
    Name,
    Value,
    ValueLf,
    EndLf,
    Done,
}

impl State {
    const START: Self = Self::Size { size: 0, digits: 0 };
}

impl Chunked {
    /// At the start of the content.
    pub(super) fn new() -> Self {
        Self {
            state: State::START,
            trailer: 0,
            name: Name::default(),
        }
    }

    /// Whether the content has ended, trailers included.
    pub fn is_complete(&self) -> bool {
        self.state == State::Done
    }

    /// Reads one stretch from the front of `input`. It is empty only where `input` is, or where the
    /// content has ended.
    ///
    /// # Errors
    /// What is wrong. Nothing behind it means anything.
    pub fn advance(&mut self, input: &[u8]) -> Result<Piece, ChunkError> {
        let mut framing = 0;
        while let Some(&byte) = input.get(framing) {
            match self.state {
                State::Done => break,
                State::Data { left } => {
                    let here = input.len() - framing;
                    let data = usize::try_from(left).map_or(here, |left| left.min(here));
                    self.state = match left - data as u64 {
                        0 => State::DataCr,
                        left => State::Data { left },
                    };
                    return Ok(Piece { framing, data });
                }
                _ => self.state = self.step(byte).map_err(ChunkError)?,
            }
            framing += 1;
        }
        Ok(Piece { framing, data: 0 })
    }

    /// The state behind a byte of framing.
    fn step(&mut self, byte: u8) -> Result<State, &'static str> {
        match self.state {
            State::Size { size, digits } => in_size(size, digits, byte),
            State::Extension { size, .. } if byte == b'\r' => Ok(State::SizeLf { size }),
            State::Extension { len, .. } if len >= CHUNKED_MAX_EXTENSION => {
                Err("an extension is too long")
            }
            State::Extension { size, len } if is_text(byte) => {
                Ok(State::Extension { size, len: len + 1 })
            }
            State::Extension { .. } => Err("an extension has a control character"),
            State::SizeLf { size: 0 } if byte == b'\n' => Ok(State::LineStart),
            State::SizeLf { size } if byte == b'\n' => Ok(State::Data { left: size }),
            State::SizeLf { .. } => Err("a size ends in CR alone"),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::START),
            State::DataCr | State::DataLf => Err("a chunk is longer than its size"),
            _ => self.in_trailer(byte),
        }
    }

    /// The trailer section: field lines as in a head (RFC 9112 §7.1.2).
    fn in_trailer(&mut self, byte: u8) -> Result<State, &'static str> {
        self.trailer += 1;
        if self.trailer > CHUNKED_MAX_TRAILER {
            return Err("the trailers are too long");
        }
        match self.state {
            State::LineStart if byte == b'\r' => Ok(State::EndLf),
            State::LineStart if is_token(byte) => {
                self.name = Name::default();
                self.name.push(byte);
                Ok(State::Name)
            }
            State::LineStart => Err("a trailer's name is malformed, or a trailer is folded"),
            State::Name if byte == b':' && self.name.is_forbidden() => {
                Err("a trailer that belongs into the head")
            }
            State::Name if byte == b':' => Ok(State::Value),
            State::Name if is_token(byte) => {
                self.name.push(byte);
                Ok(State::Name)
            }
            State::Name => Err("a trailer's name is malformed"),
            State::Value if byte == b'\r' => Ok(State::ValueLf),
            State::Value if is_text(byte) => Ok(State::Value),
            State::Value => Err("a trailer has a control character"),
            State::ValueLf if byte == b'\n' => Ok(State::LineStart),
            State::EndLf if byte == b'\n' => Ok(State::Done),
            _ => Err("a trailer ends in CR alone"),
        }
    }
}

/// Hexadecimal digits, at least one, and then an extension or the line's end.
fn in_size(size: u64, digits: u8, byte: u8) -> Result<State, &'static str> {
    let digit = char::from(byte).to_digit(16);
    match (digit, digits, byte) {
        (Some(_), MAX_DIGITS.., _) => Err("a size has too many digits"),
        (Some(digit), ..) => Ok(State::Size {
            size: size << 4 | u64::from(digit),
            digits: digits + 1,
        }),
        (None, 1.., b'\r') => Ok(State::SizeLf { size }),
        (None, 1.., b';') => Ok(State::Extension { size, len: 1 }),
        _ => Err("a size is not a hexadecimal number"),
    }
}

/// Digits of 64 bits; what is longer is zeros that hide a size from somebody.
const MAX_DIGITS: u8 = 16;

/// The start of a trailer's name, as much as tells whether it is forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Name {
    bytes: [u8; LONGEST_FORBIDDEN_TRAILER],
    len: usize,
}

impl Name {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
        }
        self.len += 1;
    }

    fn is_forbidden(&self) -> bool {
        let name = self.bytes.get(..self.len).map(std::str::from_utf8);
        name.and_then(Result::ok).is_some_and(is_forbidden_trailer)
    }
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a field's value may hold (RFC 9110 §5.5).
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read of `text`, fed in pieces cut at `cuts`: the data, and how many bytes the
    /// content took, where it has ended.
    fn read(text: &[u8], pieces: &[&[u8]]) -> Result<(Vec<u8>, Option<usize>), ChunkError> {
        let (mut chunked, mut data, mut used) = (Chunked::new(), Vec::new(), 0);
        for mut rest in pieces.iter().copied() {
            while !rest.is_empty() && !chunked.is_complete() {
                let piece = chunked.advance(rest)?;
                data.extend_from_slice(&rest[piece.framing..piece.framing + piece.data]);
                rest = &rest[piece.framing + piece.data..];
                used += piece.framing + piece.data;
            }
        }
        assert!(used <= text.len());
        Ok((data, chunked.is_complete().then_some(used)))
    }

    fn whole(text: &str) -> Result<(Vec<u8>, Option<usize>), ChunkError> {
        read(text.as_bytes(), &[text.as_bytes()])
    }

    const EXAMPLE: &str = "4\r\nWiki\r\n7;a=\"b;c\"\r\npedia i\r\nB;\t\r\nn \r\nchunks.\r\n0;last\r\n\
        X-Sum: a\r\nEmpty:\r\n\r\n";

    #[test]
    fn data_is_told_from_framing() {
        let text = format!("{EXAMPLE}next");
        let expected = b"Wikipedia in \r\nchunks.".to_vec();
        assert_eq!(whole(&text), Ok((expected, Some(EXAMPLE.len()))));
        assert_eq!(whole("0\r\n\r\n"), Ok((vec![], Some(5))));
        assert_eq!(
            whole("000A\r\n0123456789\r\n00"),
            Ok((b"0123456789".to_vec(), None))
        );
    }

    #[test]
    fn the_outcome_is_the_same_at_every_split() {
        let text = EXAMPLE.as_bytes();
        let expected = read(text, &[text]);
        for split in 0..=text.len() {
            let (first, second) = text.split_at(split);
            assert_eq!(read(text, &[first, second]), expected, "{split}");
        }
        let bytes: Vec<_> = text.chunks(1).collect();
        assert_eq!(read(text, &bytes), expected);
    }

    #[test]
    fn every_start_of_it_is_incomplete() {
        for len in 0..EXAMPLE.len() {
            let (_, end) = whole(&EXAMPLE[..len]).expect("valid so far");
            assert_eq!(end, None, "{len}");
        }
    }

    #[test]
    fn what_readers_could_differ_over_is_refused() {
        for text in [
            // Sizes.
            "\r\n",
            ";a\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            "1_0\r\n",
            "g\r\n",
            " 1\r\n",
            "1 \r\n",
            "1\t;a\r\n",
            "\n1\r\n",
            "00000000000000001\r\n",
            "FFFFFFFFFFFFFFFFF\r\n",
            "１\r\n",
            // Line ends.
            "1\n",
            "1\r1",
            "1;a\n",
            "1;a\rb\r\n",
            "1;a\0\r\n",
            "0\r\n\n",
            "0\r\n\r\r\n",
            // Data.
            "1\r\nab\r\n",
            "1\r\na\n",
            "1\r\na\r\r",
            "1\r\na0\r\n",
            // Trailers.
            "0\r\n folded: a\r\n",
            "0\r\n: a\r\n",
            "0\r\na b: c\r\n",
            "0\r\na : c\r\n",
            "0\r\na\r\n",
            "0\r\na: b\n",
            "0\r\na: b\rc",
            "0\r\na: b\0",
            "0\r\na: b\r\n c\r\n",
            "0\r\nContent-Length: 1\r\n",
            "0\r\ntransfer-encoding: chunked\r\n",
            "0\r\nHost: a\r\n",
            "0\r\nProxy-Authorization: Basic dTpw\r\n",
            "0\r\nproxy-authentication-info: a\r\n",
        ] {
            assert!(whole(text).is_err(), "{text:?}: {:?}", whole(text));
        }
    }

    #[test]
    fn framing_is_bounded() {
        let extension = |len| whole(&format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(len)));
        assert!(extension(CHUNKED_MAX_EXTENSION - 1).is_ok());
        assert!(extension(CHUNKED_MAX_EXTENSION).is_err());
        let trailer = |len| whole(&format!("0\r\na:{}\r\n\r\n", "x".repeat(len)));
        let frame = "a:\r\n\r\n".len();
        assert!(trailer(CHUNKED_MAX_TRAILER - frame).is_ok());
        assert!(trailer(CHUNKED_MAX_TRAILER - frame + 1).is_err());
    }

    #[test]
    fn the_largest_size_is_64_bits() {
        let mut chunked = Chunked::new();
        let piece = chunked.advance(b"ffffffffffffffff\r\nabc");
        assert_eq!(
            piece,
            Ok(Piece {
                framing: 18,
                data: 3
            })
        );
        assert_eq!(chunked.state, State::Data { left: u64::MAX - 3 });
    }

    proptest! {
        #[test]
        fn any_bytes_read_alike_in_any_pieces(
            text in "[0-9a-f]{1,2}(;x)?\r\n[a-z]{0,20}(\r\n)?[0-9\r\n]{0,8}",
            at in 0usize..40,
        ) {
            let text = text.as_bytes();
            let (first, second) = text.split_at(at.min(text.len()));
            prop_assert_eq!(read(text, &[first, second]), read(text, &[text]));
        }
    }
}
