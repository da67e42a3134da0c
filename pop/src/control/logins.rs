//! Logins that a shard cannot decide: the record from the manager, the password against its hash.
//!
//! An argon2 check takes some 20 ms of a core that shards need, so only a few run at a time, a
//! bounded number waits, and a login that was verified for one shard is known for all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use argon2::{Argon2, PasswordVerifier, password_hash::phc::PasswordHash};
use titan_proto::control::{UserName, UserRecord};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{Manager, accounts::announce, manager::ManagerError, verified::Verified};
use crate::{
    limits::{LOOKUPS_AT_A_TIME, QUEUED_VERIFICATIONS, VERIFICATIONS_PER_USER},
    mesh::{LoginRequest, Mesh, News},
    users::{Accounts, LoginAnswer, LoginKey, Moment},
};

/// Answers the shards' questions about users.
pub(super) struct Logins {
    manager: Manager,
    mesh: Mesh,
    key: LoginKey,
    accounts: Arc<Accounts>,
    verified: Mutex<Verified>,
    lookups: Semaphore,
    /// Places for checks that run or wait.
    queue: Semaphore,
    /// Places for checks that run.
    checks: Semaphore,
    /// Checks that run or wait, by user: guesses at one password must not fill the queue for all.
    by_user: Mutex<HashMap<UserName, usize>>,
}

impl Logins {
    pub(super) fn new(
        manager: Manager,
        mesh: Mesh,
        key: LoginKey,
        accounts: Arc<Accounts>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            manager,
            mesh,
            key,
            accounts,
            verified: Mutex::default(),
            lookups: Semaphore::new(LOOKUPS_AT_A_TIME),
            queue: Semaphore::new(QUEUED_VERIFICATIONS),
            checks: Semaphore::new((cores / CORES_PER_CHECK).max(1)),
            by_user: Mutex::default(),
        }
    }

    /// Finds out about a login and tells the shard that asked.
    pub(super) async fn answer(self: Arc<Self>, request: LoginRequest) {
        let (shard, ticket) = (request.shard, request.ticket);
        let answer = self.decide(request).await;
        self.mesh.tell(shard, News::Login(ticket, answer));
    }

    /// Gets a newer record and tells every shard; `false` where the manager does not give it.
    pub(super) async fn refresh(&self, name: &UserName) -> bool {
        let looked_up = self.look_up(name).await;
        let is_known = looked_up.is_ok();
        let news = match looked_up {
            Ok(Some(record)) => News::UserChanged(record),
            Ok(None) => {
                self.verified().forget(name);
                News::UserGone(name.clone())
            }
            Err(error) => {
                tracing::debug!(%error, "a user's record cannot be refreshed");
                News::UserUnchanged(name.clone())
            }
        };
        self.mesh.broadcast(&news, None);
        is_known
    }

    /// Whether the manager's answer about some user is on its way. It may be from before a change.
    pub(super) fn is_asking(&self) -> bool {
        self.lookups.available_permits() < LOOKUPS_AT_A_TIME
    }

    async fn decide(&self, request: LoginRequest) -> LoginAnswer {
        let record = match self.look_up(&request.name).await {
            Ok(Some(record)) => record,
            Ok(None) => {
                self.verified().forget(&request.name);
                return LoginAnswer::Unknown;
            }
            Err(error) => {
                tracing::debug!(%error, "a user cannot be looked up");
                // While the manager is away, who was known goes on, and a wrong password is wrong.
                match self.verified().last_known(&request.name) {
                    Some(record) => record,
                    None => return LoginAnswer::Unavailable,
                }
            }
        };
        let digest = self.key.digest(&request.name, &request.password);
        if self.verified().holds(&record, &digest) {
            return LoginAnswer::Verified(record);
        }
        match self.verify(&record, request.password).await {
            Some(true) => {
                self.verified().remember(&record, digest);
                LoginAnswer::Verified(record)
            }
            Some(false) => LoginAnswer::WrongPassword,
            None => LoginAnswer::Unavailable,
        }
    }

    async fn look_up(&self, name: &UserName) -> Result<Option<Arc<UserRecord>>, ManagerError> {
        // Never closed, so always granted.
        let place = self.lookups.acquire().await;
        let record = self.manager.user(name).await?.map(Arc::new);
        drop(place);
        self.note(name, record.as_ref());
        Ok(record)
    }

    /// Has the newest record count for running sessions before any shard lets somebody in by it.
    fn note(&self, name: &UserName, record: Option<&Arc<UserRecord>>) {
        let changed = match record {
            Some(record) => self.accounts.update(record, Moment::now()),
            None => self.accounts.remove(name),
        };
        if let Some(account) = changed {
            announce(&self.mesh, &account);
        }
    }

    /// Whether `password` is the user's; `None` where too many wait or the hash is no hash.
    async fn verify(&self, record: &UserRecord, password: String) -> Option<bool> {
        let _turn = Turn::take(&self.by_user, &record.name)?;
        let _waiting = self.queue.try_acquire().ok()?;
        let _running = self.checks.acquire().await.ok()?;
        let hash = record.password_hash.clone();
        spawn_blocking(move || check(&hash, &password)).await.ok()?
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of a user's places among the checks.
struct Turn<'a> {
    taken: &'a Mutex<HashMap<UserName, usize>>,
    name: &'a UserName,
}

impl<'a> Turn<'a> {
    fn take(taken: &'a Mutex<HashMap<UserName, usize>>, name: &'a UserName) -> Option<Self> {
        let mut places = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = places.entry(name.clone()).or_default();
        if *own >= VERIFICATIONS_PER_USER {
            return None;
        }
        *own += 1;
        drop(places);
        Some(Self { taken, name })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut places = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = places.get_mut(self.name) {
            *own -= 1;
            if *own == 0 {
                places.remove(self.name);
            }
        }
    }
}

/// Cores for each check that may run at a time: the rest is the shards'.
const CORES_PER_CHECK: usize = 4;

fn check(hash: &str, password: &str) -> Option<bool> {
    match PasswordHash::new(hash) {
        // The parameters are the hash's own.
        Ok(hash) => Some(
            Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok(),
        ),
        Err(error) => {
            tracing::error!(%error, "a user's password hash cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;

    use super::*;

    #[test]
    fn guesses_at_one_user_leave_room_for_others() {
        let taken = Mutex::default();
        let (alice, bob): (UserName, UserName) = (
            "alice".parse().expect("a name"),
            "bob".parse().expect("a name"),
        );
        let turns: Vec<_> = (0..VERIFICATIONS_PER_USER)
            .map(|_| Turn::take(&taken, &alice))
            .collect();
        assert!(turns.iter().all(Option::is_some));
        assert!(Turn::take(&taken, &alice).is_none());
        assert!(Turn::take(&taken, &bob).is_some());
        drop(turns);
        assert!(Turn::take(&taken, &alice).is_some());
        assert!(
            taken.lock().expect("whole").is_empty(),
            "nothing is kept of those who left"
        );
    }

    #[test]
    fn passwords_are_checked_against_argon2id_hashes() {
        let hash = Argon2::default()
            .hash_password(b"correct horse")
            .expect("hashes")
            .to_string();
        assert!(hash.starts_with("$argon2id$"));
        assert_eq!(check(&hash, "correct horse"), Some(true));
        assert_eq!(check(&hash, "battery staple"), Some(false));
        assert_eq!(check("5f4dcc3b5aa765d61d8327deb882cf99", "password"), None);
    }
}
