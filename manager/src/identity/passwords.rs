//! Users' passwords: what may be one, and Argon2id.

use std::{fmt, sync::Arc};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version,
    password_hash::phc::PasswordHash,
};
use rand::{RngExt, distr::Alphanumeric};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{error::IdentityError, limits};

/// A text that may be a user's password.
#[derive(Clone)]
pub(crate) struct Password(String);

/// Why a text may not be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error(
        "a password has {} to {} bytes",
        limits::MIN_PASSWORD_LEN,
        limits::MAX_PASSWORD_LEN
    )]
    Length,
    /// RFC 7617 §2 excludes them, so that such a password would work for SOCKS5 only.
    #[error("a password has no control characters")]
    ControlCharacter,
}

impl Password {
    /// Makes one from letters and digits, so that it needs no quoting in a URL or a shell.
    pub(crate) fn make() -> Self {
        let characters = rand::rng().sample_iter(Alphanumeric);
        Self(
            characters
                .take(limits::MADE_PASSWORD_LEN)
                .map(char::from)
                .collect(),
        )
    }

    /// The password as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Password {
    type Error = PasswordError;
    fn try_from(text: String) -> Result<Self, PasswordError> {
        if !(limits::MIN_PASSWORD_LEN..=limits::MAX_PASSWORD_LEN).contains(&text.len()) {
            return Err(PasswordError::Length);
        }
        if text.chars().any(char::is_control) {
            return Err(PasswordError::ControlCharacter);
        }
        Ok(Self(text))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Hashes passwords beside the runtime, on no more threads than there are cores.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    cores: Arc<Semaphore>,
}

impl Passwords {
    /// A hasher for this machine.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            cores: Arc::new(Semaphore::new(cores)),
        }
    }

    /// The Argon2id hash of `password` in PHC string form, with a random salt.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, IdentityError> {
        self.compute(move || {
            let hash = argon2()?.hash_password(password.0.as_bytes())?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether `password` has this hash.
    pub(crate) async fn verify(
        &self,
        password: Password,
        hash: String,
    ) -> Result<bool, IdentityError> {
        self.compute(move || {
            let hash = PasswordHash::new(&hash)?;
            Ok(argon2()?
                .verify_password(password.0.as_bytes(), &hash)
                .is_ok())
        })
        .await
    }

    async fn compute<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> argon2::password_hash::Result<R> + Send + 'static,
    ) -> Result<R, IdentityError> {
        let cores = Arc::clone(&self.cores);
        let core = cores
            .acquire_owned()
            .await
            .map_err(|_| IdentityError::Stopped)?;
        // The permit goes along: the work goes on when the caller has given up.
        let work = spawn_blocking(move || (work(), core));
        let (result, _) = work.await.map_err(|_| IdentityError::Stopped)?;
        result.map_err(IdentityError::Hash)
    }
}

fn argon2() -> argon2::password_hash::Result<Argon2<'static>> {
    let params = Params::new(
        limits::ARGON2_MEMORY_KIB,
        limits::ARGON2_ITERATIONS,
        limits::ARGON2_LANES,
        None,
    )?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_fits_its_password_only() {
        let passwords = Passwords::new();
        let password = Password::make();
        let hash = passwords.hash(password.clone()).await.expect("hashed");
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert_ne!(
            passwords.hash(password.clone()).await.expect("hashed"),
            hash,
            "salted"
        );
        assert!(
            passwords
                .verify(password, hash.clone())
                .await
                .expect("verified")
        );
        assert!(
            !passwords
                .verify(Password::make(), hash)
                .await
                .expect("verified")
        );
    }

    #[test]
    fn a_password_fits_socks_and_http() {
        let check = |text: String| Password::try_from(text).map(|_| ());
        assert_eq!(check("x".repeat(8)), Ok(()));
        assert_eq!(check("ü".repeat(127)), Ok(()));
        assert_eq!(
            check("ü".repeat(128)),
            Err(PasswordError::Length),
            "bytes, not characters"
        );
        assert_eq!(check("x".repeat(7)), Err(PasswordError::Length));
        assert_eq!(
            check("12345678\n".into()),
            Err(PasswordError::ControlCharacter)
        );
        assert!(Password::try_from(Password::make().as_str().to_owned()).is_ok());
    }
}
