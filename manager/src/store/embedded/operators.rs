//! What concerns operators themselves: their tokens, and the requests they repeat.

use super::tables::{ADMIN_TOKENS, KEYED_REQUESTS, KEYED_REQUESTS_BY_EXPIRY, Writer};
use crate::{
    limits,
    store::{Added, AdminToken, Digest, KeyedRequest, Reservation, Result, TokenRemoved, UnixTime},
};

/// Expired requests that one new one forgets: more than one, so that they come to an end.
const FORGET_AT_ONCE: usize = 16;

/// Adds an admin token.
pub(super) fn add_token(writer: &Writer, token: &AdminToken) -> Result<Added> {
    if writer.len(ADMIN_TOKENS)? >= limits::MAX_ADMIN_TOKENS {
        return Ok(Added::Full);
    }
    let is_new = writer.create(ADMIN_TOKENS, &token.id, token)?;
    Ok(if is_new { Added::Done } else { Added::Taken })
}

/// Removes an admin token, unless operators would lock themselves out.
pub(super) fn remove_token(writer: &Writer, id: &str) -> Result<TokenRemoved> {
    let Some(token) = writer.get::<AdminToken>(ADMIN_TOKENS, id)? else {
        return Ok(TokenRemoved::Missing);
    };
    let all = writer.first::<AdminToken>(ADMIN_TOKENS, usize::MAX)?;
    let is_other_key = |other: &AdminToken| other.id != id && other.opens_all_for_ever();
    if token.opens_all_for_ever() && !all.iter().any(is_other_key) {
        return Ok(TokenRemoved::Last);
    }
    writer.remove(ADMIN_TOKENS, id)?;
    Ok(TokenRemoved::Done)
}

/// Notes that a token was used.
pub(super) fn touch_token(writer: &Writer, id: &str, now: UnixTime) -> Result<()> {
    let Some(token) = writer.get::<AdminToken>(ADMIN_TOKENS, id)? else {
        return Ok(());
    };
    let touched = AdminToken {
        last_used_at: token.last_used_at.max(Some(now)),
        ..token
    };
    writer.put(ADMIN_TOKENS, id, &touched)
}

/// Takes an idempotency key for a request.
pub(super) fn reserve(
    writer: &Writer,
    id: Digest,
    request: Digest,
    now: UnixTime,
) -> Result<Reservation> {
    forget_expired(writer, now)?;
    let key = hex::encode(id.0);
    match writer.get::<KeyedRequest>(KEYED_REQUESTS, &key)? {
        Some(known) if known.expires_at > now => return Ok(Reservation::Known(known)),
        Some(expired) => writer.remove(KEYED_REQUESTS_BY_EXPIRY, &by_expiry(&expired, &key))?,
        None => false,
    };
    if writer.len(KEYED_REQUESTS)? >= limits::MAX_KEYED_REQUESTS {
        return Ok(Reservation::Full);
    }
    let record = KeyedRequest {
        request,
        expires_at: UnixTime(now.0 + limits::IDEMPOTENCY_LIFETIME.as_secs()),
        answer: None,
    };
    writer.put(KEYED_REQUESTS_BY_EXPIRY, &by_expiry(&record, &key), &key)?;
    writer.put(KEYED_REQUESTS, &key, &record)?;
    Ok(Reservation::Granted)
}

/// Remembers what a request was answered.
pub(super) fn complete(writer: &Writer, id: Digest, answer: Vec<u8>) -> Result<()> {
    let key = hex::encode(id.0);
    let Some(record) = writer.get::<KeyedRequest>(KEYED_REQUESTS, &key)? else {
        return Ok(());
    };
    let record = KeyedRequest {
        answer: Some(answer),
        ..record
    };
    writer.put(KEYED_REQUESTS, &key, &record)
}

/// Forgets a key.
pub(super) fn release(writer: &Writer, id: Digest) -> Result<()> {
    let key = hex::encode(id.0);
    if let Some(record) = writer.get::<KeyedRequest>(KEYED_REQUESTS, &key)? {
        writer.remove(KEYED_REQUESTS_BY_EXPIRY, &by_expiry(&record, &key))?;
        writer.remove(KEYED_REQUESTS, &key)?;
    }
    Ok(())
}

fn forget_expired(writer: &Writer, now: UnixTime) -> Result<()> {
    let oldest: Vec<String> = writer.first(KEYED_REQUESTS_BY_EXPIRY, FORGET_AT_ONCE)?;
    for key in oldest {
        let Some(record) = writer.get::<KeyedRequest>(KEYED_REQUESTS, &key)? else {
            continue;
        };
        if record.expires_at > now {
            return Ok(());
        }
        writer.remove(KEYED_REQUESTS_BY_EXPIRY, &by_expiry(&record, &key))?;
        writer.remove(KEYED_REQUESTS, &key)?;
    }
    Ok(())
}

/// Sorts by time: twenty digits hold any.
fn by_expiry(record: &KeyedRequest, key: &str) -> String {
    format!("{:020}-{key}", record.expires_at.0)
}
