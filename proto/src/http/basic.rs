//! `Proxy-Authorization` in the Basic scheme (RFC 7617).

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use httparse::Header;

use super::{HttpErrorKind, fields::values};
use crate::{credentials::Credentials, limits::PROXY_MAX_CREDENTIAL};

/// What a request says about who sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// Nothing.
    Missing,
    /// User name and password.
    Basic(Credentials),
    /// Nothing in the Basic scheme, or nothing that can be read in it.
    Unusable,
}

/// Reads `Proxy-Authorization`.
pub(super) fn authorization(headers: &[Header<'_>]) -> Result<Authorization, HttpErrorKind> {
    let mut lines = values(headers, "proxy-authorization");
    match (lines.next(), lines.next()) {
        (None, _) => Ok(Authorization::Missing),
        (Some(line), None) => Ok(parse(line).map_or(Authorization::Unusable, Authorization::Basic)),
        (Some(_), Some(_)) => Err(HttpErrorKind::Malformed(
            "more than one Proxy-Authorization",
        )),
    }
}

/// `Basic base64(user-id ":" password)`. The user-id has no colon, the password may (RFC 7617 §2);
/// neither has control characters, and neither may be empty here, as in SOCKS5.
fn parse(value: &[u8]) -> Option<Credentials> {
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let token = token.strip_prefix(b" ")?.trim_ascii_start();
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let pair = String::from_utf8(BASE64.decode(token).ok()?).ok()?;
    let (username, password) = pair.split_once(':')?;
    let fits = |text: &str| (1..=PROXY_MAX_CREDENTIAL).contains(&text.len());
    if !fits(username) || !fits(password) || pair.chars().any(char::is_control) {
        return None;
    }
    Some(Credentials {
        username: username.into(),
        password: password.into(),
    })
}

const SCHEME: &[u8] = b"Basic";

/// The usual alphabet; clients differ over the padding, and it carries nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(pair: &[u8]) -> Vec<u8> {
        format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair)).into_bytes()
    }

    fn parsed(value: &[u8]) -> Option<(String, String)> {
        parse(value).map(|credentials| (credentials.username, credentials.password))
    }

    fn pair(username: &str, password: &str) -> Option<(String, String)> {
        Some((username.into(), password.into()))
    }

    #[test]
    fn examples_of_rfc_7617() {
        let aladdin = pair("Aladdin", "open sesame");
        assert_eq!(parsed(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), aladdin);
        assert_eq!(parsed(b"bAsIc  QWxhZGRpbjpvcGVuIHNlc2FtZQ"), aladdin);
        assert_eq!(parsed(b"Basic dGVzdDoxMjPCow=="), pair("test", "123£"));
    }

    #[test]
    fn a_password_may_have_colons() {
        assert_eq!(parsed(&encoded(b"u:a:b:")), pair("u", "a:b:"));
    }

    #[test]
    fn lengths_are_those_of_socks5() {
        let longest = "x".repeat(PROXY_MAX_CREDENTIAL);
        let both = format!("{longest}:{longest}");
        assert_eq!(parsed(&encoded(both.as_bytes())), pair(&longest, &longest));
        for bad in [
            "u:",
            ":p",
            ":",
            &format!("u:{longest}x"),
            &format!("{longest}x:p"),
        ] {
            assert_eq!(parsed(&encoded(bad.as_bytes())), None, "{bad}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            &b""[..],
            b"Basic",
            b"Basic ",
            b"BasicdTpw",
            b"Bearer dTpw",
            b"Digest username=\"u\"",
        ] {
            assert_eq!(parsed(bad), None);
        }
        for bad in [
            &b"no colon"[..],
            b"u:\xff",
            b"u:p\n",
            b"u\0:p",
            b"u:\xc2\x80",
        ] {
            assert_eq!(parsed(&encoded(bad)), None);
        }
        assert_eq!(parsed(b"Basic dTpw dTpw"), None);
        assert_eq!(parsed(b"Basic dTp_"), None, "the other alphabet");
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(value: Vec<u8>) {
            let _ = parse(&value);
            let _ = parse(&encoded(&value));
        }

        #[test]
        fn pairs_round_trip(username in "[^:\\p{Cc}]{1,60}", password in "[^\\p{Cc}]{1,60}") {
            let value = encoded(format!("{username}:{password}").as_bytes());
            prop_assert_eq!(parsed(&value), pair(&username, &password));
        }
    }
}
