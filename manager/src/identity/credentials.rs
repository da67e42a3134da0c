//! Secrets and the records they belong to.

use std::collections::BTreeSet;

use titan_proto::control::{PopId, Region, Scope};

use super::secrets::{self, Kind};
use crate::{
    error::StoreError,
    store::{AdminToken, EnrolmentKey, Pop, Store, UnixTime},
};

/// A new admin token for everything and for ever: what to store, and the text to give away.
pub(crate) fn make_admin_token() -> (AdminToken, String) {
    let id = secrets::make_handle();
    let made = secrets::make(Kind::Admin, &id);
    let token = AdminToken {
        id,
        secret: made.hash,
        name: None,
        scopes: BTreeSet::from([Scope::All]),
        created_at: UnixTime::now(),
        expires_at: None,
        last_used_at: None,
    };
    (token, made.text)
}

/// A new PoP with a new credential: what to store, and the text to give away.
pub(crate) fn make_pop_credential(id: PopId, region: Option<Region>) -> (Pop, String) {
    let made = secrets::make(Kind::Pop, id.as_str());
    (
        Pop {
            id,
            region,
            credential: made.hash,
            created_at: UnixTime::now(),
        },
        made.text,
    )
}

/// A new enrolment key: what to store, and the text to give away.
pub(crate) fn make_enrolment_key(region: Option<Region>) -> (EnrolmentKey, String) {
    let id = secrets::make_handle();
    let made = secrets::make(Kind::Enrolment, &id);
    (
        EnrolmentKey {
            id,
            secret: made.hash,
            region,
            created_at: UnixTime::now(),
        },
        made.text,
    )
}

/// The admin token that `text` is, unless it has expired.
pub(crate) async fn authenticate_admin(
    store: &dyn Store,
    text: &str,
) -> Result<Option<AdminToken>, StoreError> {
    let Some((id, hash)) = secrets::parse(Kind::Admin, text) else {
        return Ok(None);
    };
    let now = UnixTime::now();
    let is_valid = |token: &AdminToken| {
        token.secret == hash && token.expires_at.is_none_or(|expires_at| now < expires_at)
    };
    Ok(store.admin_token(id).await?.filter(is_valid))
}

/// The PoP whose credential `text` is.
pub(crate) async fn authenticate_pop(
    store: &dyn Store,
    text: &str,
) -> Result<Option<Pop>, StoreError> {
    let Some((id, hash)) = secrets::parse(Kind::Pop, text) else {
        return Ok(None);
    };
    let Ok(id) = id.parse::<PopId>() else {
        return Ok(None);
    };
    Ok(store.pop(&id).await?.filter(|pop| pop.credential == hash))
}

/// The enrolment key that `text` is.
pub(crate) async fn match_enrolment_key(
    store: &dyn Store,
    text: &str,
) -> Result<Option<EnrolmentKey>, StoreError> {
    let Some((id, hash)) = secrets::parse(Kind::Enrolment, text) else {
        return Ok(None);
    };
    Ok(store
        .enrolment_key(id)
        .await?
        .filter(|key| key.secret == hash))
}
