//! Enrolment keys, admin tokens, the key that signs tunnel tokens, and challenges.

use std::time::Duration;

use redis::cmd;

use super::{
    RedisStore,
    link::ScriptCall,
    names::ADMIN_TOKENS,
    scripts::{CHALLENGE_KEY, CREATE_FIRST, REPLACE_ALL},
    table::encode,
};
use crate::{
    error::StoreError,
    store::{AdminToken, NonceClaim, Result},
};

impl RedisStore {
    pub(super) async fn add_first_admin_token(&self, token: &AdminToken) -> Result<bool> {
        let call = ScriptCall::new(&CREATE_FIRST, self.part(ADMIN_TOKENS, 0));
        let record = encode(ADMIN_TOKENS, &token.id, token)?;
        self.link.run(call.arg(token.id.as_str()).arg(record)).await
    }

    pub(super) async fn keep_one_admin_token(&self, token: &AdminToken) -> Result<()> {
        let call = ScriptCall::new(&REPLACE_ALL, self.part(ADMIN_TOKENS, 0));
        let record = encode(ADMIN_TOKENS, &token.id, token)?;
        self.link.run(call.arg(token.id.as_str()).arg(record)).await
    }

    pub(super) async fn signing_key_or(&self, candidate: [u8; 32]) -> Result<[u8; 32]> {
        let key = self.names.signing_key();
        let set = cmd("SET")
            .arg(&key)
            .arg(hex::encode(candidate))
            .arg("NX")
            .to_owned();
        // Whoever sets it first, all read the same: it is never removed.
        self.link.write::<()>(&set).await?;
        let stored: String = self.link.read(cmd("GET").arg(&key)).await?;
        parse_key(&key, &stored)
    }

    pub(super) async fn challenge_key_or(&self, candidate: [u8; 32]) -> Result<[u8; 32]> {
        let key = self.names.challenge_key();
        let call = ScriptCall::new(&CHALLENGE_KEY, [key.clone()]).arg(hex::encode(candidate));
        let stored: String = self.link.run_repeatable(call).await?;
        parse_key(&key, &stored)
    }

    /// How many are remembered is bounded by the server's memory only: each costs the signature of
    /// an enrolled node, and lives for a minute.
    pub(super) async fn claim(&self, nonce: [u8; 16], ttl: Duration) -> Result<NonceClaim> {
        let mut set = cmd("SET");
        set.arg(self.names.nonce(nonce)).arg(1).arg("NX").arg("PX");
        set.arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let is_new: Option<String> = self.link.write(&set).await?;
        Ok(is_new.map_or(NonceClaim::Used, |_| NonceClaim::Granted))
    }
}

fn parse_key(name: &str, text: &str) -> Result<[u8; 32]> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key)
        .map_err(|error| StoreError::Unfit(format!("redis: {name} is no key: {error}")))?;
    Ok(key)
}
