//! One shard's share of its users' accounts: what the data path asks for each read and write.
//!
//! A user without limits costs one look at a flag of the shard's own. Sessions of a limited user on
//! one shard stand in a line for each direction: the first waits for the rate, moves a quantum, and
//! goes to the end.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::{Rc, Weak},
    sync::Arc,
    time::Instant,
};

use titan_proto::reason::Reason;

use super::{Account, Bucket, Line, Seat, Terms};
use crate::{
    limits::RATE_RECHECK,
    net::{OnceEvent, sleep_until_fine},
};

/// The shares of one shard, one for each account that has a session here.
#[derive(Debug, Default, Clone)]
pub struct Shares(Rc<RefCell<HashMap<*const Account, Weak<Share>>>>);

/// One shard's share of an account.
#[derive(Debug)]
pub struct Share {
    account: Arc<Account>,
    /// No limit of any kind: nothing is to be counted or waited for.
    is_free: Cell<bool>,
    is_metered: Cell<bool>,
    /// Bytes taken from the account and not used yet, and of which package.
    allowance: Cell<u64>,
    package: Cell<u64>,
    up: Lane,
    down: Lane,
    /// Happens at the next change of the account.
    changed: RefCell<Rc<OnceEvent>>,
    table: Shares,
}

/// A session's place in it.
#[derive(Debug)]
pub struct Member {
    seat: Arc<Seat>,
    share: Rc<Share>,
}

/// One direction.
#[derive(Debug, Default)]
pub struct Lane {
    bucket: RefCell<Option<Arc<Bucket>>>,
    line: Line,
}

/// Whether a user's package has just come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// There is something left, or there never was an end to it.
    Lasts,
    /// It has: the other shards must hear of it.
    UsedUp,
}

impl Shares {
    /// A place for a session of the client that holds `seat`.
    pub fn join(&self, seat: Arc<Seat>) -> Member {
        let account = seat.account();
        let key = Arc::as_ptr(account);
        let known = self.0.borrow().get(&key).and_then(Weak::upgrade);
        let share = known.unwrap_or_else(|| {
            let share = Rc::new(Share::new(Arc::clone(account), self.clone()));
            self.0.borrow_mut().insert(key, Rc::downgrade(&share));
            share
        });
        Member { seat, share }
    }

    /// Looks at an account again: its terms have changed, or it has ended.
    pub fn changed(&self, account: &Arc<Account>) {
        let share = self.0.borrow().get(&Arc::as_ptr(account)).cloned();
        if let Some(share) = share.and_then(|share| share.upgrade()) {
            share.renew();
        }
    }
}

impl Share {
    fn new(account: Arc<Account>, table: Shares) -> Self {
        let share = Self {
            is_free: Cell::default(),
            is_metered: Cell::default(),
            allowance: Cell::default(),
            package: Cell::default(),
            up: Lane::default(),
            down: Lane::default(),
            changed: RefCell::default(),
            account,
            table,
        };
        share.take_terms();
        share
    }

    fn renew(&self) {
        self.take_terms();
        self.changed.take().happen();
    }

    fn take_terms(&self) {
        let Terms {
            up,
            down,
            is_metered,
            package,
        } = self.account.terms();
        self.is_free
            .set(up.is_none() && down.is_none() && !is_metered);
        self.is_metered.set(is_metered);
        if self.package.replace(package) != package {
            self.allowance.set(0);
        }
        self.up.bucket.replace(up);
        self.down.bucket.replace(down);
    }

    fn spend(&self, bytes: usize) -> Package {
        if !self.is_metered.get() {
            return Package::Lasts;
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let mut have = self.allowance.get();
        if have < bytes {
            have = have.saturating_add(self.account.take(bytes - have));
        }
        self.allowance.set(have.saturating_sub(bytes));
        let is_over = have <= bytes && self.account.is_used_up();
        if is_over && self.account.end(Reason::QuotaExhausted) {
            self.changed.take().happen();
            return Package::UsedUp;
        }
        Package::Lasts
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let (bytes, package) = (self.allowance.get(), self.package.get());
        if bytes > 0 {
            self.account.give_back(bytes, package);
        }
        self.table
            .0
            .borrow_mut()
            .remove(&Arc::as_ptr(&self.account));
    }
}

impl Member {
    /// Whose session it is.
    pub fn account(&self) -> &Arc<Account> {
        &self.share.account
    }

    /// The client's seat.
    pub fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// Client to target.
    pub fn up(&self) -> &Lane {
        &self.share.up
    }

    /// Target to client.
    pub fn down(&self) -> &Lane {
        &self.share.down
    }

