//! What a proxy client logs in with.

use std::fmt;

/// A user name, parameters and all, and a password, as RFC 1929 or HTTP's Basic scheme carried them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name with whatever parameters follow it; never empty.
    pub username: String,
    /// The password.
    pub password: String,
}

/// Without the password, so that no log line can hold one.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_printed() {
        let credentials = Credentials {
            username: "alice".into(),
            password: "secret".into(),
        };
        let printed = format!("{credentials:?}");
        assert!(printed.contains("alice") && !printed.contains("secret"));
    }
}
