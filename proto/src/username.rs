//! User names with the parameters that a customer appends: `alice-confirm`.
//!
//! A hyphen starts each parameter, which is why no base name has one. Parameters hold for the one
//! connection that is logged in with them.

use crate::control::{IdError, ReplyMode, UserName};

/// What a user name asks for beyond the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Params {
    /// When the client is told that it is connected; `None` leaves it to the user's setting.
    pub reply_mode: Option<ReplyMode>,
}

/// Why a user name cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// The part before the first hyphen is no user name.
    #[error("the user name is not valid: it {0}")]
    Name(#[from] IdError),
    /// A parameter that does not exist. It is refused, because a customer who relies on one must
    /// not find out by its absence.
    #[error("the user name has an unknown parameter \"{name}\"")]
    Unknown {
        /// The parameter as the client wrote it.
        name: String,
    },
    /// A parameter that was given before, or that contradicts one.
    #[error("the parameter \"{name}\" is given twice or contradicts another")]
    Conflict {
        /// The later one, as the client wrote it.
        name: String,
    },
}

/// Splits a user name from its parameters. Their keys may be in upper or lower case; the base name
/// keeps its case.
///
/// | parameter | meaning |
/// | --- | --- |
/// | `confirm` | say "connected" when the target is, with its true answer |
/// | `optimistic` | say "connected" at once |
///
/// # Errors
///
/// [`ParamError`], which names the parameter.
pub fn parse(text: &str) -> Result<(UserName, Params), ParamError> {
    let mut parts = text.split('-');
    let name = parts.next().unwrap_or_default().parse()?;
    let mut params = Params::default();
    for key in parts {
        let mode = match key.to_ascii_lowercase().as_str() {
            "confirm" => ReplyMode::Confirmed,
            "optimistic" => ReplyMode::Optimistic,
            _ => return Err(ParamError::Unknown { name: key.into() }),
        };
        if params.reply_mode.replace(mode).is_some() {
            return Err(ParamError::Conflict { name: key.into() });
        }
    }
    Ok((name, params))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mode(text: &str) -> Option<ReplyMode> {
        parse(text).unwrap().1.reply_mode
    }

    #[test]
    fn parameters_follow_the_base_name() {
        let (name, params) = parse("Alice.B").unwrap();
        assert_eq!((name.as_str(), params), ("Alice.B", Params::default()));
        assert_eq!(mode("alice-confirm"), Some(ReplyMode::Confirmed));
        assert_eq!(mode("alice-OPTIMISTIC"), Some(ReplyMode::Optimistic));
        assert_eq!(parse("alice-confirm").unwrap().0.as_str(), "alice");
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (text, name) in [
            ("a-Region-us", "Region"),
            ("a-", ""),
            ("a-confirm-", ""),
            ("a--b", ""),
        ] {
            assert_eq!(
                parse(text),
                Err(ParamError::Unknown { name: name.into() }),
                "{text}"
            );
        }
        let text = parse("a-confrim").unwrap_err().to_string();
        assert_eq!(text, "the user name has an unknown parameter \"confrim\"");
    }

    #[test]
    fn contradictions_are_refused() {
        for text in ["a-confirm-optimistic", "a-optimistic-optimistic"] {
            let name = "optimistic".into();
            assert_eq!(parse(text), Err(ParamError::Conflict { name }), "{text}");
        }
    }

    #[test]
    fn the_base_name_is_checked() {
        for text in ["", "-confirm", "al ice", "al:ice", "ålice-confirm"] {
            assert!(matches!(parse(text), Err(ParamError::Name(_))), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = parse(&text);
        }

        #[test]
        fn every_valid_name_keeps_itself(name in "[A-Za-z0-9._@+]{1,64}") {
            let with = format!("{name}-Confirm");
            let base = |text| parse(text).unwrap().0.to_string();
            prop_assert_eq!(&base(&name), &name);
            prop_assert_eq!(&base(&with), &name);
        }
    }
}
