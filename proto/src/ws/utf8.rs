//! Validation of UTF-8 that arrives in pieces (RFC 6455 §8.1, RFC 3629).

use std::str;

/// Checks a text as it arrives and refuses it at the first byte that no continuation can save.
///
/// Invariant: `partial[..len]` is the beginning of a well-formed character, never a whole one, so
/// that `len < 4`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Validator {
    partial: [u8; 4],
    len: usize,
}

/// The text is not UTF-8, whatever follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Validator {
    /// Takes the next piece of the text.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Malformed> {
        let rest = self.complete_character(piece)?;
        let tail = incomplete_tail(rest)?;
        if !tail.is_empty() {
            self.partial[..tail.len()].copy_from_slice(tail);
            self.len = tail.len();
        }
        Ok(())
    }

    /// Whether the text so far ends between characters.
    pub(super) fn is_complete(&self) -> bool {
        self.len == 0
    }

    /// Finishes the character that an earlier piece began, byte by byte, and returns the rest of
    /// `piece`.
    fn complete_character<'a>(&mut self, mut piece: &'a [u8]) -> Result<&'a [u8], Malformed> {
        while self.len > 0
            && let Some((&byte, rest)) = piece.split_first()
        {
            self.partial[self.len] = byte;
            let whole = incomplete_tail(&self.partial[..=self.len])?.is_empty();
            self.len = if whole { 0 } else { self.len + 1 };
            piece = rest;
        }
        Ok(piece)
    }
}

/// The beginning of a character at the end of `text`, empty when it ends between characters.
///
/// The standard library tells the two kinds of error apart: a byte that cannot be, which is final,
/// and an end that came too early.
fn incomplete_tail(text: &[u8]) -> Result<&[u8], Malformed> {
    match str::from_utf8(text) {
        Ok(_) => Ok(&[]),
        Err(error) if error.error_len().is_none() => Ok(&text[error.valid_up_to()..]),
        Err(_) => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pushes `text` in pieces that end at `cuts`; the answer to "is it UTF-8?".
    fn accepts<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut validator = Validator::default();
        pieces
            .into_iter()
            .all(|piece| validator.push(piece).is_ok())
            && validator.is_complete()
    }

    #[test]
    fn characters_of_every_length_may_be_split_anywhere() {
        let text = "aκό€𐍈\u{10ffff}\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}".as_bytes();
        for (i, j) in (0..=text.len()).flat_map(|i| (i..=text.len()).map(move |j| (i, j))) {
            assert!(accepts([&text[..i], &text[i..j], &text[j..]]));
        }
        assert!(accepts(text.chunks(1)));
    }

    #[test]
    fn a_hopeless_character_is_refused_at_its_first_bad_byte() {
        let hopeless: [&[u8]; 9] = [
            &[0x80],                   // continuation without a start
            &[0xc0],                   // overlong
            &[0xe0, 0x9f],             // overlong
            &[0xed, 0xa0],             // surrogate
            &[0xf0, 0x8f],             // overlong
            &[0xf4, 0x90],             // above U+10FFFF
            &[0xf5],                   // above U+10FFFF
            &[0xe2, 0x82, 0x41],       // cut short by another character
            &[0xf0, 0x9f, 0x98, 0xc0], // cut short by a start
        ];
        for bytes in hopeless {
            let (last, start) = bytes.split_last().expect("not empty");
            let mut validator = Validator::default();
            assert!(
                start.iter().all(|&byte| validator.push(&[byte]).is_ok()),
                "{bytes:x?}"
            );
            assert_eq!(validator.push(&[*last]), Err(Malformed), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_agree_with_the_whole(
            text in prop_oneof![
                any::<String>().prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 0..6),
                (any::<String>(), any::<proptest::sample::Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
                    let mut bytes = text.into_bytes();
                    bytes.insert(at.index(bytes.len() + 1), byte);
                    bytes
                }),
            ],
            size in 1_usize..8,
        ) {
            prop_assert_eq!(accepts(text.chunks(size)), str::from_utf8(&text).is_ok());
        }
    }
}
