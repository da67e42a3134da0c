//! How long the content of a request is (RFC 9112 §6.3).

use httparse::Header;

use super::{HttpErrorKind, Version, values};

/// The content that follows a forwarded request's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// Nothing follows.
    None,
    /// That many bytes follow, at least one.
    Length(u64),
}

/// The length of the content.
///
/// Whatever two servers could read in two ways is an error, repeated lengths that agree included:
/// RFC 9112 §6.3 allows to accept those, and no client has a reason to send them.
pub(super) fn body_length(
    headers: &[Header<'_>],
    version: Version,
) -> Result<BodyLength, HttpErrorKind> {
    let mut lengths = values(headers, "content-length");
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(HttpErrorKind::Malformed("more than one Content-Length"));
    }
    match (length, values(headers, "transfer-encoding").next()) {
        (Some(_), Some(_)) => Err(HttpErrorKind::Malformed(
            "both Content-Length and Transfer-Encoding",
        )),
        // RFC 9112 §6.1: the framing of such a message is faulty.
        (None, Some(_)) if version < Version::Http11 => {
            Err(HttpErrorKind::Malformed("Transfer-Encoding in HTTP/1.0"))
        }
        (None, Some(_)) => Err(HttpErrorKind::Unsupported(
            "request content with Transfer-Encoding is not forwarded: use CONNECT, or send Content-Length",
        )),
        (Some(value), None) => parse(value),
        (None, None) => Ok(BodyLength::None),
    }
}

/// Digits and nothing else (RFC 9110 §8.6): no sign, no list, no white space within.
fn parse(value: &[u8]) -> Result<BodyLength, HttpErrorKind> {
    let digits = std::str::from_utf8(value)
        .ok()
        .filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(0) => Ok(BodyLength::None),
        Some(length) => Ok(BodyLength::Length(length)),
        None => Err(HttpErrorKind::Malformed("Content-Length is not a number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(version: Version, lines: &[(&str, &str)]) -> Result<BodyLength, HttpErrorKind> {
        let headers: Vec<_> = lines
            .iter()
            .map(|(name, value)| Header {
                name,
                value: value.as_bytes(),
            })
            .collect();
        body_length(&headers, version)
    }

    fn content_length(value: &str) -> Result<BodyLength, HttpErrorKind> {
        length(Version::Http11, &[("Content-Length", value)])
    }

    #[test]
    fn a_length_is_digits() {
        assert_eq!(
            length(Version::Http11, &[("Host", "a")]),
            Ok(BodyLength::None)
        );
        assert_eq!(content_length("0"), Ok(BodyLength::None));
        assert_eq!(content_length("42"), Ok(BodyLength::Length(42)));
        assert_eq!(
            content_length("18446744073709551615"),
            Ok(BodyLength::Length(u64::MAX))
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
        let twice = [("content-length", "1"), ("Content-Length", "1")];
        assert!(matches!(
            length(Version::Http11, &twice),
            Err(HttpErrorKind::Malformed(_))
        ));
        let both = [("Content-Length", "1"), ("Transfer-Encoding", "chunked")];
        assert!(matches!(
            length(Version::Http11, &both),
            Err(HttpErrorKind::Malformed(_))
        ));
    }

    #[test]
    fn transfer_codings_are_not_served_and_have_no_place_in_http_1_0() {
        for coding in ["chunked", "gzip, chunked", "identity", "\x0bchunked"] {
            let lines = [("transfer-encoding", coding)];
            let unsupported = length(Version::Http11, &lines);
            assert!(
                matches!(unsupported, Err(HttpErrorKind::Unsupported(_))),
                "{coding}"
            );
            let malformed = length(Version::Http10, &lines);
            assert!(
                matches!(malformed, Err(HttpErrorKind::Malformed(_))),
                "{coding}"
            );
        }
    }
}