    /// Accounts for bytes that have moved in `lane`.
    pub fn moved(&self, lane: &Lane, bytes: usize) -> Package {
        if self.share.is_free.get() || bytes == 0 {
            return Package::Lasts;
        }
        lane.charge(bytes);
        self.share.spend(bytes)
    }

    /// Why not one byte more may move, where what has moved so far is the reason.
    pub fn used_up(&self) -> Option<Reason> {
        if self.share.is_free.get() {
            return None;
        }
        self.account().ended()
    }

    /// Waits until the session must end for what its user may not do any more.
    pub async fn ended(&self) -> Reason {
        loop {
            let changed = Rc::clone(&self.share.changed.borrow());
            if let Some(reason) = self.account().verdict(self.seat.client()) {
                return reason;
            }
            changed.wait().await;
        }
    }
}

impl Lane {
    /// Most bytes to move in one turn; `None` where there is no limit.
    pub fn quantum(&self) -> Option<usize> {
        let bucket = self.bucket.borrow();
        bucket.as_ref().map(|bucket| bucket.quantum())
    }

    /// Whether a datagram may pass now. It does not wait.
    pub fn is_open(&self) -> bool {
        self.opens_at(Instant::now()).is_none()
    }

    /// Waits for a turn to move a quantum. It has to be used at once: whoever stands behind gets
    /// theirs when this task pauses.
    pub async fn turn(&self) {
        if self.quantum().is_none() || (self.line.is_empty() && self.is_open()) {
            return;
        }
        let _first = self.line.first().await;
        let mut now = Instant::now();
        while let Some(at) = self.opens_at(now) {
            sleep_until_fine(at.min(now + RATE_RECHECK)).await;
            now = Instant::now();
        }
    }

    fn charge(&self, bytes: usize) {
        if let Some(bucket) = &*self.bucket.borrow() {
            bucket.charge(bytes, Instant::now());
        }
    }

    fn opens_at(&self, now: Instant) -> Option<Instant> {
        self.bucket.borrow().as_ref()?.opens_at(now)
    }
}

#[cfg(test)]
mod tests {
    use titan_proto::control::UserRecord;

    use super::*;
    use crate::users::{Accounts, Moment};

    fn metered(bytes: u64) -> (Accounts, Arc<Seat>) {
        let json = format!(
            r#"{{"name":"alice","version":1,"password_hash":"x","enabled":true,"bytes_left":{bytes}}}"#
        );
        let record: Arc<UserRecord> = Arc::new(serde_json::from_str(&json).expect("a record"));
        let accounts = Accounts::default();
        let client = std::net::Ipv4Addr::LOCALHOST.into();
        let seat = accounts.admit(&record, client, Moment::now());
        (accounts, seat.expect("let in"))
    }

    #[test]
    fn a_package_is_used_to_its_last_byte_by_all_shards_together() {
        let (_accounts, seat) = metered(10_000_000);
        let shards = [Shares::default(), Shares::default()];
        let members = shards.each_ref().map(|shard| shard.join(Arc::clone(&seat)));
        let mut moved = 0;
        'all: loop {
            for member in &members {
                moved += 1000;
                if member.moved(member.down(), 1000) == Package::UsedUp {
                    break 'all;
                }
            }
        }
        // What the other shard had taken ahead is all that can be left over.
        assert!((9_500_000..=10_001_000).contains(&moved), "{moved}");
        assert_eq!(seat.account().ended(), Some(Reason::QuotaExhausted));
    }

    #[test]
    fn what_was_taken_of_a_package_is_worth_nothing_in_the_next() {
        let (accounts, seat) = metered(1_000_000);
        let shard = Shares::default();
        let member = shard.join(Arc::clone(&seat));
        assert_eq!(member.moved(member.up(), 1), Package::Lasts);
        let name = seat.account().record().name.clone();
        let account = accounts.set_bytes_left(&name, 1000, Moment::now());
        shard.changed(&account.expect("known"));
        assert_eq!(member.moved(member.up(), 999), Package::Lasts);
        drop(member);
        let member = shard.join(seat);
        assert_eq!(member.moved(member.up(), 1), Package::UsedUp);
    }

    #[test]
    fn what_a_shard_has_taken_and_not_used_is_given_back() {
        let (_accounts, seat) = metered(100_000);
        let shard = Shares::default();
        for _ in 0..100 {
            // Each of them takes some ahead.
            let member = shard.join(Arc::clone(&seat));
            assert_eq!(member.moved(member.up(), 999), Package::Lasts);
        }
        assert!(shard.0.borrow().is_empty(), "nothing is kept of who left");
        let member = shard.join(Arc::clone(&seat));
        assert_eq!(member.moved(member.up(), 99), Package::Lasts);
        assert_eq!(member.moved(member.up(), 1), Package::UsedUp);
    }
}
