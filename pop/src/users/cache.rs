//! One shard's memory of users.
//!
//! ```text
//!  age of the record   0 s ───────── 10 s ────────────────── 60 s ─────────────▶
//!                        served        served, refreshed       asked for first;
//!                                      in the background       served if the manager is away
//! ```

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Instant,
};

use titan_proto::control::{UserName, UserRecord};

use super::{LoginAnswer, LoginDigest};
use crate::limits::{
    CACHED_REFUSALS, CACHED_USERS, RECORD_FRESH, RECORD_STALE, REFUSAL_REMEMBERED,
};

/// What the cache can say about a login by itself.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// The password is the user's; where `refresh` is set, ask for a newer record meanwhile.
    Known {
        /// The user.
        record: Arc<UserRecord>,
        /// Whether nobody has asked for a newer record yet.
        refresh: bool,
    },
    /// It was found to be wrong a moment ago.
    Refused,
    /// Ask the control side; the record, if there is one, was good for this login when it was
    /// last heard of.
    Ask(Option<Arc<UserRecord>>),
}

/// Users and refusals of one shard, both bounded.
#[derive(Debug, Default)]
pub struct Cache {
    users: HashMap<UserName, User>,
    refusals: HashMap<LoginDigest, Instant>,
}

#[derive(Debug)]
struct User {
    record: Arc<UserRecord>,
    heard_at: Instant,
    refreshing: bool,
    /// Logins that were verified against this version of the record.
    verified: Vec<LoginDigest>,
}

impl Cache {
    /// What is known of `name` with the password of `digest`.
    pub fn look_up(&mut self, name: &UserName, digest: &LoginDigest, now: Instant) -> Lookup {
        if let Some(user) = self.users.get_mut(name)
            && user.verified.contains(digest)
        {
            return user.look_up(now);
        }
        match self.refusals.get(digest) {
            Some(&until) if now < until => Lookup::Refused,
            _ => Lookup::Ask(None),
        }
    }

    /// Takes in what the control side found out about a login.
    pub fn learn(
        &mut self,
        name: &UserName,
        digest: LoginDigest,
        answer: &LoginAnswer,
        now: Instant,
    ) {
        match answer {
            LoginAnswer::Verified(record) => {
                self.update(record, now, true);
                if let Some(user) = self.users.get_mut(name) {
                    user.remember(digest);
                }
            }
            LoginAnswer::WrongPassword => self.refuse(digest, now),
            LoginAnswer::Unknown => {
                self.forget(name);
                self.refuse(digest, now);
            }
            LoginAnswer::Unavailable => {}
        }
    }

    /// Takes in a newer record of a user this shard may know.
    pub fn refresh(&mut self, record: &Arc<UserRecord>, now: Instant) {
        self.update(record, now, false);
    }

    /// The refresh of a user's record failed; the next login may ask again.
    pub fn refresh_failed(&mut self, name: &UserName) {
        if let Some(user) = self.users.get_mut(name) {
            user.refreshing = false;
        }
    }

    /// There is no such user any more.
    pub fn forget(&mut self, name: &UserName) {
        self.users.remove(name);
    }

    fn update(&mut self, record: &Arc<UserRecord>, now: Instant, add: bool) {
        if add && !self.users.contains_key(&record.name) {
            evict_one_if_full(&mut self.users, CACHED_USERS, |user| user.heard_at);
        }
        match self.users.entry(record.name.clone()) {
            Entry::Occupied(mut user) => user.get_mut().update(record, now),
            Entry::Vacant(place) if add => {
                place.insert(User {
                    record: Arc::clone(record),
                    heard_at: now,
                    refreshing: false,
                    verified: Vec::new(),
                });
            }
            Entry::Vacant(_) => {}
        }
    }

    fn refuse(&mut self, digest: LoginDigest, now: Instant) {
        if self.refusals.len() >= CACHED_REFUSALS {
            self.refusals.retain(|_, until| now < *until);
            evict_one_if_full(&mut self.refusals, CACHED_REFUSALS, |until| *until);
        }
        self.refusals.insert(digest, now + REFUSAL_REMEMBERED);
    }
}

impl User {
    fn look_up(&mut self, now: Instant) -> Lookup {
        let age = now.saturating_duration_since(self.heard_at);
        if age >= RECORD_STALE {
            return Lookup::Ask(Some(Arc::clone(&self.record)));
        }
        let refresh = age >= RECORD_FRESH && !self.refreshing;
        self.refreshing |= refresh;
        Lookup::Known {
            record: Arc::clone(&self.record),
            refresh,
        }
    }

    fn update(&mut self, record: &Arc<UserRecord>, now: Instant) {
        // An answer that was overtaken by a newer one says nothing.
        if record.version < self.record.version {
            return;
        }
        if record.version != self.record.version {
            self.verified.clear();
        }
        self.record = Arc::clone(record);
        self.heard_at = now;
        self.refreshing = false;
    }

