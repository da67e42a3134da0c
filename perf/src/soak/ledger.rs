//! What was done, what failed, and whose fault that was.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
};

use serde::Serialize;
use tokio::time::Instant;

use crate::limits::{KILL_NOTICED_AFTER, MAX_TOLD_FAILURES};

/// Kinds of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One message there and back, over and over, each in a connection of its own.
    Churn,
    /// Bulk data from the target.
    Down,
    /// Bulk data to the target, which says at the end how much it was.
    Up,
    /// Bulk data that is never read.
    Stalled,
    /// Bulk data, read slowly, after the client has ended its own direction.
    HalfClosed,
    /// Small messages in a lasting session.
    Echo,
    /// Datagrams through UDP ASSOCIATE.
    Udp,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Churn,
        Self::Down,
        Self::Up,
        Self::Stalled,
        Self::HalfClosed,
        Self::Echo,
        Self::Udp,
    ];
}

/// Counts of a soak, shared by everything that runs in it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    last: Cell<u64>,
    live: RefCell<HashMap<u64, Live>>,
    killed_at: Cell<Option<Instant>>,
    totals: RefCell<Totals>,
}

/// What has been counted.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Totals {
    /// Sessions that came to their proper end, by kind.
    pub done: BTreeMap<Kind, u64>,
    /// Payload bytes that were checked.
    pub bytes: u64,
    /// Datagrams that were sent.
    pub datagrams: u64,
    /// Datagrams that did not come back: UDP may lose them.
    pub datagrams_lost: u64,
    /// Edges that were killed.
    pub kills: u64,
    /// Sessions that failed because their edge was killed.
    pub killed: u64,
    /// Sessions that failed for another reason.
    pub failed: u64,
    /// The first of those, in words.
    pub failures: Vec<String>,
    /// Sessions whose bytes were not those that were sent.
    pub mismatches: u64,
}

/// A session that runs.
#[derive(Debug)]
struct Live {
    kind: Kind,
    started: Instant,
    at_site: AtSite,
    /// Whether its edge was killed, or may have been.
    doomed: bool,
}

/// How far a session is at the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtSite {
    Unknown,
    Connected,
    Over,
}

/// Why a session ended badly.
#[derive(Debug)]
pub(super) enum Fault {
    /// It broke, was refused or did not get on.
    Broken(anyhow::Error),
    /// It brought other bytes than were sent.
    Mismatch(String),
}

impl<E: Into<anyhow::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

impl Ledger {
    /// A new session and its number.
    pub(super) fn begin(&self, kind: Kind) -> u64 {
        self.begin_at(kind, Instant::now())
    }

    fn begin_at(&self, kind: Kind, now: Instant) -> u64 {
        let id = self.last.get() + 1;
        self.last.set(id);
        let live = Live {
            kind,
            started: now,
            at_site: AtSite::Unknown,
            doomed: false,
        };
        self.live.borrow_mut().insert(id, live);
        id
    }

    /// A session has ended.
    pub(super) fn end(&self, id: u64, outcome: Result<(), Fault>) {
        let Some(live) = self.live.borrow_mut().remove(&id) else {
            return;
        };
        let mut totals = self.totals.borrow_mut();
        match outcome {
            Ok(()) => *totals.done.entry(live.kind).or_default() += 1,
            Err(Fault::Mismatch(what)) => {
                totals.mismatches += 1;
                totals.tell(format!("{:?} {id}: {what}", live.kind));
            }
            Err(Fault::Broken(_)) if self.was_killed(&live) => totals.killed += 1,
            Err(Fault::Broken(error)) => {
                totals.failed += 1;
                let (kind, age) = (live.kind, live.started.elapsed());
                totals.tell(format!("{kind:?} {id} after {age:.1?}: {error:#}"));
            }
        }
    }

