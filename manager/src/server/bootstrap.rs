//! What a manager needs before anybody can ask it anything over the API.

use std::{path::Path, sync::Arc};

use titan_proto::control::{PopId, Region, UserLimits, UserName};

use crate::{
    error::IdentityError,
    identity::{self, Password, Passwords, PendingSecret, read_secret},
    store::{Labels, NewUser, Store, UnixTime},
};

/// An operator in the same process as the manager (`titan up`), who keeps secrets in files.
///
/// Each operation makes something true and may be repeated: a secret in its file stays while it
/// is valid, and is made anew and written (mode 0600) where it is missing or not valid.
#[derive(Clone)]
pub struct Bootstrap {
    store: Arc<dyn Store>,
    passwords: Passwords,
}

impl Bootstrap {
    pub(super) fn new(store: Arc<dyn Store>, passwords: Passwords) -> Self {
        Self { store, passwords }
    }

    /// An admin token, kept in `file`. A new one voids all others.
    ///
    /// # Errors
    /// The store or the file failed.
    pub async fn admin_token(&self, file: &Path) -> Result<String, IdentityError> {
        if let Some(token) = read_secret(file)?
            && let Some(known) = identity::authenticate_admin(&*self.store, &token).await?
            && known.opens_all_for_ever()
        {
            return Ok(token);
        }
        replace_admin_token(&*self.store, file).await
    }

    /// The credential of the PoP `id`, kept in `file`; the PoP is registered if it is not. A new
    /// credential voids the former.
    ///
    /// # Errors
    /// The store or the file failed.
    pub async fn pop(
        &self,
        id: &PopId,
        region: Option<Region>,
        file: &Path,
    ) -> Result<String, IdentityError> {
        if let Some(credential) = read_secret(file)?
            && let Some(pop) = identity::authenticate_pop(&*self.store, &credential).await?
            && pop.id == *id
        {
            return Ok(credential);
        }
        let (pop, credential) = identity::make_pop_credential(id.clone(), region);
        let pending = PendingSecret::write(file, &credential)?;
        let hash = pop.credential;
        if !self.store.create_pop(pop).await? {
            self.store.replace_pop_credential(id, hash).await?;
        }
        pending.publish()?;
        Ok(credential)
    }

    /// An enrolment key for nodes of `region`, kept in `file`.
    ///
    /// # Errors
    /// The store or the file failed.
    pub async fn enrolment_key(
        &self,
        region: Option<Region>,
        file: &Path,
    ) -> Result<String, IdentityError> {
        if let Some(secret) = read_secret(file)?
            && let Some(key) = identity::match_enrolment_key(&*self.store, &secret).await?
            && key.region == region
        {
            return Ok(secret);
        }
        let (key, secret) = identity::make_enrolment_key(region);
        let pending = PendingSecret::write(file, &secret)?;
        self.store.create_enrolment_key(key).await?;
        pending.publish()?;
        Ok(secret)
    }

    /// Creates the user `name` on first use, with a password that is made and kept in `file`.
    ///
    /// Returns the password while it is the user's. `None`: an operator has changed it, or removed
    /// the user, or created one of this name.
    ///
    /// # Errors
    /// The store, the file or the hashing failed.
    pub async fn user(
        &self,
        name: &UserName,
        file: &Path,
    ) -> Result<Option<String>, IdentityError> {
        match read_secret(file)? {
            Some(kept) => self.password_of(name, kept).await,
            None => self.create_user(name, file).await,
        }
    }

    async fn password_of(
        &self,
        name: &UserName,
        kept: String,
    ) -> Result<Option<String>, IdentityError> {
        let Some(user) = self.store.user(name).await? else {
            return Ok(None);
        };
        let Ok(password) = Password::try_from(kept.clone()) else {
            return Ok(None);
        };
        let is_current = self.passwords.verify(password, user.password_hash).await?;
        Ok(is_current.then_some(kept))
    }

    async fn create_user(
        &self,
        name: &UserName,
        file: &Path,
    ) -> Result<Option<String>, IdentityError> {
        let password = Password::make();
        let pending = PendingSecret::write(file, password.as_str())?;
        let user = NewUser {
            name: name.clone(),
            password_hash: self.passwords.hash(password.clone()).await?,
            enabled: true,
            reply_mode: None,
            limits: UserLimits::default(),
            labels: Labels::new(),
            package: None,
            created_at: UnixTime::now(),
        };
        if self.store.create_user(user).await?.is_none() {
            return Ok(None);
        }
        pending.publish()?;
        Ok(Some(password.as_str().to_owned()))
    }
}

/// On the first start of all: makes an admin token and writes it to `file`.
///
/// Where the store has a token the file is left alone; an operator may well have moved it to a
/// safer place.
pub(super) async fn first_admin_token(store: &dyn Store, file: &Path) -> Result<(), IdentityError> {
    if store.has_admin_token().await? {
        return Ok(());
    }
    let (token, text) = identity::make_admin_token();
    let pending = PendingSecret::write(file, &text)?;
    if store.create_first_admin_token(token).await? {
        pending.publish()?;
        tracing::info!(file = %file.display(), "admin token made; it is in this file");
    }
    Ok(())
}

/// Makes the token in `file` the only one.
pub(super) async fn replace_admin_token(
    store: &dyn Store,
    file: &Path,
) -> Result<String, IdentityError> {
    let (token, text) = identity::make_admin_token();
    let pending = PendingSecret::write(file, &text)?;
    store.replace_admin_tokens(token).await?;
    pending.publish()?;
    tracing::info!(file = %file.display(), "admin token made; it is in this file");
    Ok(text)
}
