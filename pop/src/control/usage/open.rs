//! What has come from the shards and is in no batch yet.

use std::collections::HashMap;

use titan_proto::control::{UsageTotals, UserName, UserUsage};

use crate::{limits::BATCH_USERS, users::UsageDelta};

/// The interval that runs: what every user has relayed in it, and how many sessions each has.
#[derive(Debug, Default)]
pub(super) struct Open {
    used: HashMap<UserName, UsageTotals>,
    /// Users with sessions; outlives the interval.
    running: HashMap<UserName, i64>,
}

impl Open {
    /// Adds what a shard has handed over.
    pub(super) fn add(&mut self, deltas: Vec<UsageDelta>) {
        for delta in deltas {
            let running = self.running.entry(delta.user.clone()).or_default();
            *running += delta.connections;
            if *running == 0 {
                self.running.remove(&delta.user);
            }
            self.used.entry(delta.user).or_default().add(&delta.used);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// All of it, in batches of users in the order of their names.
    pub(super) fn batches(&self) -> Vec<Vec<UserUsage>> {
        let mut users: Vec<UserUsage> = self
            .used
            .iter()
            .map(|(name, used)| self.usage(name, used))
            .collect();
        users.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        users.chunks(BATCH_USERS).map(<[_]>::to_vec).collect()
    }

    /// Begins the next interval: what was there is on disk.
    pub(super) fn begin(&mut self) {
        self.used.clear();
    }

    fn usage(&self, name: &UserName, used: &UsageTotals) -> UserUsage {
        let running = self.running.get(name).copied().unwrap_or(0);
        UserUsage {
            name: name.clone(),
            up_bytes: used.up_bytes,
            down_bytes: used.down_bytes,
            sessions: used.sessions,
            // Below zero while a shard's end of a session has overtaken another shard's begin.
            connections: u64::try_from(running).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(user: &str, up_bytes: u64, connections: i64) -> UsageDelta {
        UsageDelta {
            user: user.parse().expect("a name"),
            used: UsageTotals {
                up_bytes,
                ..UsageTotals::default()
            },
            connections,
        }
    }

    fn seen(open: &Open) -> Vec<(String, u64, u64)> {
        let batches = open.batches();
        let users = batches.iter().flatten();
        let seen = |user: &UserUsage| (user.name.to_string(), user.up_bytes, user.connections);
        users.map(seen).collect()
    }

    #[test]
    fn shards_are_added_up_and_sessions_run_on() {
        let mut open = Open::default();
        open.add(vec![delta("bob", 1, 1), delta("alice", 2, 1)]);
        open.add(vec![delta("bob", 10, 1)]);
        assert_eq!(seen(&open), [("alice".into(), 2, 1), ("bob".into(), 11, 2)]);
        open.begin();
        assert!(open.is_empty());
        open.add(vec![delta("bob", 5, -1), delta("alice", 0, -1)]);
        assert_eq!(seen(&open), [("alice".into(), 0, 0), ("bob".into(), 5, 1)]);
        assert_eq!(open.running.len(), 1, "who has no session needs no place");
    }

    #[test]
    fn a_batch_holds_so_many_users_and_no_more() {
        let mut open = Open::default();
        open.add(
            (0..=BATCH_USERS)
                .map(|n| delta(&format!("u{n}"), 1, 0))
                .collect(),
        );
        let sizes: Vec<usize> = open.batches().iter().map(Vec::len).collect();
        assert_eq!(sizes, [BATCH_USERS, 1]);
    }
}
