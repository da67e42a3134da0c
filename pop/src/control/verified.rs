//! Logins the control thread has verified for any shard.

use std::{collections::HashMap, sync::Arc};

use titan_proto::control::{UserName, UserRecord};

use crate::{limits::VERIFIED_LOGINS, users::LoginDigest};

/// The last verified login of each user, bound to the version of the record it was verified
/// against.
#[derive(Debug, Default)]
pub(super) struct Verified {
    users: HashMap<UserName, (Arc<UserRecord>, LoginDigest)>,
}

impl Verified {
    /// Whether this login was verified against this version of the record.
    pub(super) fn holds(&self, record: &UserRecord, digest: &LoginDigest) -> bool {
        self.users
            .get(&record.name)
            .is_some_and(|(known, good)| known.version == record.version && good == digest)
    }

    /// The user's record as it was last seen, for when the manager is away.
    pub(super) fn last_known(&self, name: &UserName) -> Option<Arc<UserRecord>> {
        self.users.get(name).map(|(record, _)| Arc::clone(record))
    }

    /// Notes a verified login.
    pub(super) fn remember(&mut self, record: &Arc<UserRecord>, digest: LoginDigest) {
        if self.users.len() >= VERIFIED_LOGINS
            && !self.users.contains_key(&record.name)
            // Any will do: it costs its user one more check.
            && let Some(victim) = self.users.keys().next().cloned()
        {
            self.users.remove(&victim);
        }
        self.users
            .insert(record.name.clone(), (Arc::clone(record), digest));
    }

    /// Forgets a user that is no more.
    pub(super) fn forget(&mut self, name: &UserName) {
        self.users.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::LoginKey;

    #[test]
    fn a_verification_is_bound_to_password_and_version() {
        let json = r#"{"name":"alice","version":1,"password_hash":"x","enabled":true}"#;
        let record: Arc<UserRecord> = Arc::new(serde_json::from_str(json).expect("a record"));
        let newer = UserRecord {
            version: 2,
            ..(*record).clone()
        };
        let key = LoginKey::random();
        let (good, bad) = (
            key.digest(&record.name, "right"),
            key.digest(&record.name, "wrong"),
        );
        let mut verified = Verified::default();
        assert!(!verified.holds(&record, &good));
        verified.remember(&record, good);
        assert!(verified.holds(&record, &good) && !verified.holds(&record, &bad));
        assert!(!verified.holds(&newer, &good));
        assert!(verified.last_known(&record.name).is_some());
        verified.forget(&record.name);
        assert!(!verified.holds(&record, &good));
    }
}