    /// Whether a killed edge explains that a session failed: it went through that edge, or it had
    /// not reached the site when the PoP could still take the edge for living.
    fn was_killed(&self, live: &Live) -> bool {
        let soon_after = self.killed_at.get().is_some_and(|killed| {
            killed <= live.started && live.started - killed < KILL_NOTICED_AFTER
        });
        live.doomed || (soon_after && live.at_site == AtSite::Unknown)
    }

    /// The session has reached the site.
    pub(super) fn reached(&self, id: u64) {
        self.move_to(id, AtSite::Connected);
    }

    /// The site has ended the session; its last bytes may be on their way.
    pub(super) fn left(&self, id: u64) {
        self.move_to(id, AtSite::Over);
    }

    fn move_to(&self, id: u64, place: AtSite) {
        if let Some(live) = self.live.borrow_mut().get_mut(&id) {
            live.at_site = place;
        }
    }

    /// An edge is killed that carries these sessions. It may also carry those that have not yet
    /// reached the site or have left it.
    pub(super) fn kill(&self, carried: &BTreeSet<u64>) {
        self.killed_at.set(Some(Instant::now()));
        self.totals.borrow_mut().kills += 1;
        for (id, live) in self.live.borrow_mut().iter_mut() {
            live.doomed |= carried.contains(id) || live.at_site != AtSite::Connected;
        }
    }

    /// The site has got other bytes than were sent.
    pub(super) fn mismatch(&self, id: u64, what: &str) {
        let mut totals = self.totals.borrow_mut();
        totals.mismatches += 1;
        totals.tell(format!("{id} at the target: {what}"));
    }

    /// Payload bytes have been checked.
    pub(super) fn checked(&self, bytes: usize) {
        self.totals.borrow_mut().bytes += bytes as u64;
    }

    /// A datagram has been sent, and has come back or not.
    pub(super) fn datagram(&self, came_back: bool) {
        let mut totals = self.totals.borrow_mut();
        totals.datagrams += 1;
        totals.datagrams_lost += u64::from(!came_back);
    }

    /// The counts so far.
    pub(super) fn totals(&self) -> Totals {
        self.totals.borrow().clone()
    }
}

impl Totals {
    /// Sessions that came to their proper end.
    pub fn sessions(&self) -> u64 {
        self.done.values().sum()
    }

    fn tell(&mut self, failure: String) {
        if self.failures.len() < MAX_TOLD_FAILURES {
            self.failures.push(failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn broken() -> Result<(), Fault> {
        Err(Fault::Broken(anyhow!("reset")))
    }

    #[test]
    fn what_a_killed_edge_carried_is_excused_and_nothing_else() {
        let ledger = Ledger::default();
        let [carried, other, under_way] = [Kind::Down, Kind::Up, Kind::Echo].map(|kind| {
            let id = ledger.begin(kind);
            ledger.reached(id);
            id
        });
        ledger.left(under_way);
        ledger.kill(&BTreeSet::from([carried]));
        for id in [carried, other, under_way] {
            ledger.end(id, broken());
        }
        let totals = ledger.totals();
        assert_eq!((totals.killed, totals.failed, totals.kills), (2, 1, 1));
        assert!(totals.failures[0].starts_with("Up 2 "), "{totals:?}");
    }

    #[test]
    fn other_bytes_are_never_excused() {
        let ledger = Ledger::default();
        let id = ledger.begin(Kind::Down);
        ledger.kill(&BTreeSet::from([id]));
        ledger.end(id, Err(Fault::Mismatch("other bytes".into())));
        assert_eq!(ledger.totals().mismatches, 1);
    }

    #[test]
    fn a_session_that_begins_long_after_a_kill_must_not_fail() {
        let ledger = Ledger::default();
        ledger.kill(&BTreeSet::new());
        let soon = ledger.begin(Kind::Churn);
        let later = ledger.begin_at(Kind::Churn, Instant::now() + KILL_NOTICED_AFTER);
        ledger.end(soon, broken());
        ledger.end(later, broken());
        let totals = ledger.totals();
        assert_eq!((totals.killed, totals.failed), (1, 1), "{totals:?}");
    }
}
