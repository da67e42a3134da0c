//! The scripts: what has to happen in one step on the server.
//!
//! All keys of a script lie in one slot, so that each runs on a Cluster as well. They are run by
//! their hash; a server that does not know one yet is sent its text.

use std::sync::LazyLock;

/// One script.
pub(super) struct Script {
    /// What it says.
    pub(super) text: &'static str,
    hash: LazyLock<String>,
}

impl Script {
    /// SHA-1 of the text, as Redis names it.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal;)*) => {$(
        $(#[$doc])*
        pub(super) static $name: Script = Script {
            text: include_str!(concat!("scripts/", $file, ".lua")),
            hash: LazyLock::new(|| {
                redis::Script::new(include_str!(concat!("scripts/", $file, ".lua"))).get_hash().to_owned()
            }),
        };
    )*};
}

scripts! {
    /// Adds a record unless its id is taken.
    CREATE = "create";
    /// Adds a record unless its id is taken or there are enough.
    CREATE_BOUNDED = "create_bounded";
    /// Replaces a record if it is still what the caller has read.
    REPLACE = "replace";
    /// Removes a record.
    REMOVE = "remove";
    /// Removes a record if it and another are still what the caller has read.
    REMOVE_BESIDE = "remove_beside";
    /// Takes an idempotency key for a request.
    RESERVE_REQUEST = "reserve_request";
    /// Adds a record to an empty table.
    CREATE_FIRST = "create_first";
    /// Makes a record the only one of its table.
    REPLACE_ALL = "replace_all";
    /// Adds a user unless the name is taken, with a new version.
    CREATE_USER = "create_user";
    /// Replaces a user who still has the version that the caller has read.
    UPDATE_USER = "update_user";
    /// Removes a record and tells of it.
    REMOVE_TELLING = "remove_telling";
    /// Tells of a record.
    TELL = "tell";
    /// Appends events to the log.
    APPEND_EVENTS = "append_events";
    /// The events behind a cursor.
    EVENTS_AFTER = "events_after";
    /// The events that were left in an outbox.
    OVERDUE_EVENTS = "overdue_events";
    /// Removes a PoP and what it said.
    DELETE_POP = "delete_pop";
    /// Remembers for nodes that they were seen on a PoP.
    SIGHT = "sight";
    /// The PoPs on which nodes were seen.
    SIGHTED = "sighted";
    /// Puts a part of a PoP's whole list of nodes aside.
    STAGE = "stage";
    /// Takes a heartbeat in.
    HEARTBEAT = "heartbeat";
    /// Lets everybody see what a PoP said about itself.
    ANNOUNCE = "announce";
    /// What PoPs said that are online.
    LIVE = "live";
    /// Counts a node that was sent to a PoP.
    EXPECT = "expect";
    /// The key for challenges of this run of the server.
    CHALLENGE_KEY = "challenge_key";
    /// Counts some users of a batch of usage.
    USAGE_COUNT = "usage_count";
    /// Raises the sequence of a PoP's stream of usage.
    USAGE_ADVANCE = "usage_advance";
    /// Forgets points of usage.
    USAGE_PRUNE = "usage_prune";
    /// What points say of one user.
    USAGE_SERIES = "usage_series";
    /// Users, and what was counted since their packages began.
    USAGE_STANDINGS = "usage_standings";
}
