//! A user on this PoP, over all shards: what the user may do, what is left, and whether it is over.
//!
//! ```text
//!   live ──ended by a newer record, by time, by use, by deletion──▶ ended, with a reason, for good
//! ```
//!
//! A user who may come back gets a new account: the sessions of the old one end, whatever happens
//! meanwhile to the user.

use std::{
    net::IpAddr,
    num::NonZeroU64,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use titan_proto::{control::UserRecord, reason::Reason};

use super::Bucket;
use crate::limits::{ALLOWANCE_MAX, ALLOWANCE_MIN, ALLOWANCE_PART, RATE_UNLIMITED};

/// A user on this PoP. Shared by all threads; what changes with every byte is in each shard's
/// [`Share`](super::Share) of it.
#[derive(Debug)]
pub struct Account {
    state: Mutex<State>,
    ended: OnceLock<Reason>,
    connections: AtomicU32,
    /// Bytes that no shard has taken yet; [`UNMETERED`] for a user without a package.
    left: AtomicU64,
    /// Whether the addresses of its clients matter.
    is_bound: AtomicBool,
    /// Looks at it in a row in which it had no connection.
    idle_looks: AtomicU32,
}

/// What changes with the user's record.
#[derive(Debug)]
struct State {
    record: Arc<UserRecord>,
    terms: Terms,
}

/// What a shard must know to let a user's bytes pass.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// The limit of the direction from client to target.
    pub up: Option<Arc<Bucket>>,
    /// The limit of the other direction.
    pub down: Option<Arc<Bucket>>,
    /// Whether bytes have to be taken from the account before they pass.
    pub is_metered: bool,
    /// Which package they are of: what was taken of one is worth nothing in the next.
    pub(super) package: u64,
}

/// `Account::left` of a user without a package.
const UNMETERED: u64 = u64::MAX;

impl Account {
    /// The account of a user as the record says.
    pub(super) fn new(record: &Arc<UserRecord>, now: Instant) -> Self {
        let mut terms = Terms::default();
        terms.apply(record, now);
        Self {
            state: Mutex::new(State {
                record: Arc::clone(record),
                terms,
            }),
            ended: OnceLock::new(),
            connections: AtomicU32::new(0),
            left: AtomicU64::new(record.bytes_left.unwrap_or(UNMETERED)),
            is_bound: AtomicBool::new(!record.limits.client_addresses.is_empty()),
            idle_looks: AtomicU32::new(0),
        }
    }

    /// The record as it was last heard of.
    pub fn record(&self) -> Arc<UserRecord> {
        Arc::clone(&self.state().record)
    }

    /// What shards must know now.
    pub fn terms(&self) -> Terms {
        self.state().terms.clone()
    }

    /// Why the account has ended, if it has.
    pub fn ended(&self) -> Option<Reason> {
        self.ended.get().copied()
    }

    /// Why a session of a client at this address must end, if it must.
    pub fn verdict(&self, client: IpAddr) -> Option<Reason> {
        let is_bound = self.is_bound.load(Ordering::Relaxed);
        let is_denied = || is_bound && !allows(&self.state().record, client);
        self.ended()
            .or_else(|| is_denied().then_some(Reason::ClientAddressDenied))
    }

    /// Client connections now.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Ends it; `false` where it has ended already.
    pub(super) fn end(&self, reason: Reason) -> bool {
        self.ended.set(reason).is_ok()
    }

    /// Counts one connection more, unless there are as many as may be.
    pub(super) fn connect(&self, most: Option<u32>) -> bool {
        let most = most.unwrap_or(u32::MAX);
        let more = |now: u32| (now < most).then(|| now + 1);
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    pub(super) fn disconnect(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Takes in a newer record of a user who goes on.
    pub(super) fn apply(&self, record: &Arc<UserRecord>, now: Instant) {
        let mut state = self.state();
        // A record that says the same as the last one knows nothing of what was relayed since.
        if record.bytes_left != state.record.bytes_left {
            state.terms.package += 1;
            self.left
                .store(record.bytes_left.unwrap_or(UNMETERED), Ordering::Relaxed);
        }
        state.terms.apply(record, now);
        let is_bound = !record.limits.client_addresses.is_empty();
        self.is_bound.store(is_bound, Ordering::Relaxed);
        state.record = Arc::clone(record);
    }

    /// Notes the record for which it has ended.
    pub(super) fn close_with(&self, record: &Arc<UserRecord>) {
        self.state().record = Arc::clone(record);
    }

    /// Takes bytes that are about to be counted from what is left: `needed`, and some ahead, or
    /// what there is.
    pub(super) fn take(&self, needed: u64) -> u64 {
        let mut taken = 0;
        let take = |left: u64| {
            let ahead = (left / ALLOWANCE_PART).clamp(ALLOWANCE_MIN, ALLOWANCE_MAX);
            taken = needed.max(ahead).min(left);
            (left != UNMETERED).then(|| left - taken)
        };
        let result = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        // Its meter was taken away a moment ago: whatever is needed is there.
        result.map_or(needed, |_| taken)
    }

    /// Gives back what was taken of a package and not used.
    pub(super) fn give_back(&self, bytes: u64, package: u64) {
        let state = self.state();
        if state.terms.package != package {
            return;
        }
        let give = |left: u64| (left != UNMETERED).then(|| left.saturating_add(bytes));
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
    }

    /// Whether shards have taken all there was.
    pub(super) fn is_used_up(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Counts one look; gives how many in a row saw no connection.
    pub(super) fn look(&self) -> u32 {
        if self.connections() > 0 {
            self.idle_looks.store(0, Ordering::Relaxed);
            return 0;
        }
        self.idle_looks.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one step: a panic elsewhere leaves it sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Terms {
    /// Rates that stay keep their buckets, and with them what was spent.
    fn apply(&mut self, record: &UserRecord, now: Instant) {
        self.is_metered = record.bytes_left.is_some();
        renew(&mut self.up, record.limits.up_bytes_per_second, now);
        renew(&mut self.down, record.limits.down_bytes_per_second, now);
    }
}

fn renew(bucket: &mut Option<Arc<Bucket>>, rate: Option<NonZeroU64>, now: Instant) {
    let rate = rate.filter(|rate| rate.get() < RATE_UNLIMITED);
    if bucket.as_ref().map(|bucket| bucket.rate()) != rate {
        *bucket = rate.map(|rate| Arc::new(Bucket::new(rate, now)));
    }
}

/// Why a user whose record says this may not use the PoP at a time, in seconds since the Unix epoch;
/// `None` if the user may.
pub(super) fn standing(record: &UserRecord, unix_s: u64) -> Option<Reason> {
    if !record.enabled {
        return Some(Reason::UserDisabled);
    }
    if record.valid_until.is_some_and(|until| until <= unix_s) {
        return Some(Reason::PackageExpired);
    }
    if record.valid_from.is_some_and(|from| unix_s < from) {
        return Some(Reason::PackageNotStarted);
    }
    (record.bytes_left == Some(0)).then_some(Reason::QuotaExhausted)
}

/// Whether the user's clients may connect from this address.
fn allows(record: &UserRecord, client: IpAddr) -> bool {
    let allowed = &record.limits.client_addresses;
    allowed.is_empty()
        || allowed
            .iter()
            .any(|net| net.contains(&client.to_canonical()))
}
