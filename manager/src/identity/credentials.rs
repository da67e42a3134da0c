//! Secrets and the records they belong to.

use titan_proto::control::{PopId, Region};

use super::secrets::{self, Kind};
use crate::{
    error::StoreError,
    store::{AdminToken, EnrolmentKey, Pop, Store, UnixTime},
};

/// A new admin token: what to store, and the text to give away.
pub(crate) fn make_admin_token() -> (AdminToken, String) {
    let id = secrets::make_handle();
    let made = secrets::make(Kind::Admin, &id);
    (
        AdminToken {
            id,
            secret: made.hash,
            created_at: UnixTime::now(),
        },
        made.text,
    )
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

/// Whether `text` is a valid admin token.
pub(crate) async fn authenticate_admin(store: &dyn Store, text: &str) -> Result<bool, StoreError> {
    let Some((id, hash)) = secrets::parse(Kind::Admin, text) else {
        return Ok(false);
    };
    Ok(store
        .admin_token(id)
        .await?
        .is_some_and(|token| token.secret == hash))
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