    fn remember(&mut self, digest: LoginDigest) {
        if !self.verified.contains(&digest) {
            // More than one only where two passwords are valid for one hash, which argon2 rules
            // out; the bound holds whatever it rules out.
            self.verified.truncate(VERIFIED_PER_USER - 1);
            self.verified.push(digest);
        }
    }
}

const VERIFIED_PER_USER: usize = 2;

/// Makes room in a full table. The victim is the oldest of a few at random places: as good as the
/// oldest of all in the long run, and O(1).
fn evict_one_if_full<K: Clone + Eq + std::hash::Hash, V>(
    table: &mut HashMap<K, V>,
    limit: usize,
    age: impl Fn(&V) -> Instant,
) {
    if table.len() >= limit
        && let Some(key) = table
            .iter()
            .take(8)
            .min_by_key(|(_, v)| age(v))
            .map(|(k, _)| k.clone())
    {
        table.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::users::LoginKey;

    fn record(version: u64, enabled: bool) -> Arc<UserRecord> {
        let json = format!(
            r#"{{"name":"alice","version":{version},"password_hash":"x","enabled":{enabled}}}"#
        );
        Arc::new(serde_json::from_str(&json).expect("a record"))
    }

    struct Bench {
        cache: Cache,
        name: UserName,
        digest: LoginDigest,
        start: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let name: UserName = "alice".parse().expect("a name");
            let digest = LoginKey::random().digest(&name, "secret");
            Self {
                cache: Cache::default(),
                name,
                digest,
                start: Instant::now(),
            }
        }

        fn look_up(&mut self, after_s: u64) -> Lookup {
            let now = self.start + Duration::from_secs(after_s);
            self.cache.look_up(&self.name, &self.digest, now)
        }

        fn learn(&mut self, answer: &LoginAnswer) {
            self.cache
                .learn(&self.name, self.digest, answer, self.start);
        }
    }

    #[test]
    fn a_record_is_served_refreshed_and_then_asked_for_as_it_ages() {
        let mut bench = Bench::new();
        assert!(matches!(bench.look_up(0), Lookup::Ask(None)));
        bench.learn(&LoginAnswer::Verified(record(1, true)));
        assert!(matches!(
            bench.look_up(9),
            Lookup::Known { refresh: false, .. }
        ));
        assert!(matches!(
            bench.look_up(10),
            Lookup::Known { refresh: true, .. }
        ));
        assert!(
            matches!(bench.look_up(11), Lookup::Known { refresh: false, .. }),
            "asked once"
        );
        bench.cache.refresh_failed(&bench.name);
        assert!(matches!(
            bench.look_up(12),
            Lookup::Known { refresh: true, .. }
        ));
        assert!(matches!(bench.look_up(60), Lookup::Ask(Some(_))));
    }

    #[test]
    fn another_version_needs_another_verification() {
        let mut bench = Bench::new();
        bench.learn(&LoginAnswer::Verified(record(2, true)));
        bench.cache.refresh(&record(1, false), bench.start);
        assert!(
            matches!(bench.look_up(1), Lookup::Known { .. }),
            "an older record is no news"
        );
        bench.cache.refresh(&record(3, false), bench.start);
        assert!(matches!(bench.look_up(1), Lookup::Ask(None)));
        bench.learn(&LoginAnswer::Verified(record(3, false)));
        assert!(matches!(bench.look_up(1), Lookup::Known { record, .. } if !record.enabled));
        bench.cache.forget(&bench.name);
        assert!(matches!(bench.look_up(1), Lookup::Ask(None)));
    }

    #[test]
    fn refusals_are_remembered_briefly_and_not_for_other_passwords() {
        let mut bench = Bench::new();
        bench.learn(&LoginAnswer::WrongPassword);
        assert!(matches!(bench.look_up(1), Lookup::Refused));
        assert!(matches!(bench.look_up(2), Lookup::Ask(None)));
        let other = LoginKey::random().digest(&bench.name, "right");
        assert!(matches!(
            bench.cache.look_up(&bench.name, &other, bench.start),
            Lookup::Ask(None)
        ));
    }

    #[test]
    fn refusals_are_bounded() {
        let mut bench = Bench::new();
        let key = LoginKey::random();
        for attempt in 0..CACHED_REFUSALS + 100 {
            let digest = key.digest(&bench.name, &attempt.to_string());
            bench.cache.learn(
                &bench.name,
                digest,
                &LoginAnswer::WrongPassword,
                bench.start,
            );
        }
        assert!(bench.cache.refusals.len() <= CACHED_REFUSALS);
    }
}
