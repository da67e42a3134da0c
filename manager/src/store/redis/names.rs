//! What the keys are called. `docs/redis-keys.md` says what each holds.
//!
//! The part in braces decides in which slot of a Cluster a key lies: keys that one script works on
//! have it in common.

use std::fmt::Display;

use sha2::{Digest, Sha256};
use titan_proto::control::{NodeId, PopId, UsageResolution};

use crate::{config::KeyPrefix, limits};

/// Makes the keys of one store.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: KeyPrefix,
}

/// A set of records with ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table {
    /// What it is called in keys and errors.
    pub(super) name: &'static str,
    /// Into how many slots it is spread.
    pub(super) shards: u8,
}

/// `User` by name.
pub(super) const USERS: Table = Table::spread("users");
/// `Node` by id.
pub(super) const NODES: Table = Table::spread("nodes");
/// `Pop` by id.
pub(super) const POPS: Table = Table::small("pops");
/// `EnrolmentKey` by id.
pub(super) const ENROLMENT_KEYS: Table = Table::small("enrolment-keys");
/// `AdminToken` by id.
pub(super) const ADMIN_TOKENS: Table = Table::small("admin-tokens");
/// `Block` by id. In one slot, because the blocks that may concern somebody have up to 130 ids:
/// so they are looked up by one command.
pub(super) const BLOCKS: Table = Table::small("blocks");
/// `KeyedRequest` by the digest of its key. Its ids are sorted by the time at which they expire.
pub(super) const KEYED_REQUESTS: Table = Table::spread("keyed-requests");

/// All tables.
pub(super) const TABLES: [Table; 7] = [
    USERS,
    NODES,
    POPS,
    ENROLMENT_KEYS,
    ADMIN_TOKENS,
    BLOCKS,
    KEYED_REQUESTS,
];

impl Table {
    const fn spread(name: &'static str) -> Self {
        let shards = limits::REDIS_SHARDS;
        Self { name, shards }
    }

    /// A table that is small enough for one slot.
    const fn small(name: &'static str) -> Self {
        Self { name, shards: 1 }
    }

    /// The part of the table that holds `id`.
    pub(super) fn shard_of(self, id: &str) -> u8 {
        Sha256::digest(id)[0] % self.shards
    }
}

impl Names {
    pub(super) fn new(prefix: KeyPrefix) -> Self {
        Self { prefix }
    }

    /// Text: the version of the format, of everything that lasts.
    pub(super) fn format(&self) -> String {
        self.key("format")
    }

    /// Hash: id → record.
    pub(super) fn records(&self, table: Table, shard: u8) -> String {
        self.key(&format!("{{{}:{shard}}}:records", table.name))
    }

    /// Sorted set: the ids of the records, in their order.
    pub(super) fn ids(&self, table: Table, shard: u8) -> String {
        self.key(&format!("{{{}:{shard}}}:ids", table.name))
    }

    /// Number: the last version that was given to a user of this part of the table.
    pub(super) fn user_version(&self, shard: u8) -> String {
        self.key(&format!("{{{}:{shard}}}:version", USERS.name))
    }

    /// Hash: what was counted for a user, and what each PoP said last about them.
    pub(super) fn usage(&self, shard: u8, user: &str) -> String {
        self.key(&format!("{{{}:{shard}}}:usage:{user}", USERS.name))
    }

    /// Hash: PoP and stream → how far its batches are counted for the users of this part.
    pub(super) fn usage_counted(&self, shard: u8) -> String {
        self.key(&format!("{{{}:{shard}}}:counted", USERS.name))
    }

    /// Sorted set: the begins of the points of this length in which users of this part relayed.
    pub(super) fn usage_points(&self, shard: u8, resolution: UsageResolution) -> String {
        self.key(&format!("{{{}:{shard}}}:points:{resolution}", USERS.name))
    }

    /// Hash: user → what they relayed in this point.
    pub(super) fn usage_point(
        &self,
        shard: u8,
        resolution: UsageResolution,
        start: impl Display,
    ) -> String {
        let points = self.usage_points(shard, resolution);
        format!("{points}:{start}")
    }

    /// Hash: stream → the last sequence that is counted, and `current` → the one that began last.
    pub(super) fn usage_streams(&self, pop: &PopId) -> String {
        self.key(&format!("{{pop:{pop}}}:streams"))
    }

    /// Stream: what happened in this part of the table and is not in the log yet.
    pub(super) fn outbox(&self, table: Table, shard: u8) -> String {
        self.key(&format!("{{{}:{shard}}}:outbox", table.name))
    }

    /// Stream: what PoPs must hear.
    pub(super) fn events(&self) -> String {
        self.key("events")
    }

    /// Text: the Ed25519 seed that tunnel tokens are signed with.
    pub(super) fn signing_key(&self) -> String {
        self.key("signing-key")
    }

    /// Hash: what a PoP's heartbeats are compared with.
    pub(super) fn pop_state(&self, pop: &PopId) -> String {
        self.key(&format!("{{pop:{pop}}}:state"))
    }

    /// Hash: node → since when and from which address the PoP holds it.
    pub(super) fn pop_nodes(&self, pop: &PopId) -> String {
        self.key(&format!("{{pop:{pop}}}:nodes"))
    }

    /// Hash like [`Names::pop_nodes`]: a list that is not complete yet.
    pub(super) fn pop_staged(&self, pop: &PopId, number: u64) -> String {
        self.key(&format!("{{pop:{pop}}}:staged:{number:016x}"))
    }

    /// Hash: PoP → what it last said about itself.
    pub(super) fn live(&self) -> String {
        self.key(&format!("{{{}:0}}:live", POPS.name))
    }

    /// Sorted set: PoPs by the time until which they count as online.
    pub(super) fn live_until(&self) -> String {
        self.key(&format!("{{{}:0}}:live-until", POPS.name))
    }

    /// Hash: PoP → nodes that were sent there since it last spoke.
    pub(super) fn expected(&self) -> String {
        self.key(&format!("{{{}:0}}:expected", POPS.name))
    }

    /// Set: the PoPs on which a node has been seen lately.
    pub(super) fn sighting(&self, node: NodeId) -> String {
        self.key(&format!("{{seen:{:02x}}}:{node}", sighting_shard(node)))
    }

    /// Hash: the key for challenges, and the run of the server that it belongs to.
    pub(super) fn challenge_key(&self) -> String {
        self.key("{challenges}:key")
    }

    /// Text: a nonce that was used. With the challenge key in one slot, and so on one server: what
    /// the one knows of restarts holds for the other.
    pub(super) fn nonce(&self, nonce: [u8; 16]) -> String {
        self.key(&format!("{{challenges}}:nonce:{}", hex::encode(nonce)))
    }

    pub(super) fn key(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix.as_str())
    }
}

/// Which of 256 slots knows where a node was seen.
pub(super) fn sighting_shard(node: NodeId) -> u8 {
    node.as_bytes()[0]
}
