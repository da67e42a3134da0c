//! The accounts of this PoP's users: who is let in, and whose sessions must end.
//!
//! The newest record that any part of the process has heard of counts, so a shard whose memory is a
//! moment old lets nobody in who is out. The table is locked for a look-up when a client logs in and
//! when a record comes; no byte passes by it.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use titan_proto::{
    control::{UserName, UserRecord},
    reason::Reason,
};

use super::account::{Account, standing};
use crate::limits::ACCOUNT_KEPT_LOOKS;

/// A time by both clocks: packages end by the calendar, rates are measured by the one that never
/// jumps.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the monotonic clock.
    pub instant: Instant,
    /// Seconds since the Unix epoch.
    pub unix_s: u64,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            instant: Instant::now(),
            unix_s: since_epoch.map_or(0, |since| since.as_secs()),
        }
    }
}

/// Every user that this PoP has heard of lately.
#[derive(Debug, Default)]
pub struct Accounts {
    accounts: Mutex<HashMap<UserName, Arc<Account>>>,
}

/// A client connection of a user; the user has one less when it is dropped. It goes with the client
/// from shard to shard.
#[derive(Debug)]
pub struct Seat {
    account: Arc<Account>,
    /// Of the record that let the client in.
    version: u64,
    client: IpAddr,
}

impl Accounts {
    /// Lets a client in whose login was verified against `record`.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(
        &self,
        record: &Arc<UserRecord>,
        client: IpAddr,
        now: Moment,
    ) -> Result<Arc<Seat>, Reason> {
        let account = self.account(record, now);
        let newest = account.record();
        if newest.password_hash != record.password_hash {
            return Err(Reason::AuthenticationFailed);
        }
        let refusal = standing(&newest, now.unix_s).or_else(|| account.verdict(client));
        if let Some(reason) = refusal {
            return Err(reason);
        }
        if !account.connect(newest.limits.connections) {
            return Err(Reason::TooManyConnections);
        }
        let version = newest.version;
        Ok(Arc::new(Seat {
            account,
            version,
            client,
        }))
    }

    /// Takes in a record. Gives the account that shards must look at again, if there is one: its
    /// terms have changed, or it has ended.
    pub fn update(&self, record: &Arc<UserRecord>, now: Moment) -> Option<Arc<Account>> {
        let mut accounts = self.lock();
        let mut entry = match accounts.entry(record.name.clone()) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(place) => {
                place.insert(Arc::new(Account::new(record, now.instant)));
                return None;
            }
        };
        let account = Arc::clone(entry.get());
        let known = account.record();
        if record.version < known.version || *record == known {
            return None;
        }
        let may_connect = standing(record, now.unix_s);
        if let Some(ended) = account.ended() {
            // A package that is used up is not full again because something else has changed.
            let is_still_over =
                ended == Reason::QuotaExhausted && record.bytes_left == known.bytes_left;
            if may_connect.is_none() && !is_still_over {
                entry.insert(Arc::new(Account::new(record, now.instant)));
            }
            return None;
        }
        let is_new_password = record.password_hash != known.password_hash;
        match may_connect.or_else(|| is_new_password.then_some(Reason::PasswordChanged)) {
            None => account.apply(record, now.instant),
            Some(reason) => {
                account.end(reason);
                account.close_with(record);
                if may_connect.is_none() {
                    entry.insert(Arc::new(Account::new(record, now.instant)));
                }
            }
        }
        Some(account)
    }

    /// There is no such user any more. Gives the account whose sessions end, if there is one.
    pub fn remove(&self, name: &UserName) -> Option<Arc<Account>> {
        // The account stays for a while: a shard may not have heard of it yet.
        let account = self.get(name)?;
        account.end(Reason::UserDeleted).then_some(account)
    }

    /// Takes in what the manager's books say is left of a user's package. Gives the account that
    /// shards must look at again, if there is one.
    pub fn set_bytes_left(&self, name: &UserName, bytes: u64, now: Moment) -> Option<Arc<Account>> {
        let record = UserRecord {
            bytes_left: Some(bytes),
            ..(*self.get(name)?.record()).clone()
        };
        self.update(&Arc::new(record), now)
    }

    /// Ends the accounts whose packages have expired, and gives them; forgets those that nobody has
    /// used for long.
    pub fn look(&self, now: Moment) -> Vec<Arc<Account>> {
        let mut expired = Vec::new();
        self.lock().retain(|_, account| {
            let is_over = account
                .record()
                .valid_until
                .is_some_and(|until| until <= now.unix_s);
            if is_over && account.end(Reason::PackageExpired) {
                expired.push(Arc::clone(account));
            }
            account.look() < ACCOUNT_KEPT_LOOKS
        });
        expired
    }

    /// Whether the user was heard of lately: no session runs of one who was not.
    pub fn knows(&self, name: &UserName) -> bool {
        self.lock().contains_key(name)
    }

    /// Users with connections.
    pub fn connected(&self) -> Vec<UserName> {
        let accounts = self.lock();
        let connected = accounts
            .iter()
            .filter(|(_, account)| account.connections() > 0);
        connected.map(|(name, _)| name.clone()).collect()
    }

    fn get(&self, name: &UserName) -> Option<Arc<Account>> {
        self.lock().get(name).map(Arc::clone)
    }

    /// The account of the user of `record`, who may have become known by it.
    fn account(&self, record: &Arc<UserRecord>, now: Moment) -> Arc<Account> {
        let mut accounts = self.lock();
        if let Some(account) = accounts.get(&record.name) {
            return Arc::clone(account);
        }
        let account = Arc::new(Account::new(record, now.instant));
        accounts.insert(record.name.clone(), Arc::clone(&account));
        account
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserName, Arc<Account>>> {
        // Every change is one step: a panic elsewhere leaves the table sound.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Whose it is.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Where the client is.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// Whether it serves another request of the same client, whose login was verified against
    /// `record` now.
    pub fn serves(&self, record: &UserRecord) -> bool {
        let is_known = || {
            let known = self.account.record();
            known.name == record.name && known.password_hash == record.password_hash
        };
        // Versions belong to one user each: no two users have met one.
        (self.version == record.version || is_known())
            && self.account.verdict(self.client).is_none()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.account.disconnect();
    }
}

#[cfg(test)]
mod tests;
