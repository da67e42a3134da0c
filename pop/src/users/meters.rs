//! What each user relays through one shard.
//!
//! A session holds its user's meter, so that counting a read or a write is an addition in memory of
//! its own core. Every second the shard hands over what has changed, and nothing where nothing has.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    mem,
    rc::Rc,
};

use titan_proto::control::{UsageTotals, UserName};

use crate::net::Notify;

/// The meters of one shard's users, for as long as they have sessions.
#[derive(Debug, Default)]
pub struct Meters {
    users: RefCell<HashMap<UserName, Rc<Meter>>>,
    changed: Rc<Changed>,
}

/// Meters that have something to hand over.
#[derive(Debug, Default)]
struct Changed {
    meters: RefCell<Vec<Rc<Meter>>>,
    any: Notify,
}

/// One user's meter. What it shows is what has come since it was last read.
#[derive(Debug)]
struct Meter {
    user: UserName,
    up: Cell<u64>,
    down: Cell<u64>,
    sessions: Cell<u64>,
    connections: Cell<i64>,
    is_changed: Cell<bool>,
    changed: Rc<Changed>,
}

/// What a shard has relayed for a user since it last said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageDelta {
    /// The user.
    pub user: UserName,
    /// Bytes and sessions.
    pub used: UsageTotals,
    /// Sessions that run now and did not run then, less those that have ended.
    pub connections: i64,
}

impl Meters {
    /// The meter of `user`, for a session that begins here.
    pub fn hold(&self, user: &UserName) -> Metered {
        let known = self.users.borrow().get(user).map(Rc::clone);
        let meter = known.unwrap_or_else(|| {
            let meter = Rc::new(Meter::new(user.clone(), Rc::clone(&self.changed)));
            self.users
                .borrow_mut()
                .insert(user.clone(), Rc::clone(&meter));
            meter
        });
        Metered::new(meter)
    }

    /// Waits until a meter has something to hand over.
    pub async fn changed(&self) {
        while self.changed.meters.borrow().is_empty() {
            self.changed.any.notified().await;
        }
    }

    /// Reads every meter that has changed, and forgets those that no session holds.
    pub fn read(&self) -> Vec<UsageDelta> {
        let meters = mem::take(&mut *self.changed.meters.borrow_mut());
        let mut deltas = Vec::with_capacity(meters.len());
        for meter in meters {
            deltas.push(meter.read());
            if Rc::strong_count(&meter) == HELD_BY_NOBODY {
                self.users.borrow_mut().remove(&meter.user);
            }
        }
        deltas.retain(UsageDelta::is_news);
        deltas
    }
}

/// The table and the reader themselves.
const HELD_BY_NOBODY: usize = 2;

impl Meter {
    fn new(user: UserName, changed: Rc<Changed>) -> Self {
        Self {
            user,
            up: Cell::new(0),
            down: Cell::new(0),
            sessions: Cell::new(0),
            connections: Cell::new(0),
            is_changed: Cell::new(false),
            changed,
        }
    }

    fn read(&self) -> UsageDelta {
        self.is_changed.set(false);
        UsageDelta {
            user: self.user.clone(),
            used: UsageTotals {
                up_bytes: self.up.take(),
                down_bytes: self.down.take(),
                sessions: self.sessions.take(),
            },
            connections: self.connections.take(),
        }
    }
}

impl UsageDelta {
    fn is_news(&self) -> bool {
        self.used != UsageTotals::default() || self.connections != 0
    }
}

/// A running session's hold on its user's meter.
#[derive(Debug)]
pub struct Metered(Rc<Meter>);

impl Metered {
    fn new(meter: Rc<Meter>) -> Self {
        let metered = Self(meter);
        metered.note(&metered.0.connections, 1);
        metered
    }

    /// Counts a session that was opened.
    pub fn count_session(&self) {
        self.note(&self.0.sessions, 1);
    }

    /// Counts bytes from the client.
    pub fn count_up(&self, bytes: u64) {
        self.note(&self.0.up, bytes);
    }

    /// Counts bytes to the client.
    pub fn count_down(&self, bytes: u64) {
        self.note(&self.0.down, bytes);
    }

    fn note<N: Copy + std::ops::Add<Output = N>>(&self, number: &Cell<N>, more: N) {
        number.set(number.get() + more);
        if !self.0.is_changed.replace(true) {
            let changed = &self.0.changed;
            changed.meters.borrow_mut().push(Rc::clone(&self.0));
            changed.any.notify();
        }
    }
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.note(&self.0.connections, -1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UserName {
        text.parse().expect("a name")
    }

    fn delta(user: &str, up_bytes: u64, sessions: u64, connections: i64) -> UsageDelta {
        UsageDelta {
            user: name(user),
            used: UsageTotals {
                up_bytes,
                down_bytes: 0,
                sessions,
            },
            connections,
        }
    }

    #[test]
    fn what_was_counted_is_read_once() {
        let meters = Meters::default();
        let [first, second] = ["alice", "alice"].map(|user| meters.hold(&name(user)));
        first.count_session();
        first.count_up(40);
        second.count_up(2);
        assert_eq!(meters.read(), [delta("alice", 42, 1, 2)]);
        assert_eq!(meters.read(), []);
        second.count_up(1);
        assert_eq!(meters.read(), [delta("alice", 1, 0, 0)]);
    }

    #[test]
    fn a_meter_that_nobody_holds_is_read_and_forgotten() {
        let meters = Meters::default();
        let held = meters.hold(&name("alice"));
        drop(meters.hold(&name("bob")));
        assert_eq!(
            meters.read(),
            [delta("alice", 0, 0, 1)],
            "bob has left nothing"
        );
        assert_eq!(meters.users.borrow().len(), 1);
        held.count_up(5);
        drop(held);
        assert_eq!(meters.read(), [delta("alice", 5, 0, -1)]);
        assert!(meters.users.borrow().is_empty());
    }
}
