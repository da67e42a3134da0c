//! How fast a soak goes: as fast as a share of one core allows, so that it can run beside other
//! work.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::{
    limits::{GOVERNOR_FASTEST, GOVERNOR_SLOWEST, GOVERNOR_START},
    sample,
};

/// Lets work through at a rate that follows what the processes use.
#[derive(Debug)]
pub(super) struct Governor {
    /// Percent of one core that all processes together may use.
    budget: f64,
    /// Units of work a second, in bytes.
    rate: Cell<f64>,
    free_at: Cell<Instant>,
    looked_at: Cell<Instant>,
    clocks: RefCell<HashMap<u32, Duration>>,
    percent: Cell<f64>,
}

impl Governor {
    pub(super) fn new(budget_percent: f64) -> Self {
        Self {
            budget: budget_percent,
            rate: Cell::new(GOVERNOR_START),
            free_at: Cell::new(Instant::now()),
            looked_at: Cell::new(Instant::now()),
            clocks: RefCell::default(),
            percent: Cell::new(0.0),
        }
    }

    /// Waits for one's turn to move `bytes`.
    pub(super) async fn admit(&self, bytes: usize) {
        sleep_until(self.turn(bytes, Instant::now())).await;
    }

    /// When `bytes` may be moved; the next one's turn is when they have been.
    fn turn(&self, bytes: usize, now: Instant) -> Instant {
        #[expect(clippy::cast_precision_loss, reason = "a chunk is below 2^52")]
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate.get());
        let turn = self.free_at.get().max(now);
        self.free_at.set(turn + takes);
        turn
    }

    /// Percent of a core that was used between the last two looks.
    pub(super) fn percent(&self) -> f64 {
        self.percent.get()
    }

    /// Looks at the clocks of `pids` and goes faster or slower. A process that has ended is left
    /// out.
    pub(super) fn look(&self, pids: &[u32]) {
        let mut used = Duration::ZERO;
        let mut clocks = self.clocks.borrow_mut();
        let before = std::mem::take(&mut *clocks);
        for &pid in pids {
            if let Ok(now) = sample::cpu_time(pid) {
                let before = before.get(&pid).copied().unwrap_or(now);
                used += now.saturating_sub(before);
                clocks.insert(pid, now);
            }
        }
        let elapsed = self.looked_at.replace(Instant::now()).elapsed();
        self.adjust(used, elapsed);
    }

    fn adjust(&self, used: Duration, elapsed: Duration) {
        let percent = used.as_secs_f64() / elapsed.as_secs_f64().max(1e-3) * 100.0;
        self.percent.set(percent);
        // In small steps: what is under way still costs at the old rate.
        let step = (self.budget / percent.max(1.0)).clamp(0.8, 1.1);
        let rate = (self.rate.get() * step).clamp(GOVERNOR_SLOWEST, GOVERNOR_FASTEST);
        self.rate.set(rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_admitted_at_the_rate_in_turn() {
        let (governor, now) = (Governor::new(50.0), Instant::now());
        let turns: Vec<_> = (0..3).map(|_| governor.turn(2_000_000, now)).collect();
        let each = Duration::from_secs_f64(2e6 / GOVERNOR_START);
        assert_eq!(turns, [now, now + each, now + 2 * each]);
        let later = now + Duration::from_secs(9);
        assert_eq!(governor.turn(1, later), later, "idle time is not saved up");
    }

    #[test]
    fn the_rate_follows_the_budget_within_its_bounds() {
        let (governor, second) = (Governor::new(50.0), Duration::from_secs(1));
        governor.adjust(Duration::from_millis(900), second);
        assert!(governor.rate.get() < GOVERNOR_START, "too much was used");
        for _ in 0..1000 {
            governor.adjust(Duration::from_millis(10), second);
        }
        assert_eq!(governor.rate.get(), GOVERNOR_FASTEST);
        for _ in 0..1000 {
            governor.adjust(second, second);
        }
        assert_eq!(governor.rate.get(), GOVERNOR_SLOWEST);
        assert_eq!(governor.percent(), 100.0);
    }
}
