//! What concerns operators themselves: their tokens, the requests they repeat, and whom they block.

use super::{
    RedisStore,
    link::ScriptCall,
    names::{ADMIN_TOKENS, BLOCKS, KEYED_REQUESTS},
    scripts::{REMOVE_BESIDE, RESERVE_REQUEST},
    table::{Change, decode, encode},
};
use crate::{
    error::StoreError,
    limits,
    store::{
        Added, AdminToken, Block, BlockId, Digest, KeyedRequest, Reservation, Result, TokenRemoved,
        UnixTime,
    },
};

/// Each part of the table is bounded by itself. Digests spread evenly: a part is not full much
/// before the others.
const MAX_KEYED_REQUESTS_OF_PART: u64 = limits::MAX_KEYED_REQUESTS / limits::REDIS_SHARDS as u64;

impl RedisStore {
    pub(super) async fn add_admin_token(&self, token: &AdminToken) -> Result<Added> {
        let most = limits::MAX_ADMIN_TOKENS;
        self.create_bounded(ADMIN_TOKENS, &token.id, token, most)
            .await
    }

    /// Removes an admin token, unless operators would lock themselves out: the one that lets them
    /// in afterwards must still be there when this one goes.
    pub(super) async fn remove_admin_token(&self, id: &str) -> Result<TokenRemoved> {
        for _ in 0..limits::MAX_CHANGE_ATTEMPTS {
            let Some(raw) = self.get_raw(ADMIN_TOKENS, id).await? else {
                return Ok(TokenRemoved::Missing);
            };
            if !decode::<AdminToken>(ADMIN_TOKENS, id, &raw)?.opens_all_for_ever() {
                let found = self.remove(ADMIN_TOKENS, id).await?;
                return Ok(if found {
                    TokenRemoved::Done
                } else {
                    TokenRemoved::Missing
                });
            }
            let Some((other, of_other)) = self.other_key_to_all(id).await? else {
                return Ok(TokenRemoved::Last);
            };
            let call = ScriptCall::new(&REMOVE_BESIDE, self.part(ADMIN_TOKENS, 0));
            let call = call.arg(id).arg(raw).arg(other).arg(of_other);
            if self.link.run(call).await? {
                return Ok(TokenRemoved::Done);
            }
        }
        Err(StoreError::Contended(id.into()))
    }

    /// A token besides `id` that opens everything for ever, as it is stored.
    async fn other_key_to_all(&self, id: &str) -> Result<Option<(String, String)>> {
        let most = usize::try_from(limits::MAX_ADMIN_TOKENS).unwrap_or(usize::MAX);
        for (other, raw) in self.list_raw(ADMIN_TOKENS, None, most).await? {
            let token: AdminToken = decode(ADMIN_TOKENS, &other, &raw)?;
            if other != id && token.opens_all_for_ever() {
                return Ok(Some((other, raw)));
            }
        }
        Ok(None)
    }

    pub(super) async fn note_token_use(&self, id: &str, now: UnixTime) -> Result<()> {
        let touch = |token: AdminToken| match token.last_used_at < Some(now) {
            true => {
                let last_used_at = Some(now);
                Change::To(
                    AdminToken {
                        last_used_at,
                        ..token
                    },
                    (),
                )
            }
            false => Change::Keep(()),
        };
        self.change(ADMIN_TOKENS, id, touch).await.map(|_| ())
    }

    pub(super) async fn reserve(
        &self,
        id: Digest,
        request: Digest,
        now: UnixTime,
    ) -> Result<Reservation> {
        let (id, life) = (hex::encode(id.0), limits::IDEMPOTENCY_LIFETIME.as_secs());
        let record = KeyedRequest {
            request,
            expires_at: UnixTime(now.0.saturating_add(life)),
            answer: None,
        };
        let part = self.part(KEYED_REQUESTS, KEYED_REQUESTS.shard_of(&id));
        let call = ScriptCall::new(&RESERVE_REQUEST, part)
            .arg(id.as_str())
            .arg(encode(KEYED_REQUESTS, &id, &record)?)
            .number(now.0)
            .number(record.expires_at.0)
            .number(MAX_KEYED_REQUESTS_OF_PART)
            .number(life);
        let (outcome, known): (String, String) = self.link.run(call).await?;
        Ok(match outcome.as_str() {
            "granted" => Reservation::Granted,
            "known" => Reservation::Known(decode(KEYED_REQUESTS, &id, &known)?),
            _ => Reservation::Full,
        })
    }

    pub(super) async fn complete(&self, id: Digest, answer: Vec<u8>) -> Result<()> {
        let complete = |known: KeyedRequest| {
            let answer = Some(answer.clone());
            Change::To(KeyedRequest { answer, ..known }, ())
        };
        let id = hex::encode(id.0);
        self.change(KEYED_REQUESTS, &id, complete).await.map(|_| ())
    }

    pub(super) async fn release(&self, id: Digest) -> Result<()> {
        self.remove(KEYED_REQUESTS, &hex::encode(id.0))
            .await
            .map(|_| ())
    }

    pub(super) async fn add_block(&self, block: &Block) -> Result<Added> {
        let id = BlockId::of(&block.target);
        self.create_bounded(BLOCKS, id.as_str(), block, limits::MAX_BLOCKS)
            .await
    }

    pub(super) async fn first_block_of(&self, ids: Vec<BlockId>) -> Result<Option<Block>> {
        let ids: Vec<String> = ids.into_iter().map(|id| id.0).collect();
        let records = self.get_many(BLOCKS, &ids).await?;
        let mut found = ids.iter().zip(records);
        let first = found.find_map(|(id, raw)| Some((id, raw?)));
        first.map(|(id, raw)| decode(BLOCKS, id, &raw)).transpose()
    }
}
