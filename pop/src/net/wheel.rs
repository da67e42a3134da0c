//! A hashed timer wheel: O(1) to set, to clear and to turn by one tick.
//!
//! Entries live in a slab; each slot is the head of a list linked through it, so that clearing
//! an entry unlinks it at once and the many timeouts that never fire leave nothing behind.
//! Invariant: an entry that waits is linked into slot `due % slots`, a fired one into none.

use std::task::Waker;

use slab::Slab;

use crate::limits::TIMER_SLOTS;

/// Names an entry from [`Wheel::set`] until [`Wheel::clear`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(usize);

/// All timers of one core. Time is counted in ticks from the core's start.
#[derive(Debug)]
pub(super) struct Wheel {
    entries: Slab<Entry>,
    heads: Box<[Option<usize>]>,
    now: u64,
    waiting: usize,
}

#[derive(Debug)]
struct Entry {
    due: u64,
    waker: Option<Waker>,
    fired: bool,
    previous: Option<usize>,
    next: Option<usize>,
}

impl Wheel {
    pub(super) fn new() -> Self {
        let heads = vec![None; TIMER_SLOTS].into_boxed_slice();
        Self {
            entries: Slab::new(),
            heads,
            now: 0,
            waiting: 0,
        }
    }

    /// Adds an entry that fires when the wheel turns to tick `due`, the next one at the earliest.
    pub(super) fn set(&mut self, due: u64) -> Key {
        let due = due.max(self.now + 1);
        let key = self.entries.insert(Entry {
            due,
            waker: None,
            fired: false,
            previous: None,
            next: None,
        });
        self.link(key, due);
        Key(key)
    }

    /// Removes an entry, fired or not.
    pub(super) fn clear(&mut self, Key(key): Key) {
        self.unlink(key);
        self.entries.try_remove(key);
    }

    /// Whether the entry has fired; if not, `waker` is woken when it does.
    pub(super) fn has_fired(&mut self, Key(key): Key, waker: &Waker) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return true;
        };
        if !entry.fired
            && !entry
                .waker
                .as_ref()
                .is_some_and(|known| known.will_wake(waker))
        {
            entry.waker = Some(waker.clone());
        }
        entry.fired
    }

    /// Turns the wheel to `tick` and moves the wakers of what has come due to `woken`.
    pub(super) fn turn(&mut self, tick: u64, woken: &mut Vec<Waker>) {
        // A core that stalled for longer than a round visits every slot once, not each missed tick.
        let first = (self.now + 1).max(tick.saturating_sub(TIMER_SLOTS as u64 - 1));
        for slot in first..=tick {
            self.fire_slot(slot, tick, woken);
        }
        self.now = self.now.max(tick);
    }

    /// Whether no entry waits.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting == 0
    }

    /// Moves the clock of a wheel in which nothing waits.
    pub(super) fn skip_to(&mut self, tick: u64) {
        debug_assert!(self.is_idle(), "skipping would jump over entries");
        self.now = self.now.max(tick);
    }

    fn fire_slot(&mut self, slot: u64, tick: u64, woken: &mut Vec<Waker>) {
        let mut cursor = self.heads[slot_of(slot)];
        while let Some(key) = cursor {
            let Some(entry) = self.entries.get_mut(key) else {
                return;
            };
            cursor = entry.next;
            if entry.due > tick {
                continue; // For a later round.
            }
            woken.extend(entry.waker.take());
            self.unlink(key);
            self.entries[key].fired = true;
        }
    }

    fn link(&mut self, key: usize, due: u64) {
        let head = self.heads[slot_of(due)].replace(key);
        if let Some(head) = head {
            self.entries[head].previous = Some(key);
        }
        self.entries[key].next = head;
        self.waiting += 1;
    }

    fn unlink(&mut self, key: usize) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if entry.fired {
            return;
        }
        let (due, previous, next) = (entry.due, entry.previous.take(), entry.next.take());
        match previous {
            Some(previous) => self.entries[previous].next = next,
            None => self.heads[slot_of(due)] = next,
        }
        if let Some(next) = next {
            self.entries[next].previous = previous;
        }
        self.waiting -= 1;
    }
}

fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % TIMER_SLOTS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    struct Nobody;
    impl std::task::Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    fn fired(wheel: &mut Wheel, key: Key) -> bool {
        wheel.has_fired(key, &Waker::from(Arc::new(Nobody)))
    }

    #[test]
    fn entries_fire_at_their_tick_and_not_before() {
        let mut wheel = Wheel::new();
        let (soon, late) = (wheel.set(3), wheel.set(3 + 2 * TIMER_SLOTS as u64));
        assert!(!fired(&mut wheel, soon));
        let mut woken = Vec::new();
        wheel.turn(2, &mut woken);
        assert!(woken.is_empty());
        wheel.turn(3, &mut woken);
        assert!(woken.len() == 1 && fired(&mut wheel, soon) && !fired(&mut wheel, late));
        wheel.turn(2 + 2 * TIMER_SLOTS as u64, &mut woken);
        assert!(!fired(&mut wheel, late));
        wheel.turn(3 + 2 * TIMER_SLOTS as u64, &mut woken);
        assert!(fired(&mut wheel, late) && wheel.is_idle());
    }

    #[test]
    fn cleared_entries_leave_their_neighbours_in_place() {
        let mut wheel = Wheel::new();
        let keys: Vec<Key> = (0..5).map(|_| wheel.set(7)).collect();
        for &index in &[0, 4, 2] {
            wheel.clear(keys[index]);
        }
        wheel.turn(7, &mut Vec::new());
        assert!(fired(&mut wheel, keys[1]) && fired(&mut wheel, keys[3]) && wheel.is_idle());
        wheel.clear(keys[1]);
        wheel.clear(keys[3]);
        assert!(wheel.entries.is_empty());
    }

    #[test]
    fn a_stall_of_several_rounds_fires_everything_due_once() {
        let mut wheel = Wheel::new();
        let keys: Vec<Key> = (1..2000).map(|due| wheel.set(due)).collect();
        wheel.turn(5000, &mut Vec::new());
        assert!(wheel.is_idle() && keys.iter().all(|&key| fired(&mut wheel, key)));
        let next = wheel.set(1);
        wheel.turn(5001, &mut Vec::new());
        assert!(
            fired(&mut wheel, next),
            "a deadline in the past fires at the next tick"
        );
    }
}
