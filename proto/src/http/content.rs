//! How long a message's content is (RFC 9112 §6.3), and where in a stream of bytes it ends.

use httparse::Header;

use super::{ChunkError, Chunked, Piece, Version, fields::values};

/// The content that follows a message's head: what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// That many bytes.
    Length(u64),
    /// Chunks, to the end of the trailers.
    Chunked(Chunked),
    /// Everything until the connection ends; responses alone can have it.
    UntilClose,
}

impl Content {
    /// No content.
    pub const NONE: Self = Self::Length(0);

    /// Whether all of it has been seen. Content until the close never knows.
    pub fn is_complete(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_complete(),
            Self::UntilClose => false,
        }
    }

    /// Bytes that belong to it for certain, so that reading as many reads nothing behind it.
    pub fn certain(&self) -> u64 {
        match self {
            Self::Length(left) => *left,
            Self::Chunked(_) => 0,
            Self::UntilClose => u64::MAX,
        }
    }

    /// Reads one stretch from the front of `input`. It is empty only where `input` is, or where the
    /// content is complete.
    ///
    /// # Errors
    /// Where chunks are malformed.
    pub fn advance(&mut self, input: &[u8]) -> Result<Piece, ChunkError> {
        let data = match self {
            Self::Chunked(chunked) => return chunked.advance(input),
            Self::UntilClose => input.len(),
            Self::Length(left) => {
                let data = usize::try_from(*left).map_or(input.len(), |n| n.min(input.len()));
                *left -= data as u64;
                data
            }
        };
        Ok(Piece { framing: 0, data })
    }

    /// Reads as much of `input` as belongs to the content; gives how many bytes that is.
    ///
    /// # Errors
    /// Where chunks are malformed.
    pub fn measure(&mut self, input: &[u8]) -> Result<usize, ChunkError> {
        let mut len = 0;
        while len < input.len() && !self.is_complete() {
            let piece = self.advance(input.get(len..).unwrap_or_default())?;
            len += piece.framing + piece.data;
        }
        Ok(len)
    }
}

/// What a head says of its message's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declared {
    /// Nothing.
    Nothing,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl Declared {
    /// Reads the framing headers.
    ///
    /// Whatever two recipients could read in two ways is an error: repeated lengths that agree
    /// included, which RFC 9112 §6.3 allows to accept and nobody has a reason to send, and every
    /// transfer coding but chunked, of which we ask for none.
    pub(super) fn parse(headers: &[Header<'_>], version: Version) -> Result<Self, &'static str> {
        let mut lengths = values(headers, "content-length");
        let mut codings = values(headers, "transfer-encoding");
        let (length, coding) = (lengths.next(), codings.next());
        if lengths.next().is_some() {
            return Err("more than one Content-Length");
        }
        match (length, coding) {
            (Some(_), Some(_)) => Err("both Content-Length and Transfer-Encoding"),
            // RFC 9112 §6.1: the framing of such a message is faulty.
            (None, Some(_)) if version < Version::Http11 => Err("Transfer-Encoding in HTTP/1.0"),
            (None, Some(coding))
                if coding.eq_ignore_ascii_case(b"chunked") && codings.next().is_none() =>
            {
                Ok(Self::Chunked)
            }
            (None, Some(_)) => Err("a Transfer-Encoding other than chunked"),
            (Some(digits), None) => parse_length(digits).map(Self::Length),
            (None, None) => Ok(Self::Nothing),
        }
    }

    /// The content of a request: nothing unless something is declared.
    pub(super) fn of_request(self) -> Content {
        match self {
            Self::Nothing => Content::NONE,
            Self::Length(length) => Content::Length(length),
            Self::Chunked => Content::Chunked(Chunked::new()),
        }
    }

    /// The content of a response that may have some: everything unless something is declared.
    pub(super) fn of_response(self) -> Content {
        match self {
            Self::Nothing => Content::UntilClose,
            declared => declared.of_request(),
        }
    }
}

/// Digits and nothing else (RFC 9110 §8.6): no sign, no list, no white space within.
fn parse_length(value: &[u8]) -> Result<u64, &'static str> {
    let digits = std::str::from_utf8(value)
        .ok()
        .filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or("Content-Length is not a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(version: Version, lines: &[(&str, &str)]) -> Result<Declared, &'static str> {
        let headers: Vec<_> = lines
            .iter()
            .map(|(name, value)| Header {
                name,
                value: value.as_bytes(),
            })
            .collect();
        Declared::parse(&headers, version)
    }

    fn content_length(value: &str) -> Result<Declared, &'static str> {
        declared(Version::Http11, &[("Content-Length", value)])
    }

    #[test]
    fn a_length_is_digits() {
        assert_eq!(
            declared(Version::Http11, &[("Host", "a")]),
            Ok(Declared::Nothing)
        );
        assert_eq!(content_length("0"), Ok(Declared::Length(0)));
        assert_eq!(content_length("42"), Ok(Declared::Length(42)));
        assert_eq!(
            content_length("18446744073709551615"),
            Ok(Declared::Length(u64::MAX))
        );
        for bad in [
            "",
            "-1",
            "+1",
            "1,1",
            "1, 1",
            "0x10",
            "1 1",
            "18446744073709551616",
            "１",
        ] {
            assert!(content_length(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn two_framings_or_two_lengths_are_refused() {
        for lines in [
            [("content-length", "1"), ("Content-Length", "1")],
            [("Content-Length", "1"), ("Transfer-Encoding", "chunked")],
            [
                ("Transfer-Encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
        ] {
            assert!(declared(Version::Http11, &lines).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn chunked_alone_is_a_transfer_coding_and_has_no_place_in_http_1_0() {
        for coding in ["chunked", "Chunked"] {
            let lines = [("transfer-encoding", coding)];
            assert_eq!(declared(Version::Http11, &lines), Ok(Declared::Chunked));
            assert!(declared(Version::Http10, &lines).is_err());
        }
        for coding in [
            "gzip, chunked",
            "chunked, chunked",
            "identity",
            "xchunked",
            "\x0bchunked",
            "chunked;q=1",
            "",
        ] {
            let lines = [("transfer-encoding", coding)];
            assert!(declared(Version::Http11, &lines).is_err(), "{coding:?}");
        }
    }

    #[test]
    fn content_ends_where_it_was_said_to() {
        let mut content = Content::Length(3);
        assert_eq!(content.measure(b"ab"), Ok(2));
        assert_eq!((content.certain(), content.is_complete()), (1, false));
        assert_eq!(content.measure(b"cnext"), Ok(1));
        assert!(content.is_complete());
        assert_eq!(content.measure(b"next"), Ok(0));
        let mut content = Declared::Chunked.of_response();
        assert_eq!(content.measure(b"1\r\na\r\n0\r\n\r\nnext"), Ok(11));
        assert!(content.is_complete());
        let mut content = Declared::Nothing.of_response();
        assert_eq!(content.measure(b"any"), Ok(3));
        assert!(!content.is_complete());
    }
}
