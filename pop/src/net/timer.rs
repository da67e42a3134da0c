//! Timeouts of one core: a wheel and a timer descriptor, armed only while something waits; and a second
//! pair that turns faster, for the few waits whose length matters.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::{
    future::{Either, race},
    socket::Socket,
    task::spawn_guarded,
    wheel::{Key, Wheel},
};
use crate::limits::{FINE_TICK, TIMER_TICK};

/// The time was over before the future was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

/// Gives `future`, which is pinned already, at most `limit`, to the resolution of the wheel.
///
/// # Errors
/// [`Elapsed`] when the time is over first.
pub async fn timeout<F: Future + Unpin>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    match race(future, sleep(limit)).await {
        Either::First(output) => Ok(output),
        Either::Second(()) => Err(Elapsed),
    }
}

/// Waits for `duration`, to the resolution of the wheel and never less.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

/// Waits until `deadline`, to the resolution of the wheel and never less.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline,
        pace: Pace::Coarse,
        key: None,
    }
}

/// The same to the resolution of the fine wheel, which costs a turn every few milliseconds for as
/// long as anybody waits so.
pub fn sleep_until_fine(deadline: Instant) -> Sleep {
    Sleep {
        deadline,
        pace: Pace::Fine,
        key: None,
    }
}

/// The wait of [`sleep`]; costs a place in the wheel from its first poll on.
#[derive(Debug)]
pub struct Sleep {
    deadline: Instant,
    pace: Pace,
    key: Option<Key>,
}

impl Sleep {
    /// When it is over.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let fired = with_clock(self.pace, |clock| {
            let key = *self.key.get_or_insert_with(|| clock.set(deadline));
            clock.wheel.has_fired(key, cx.waker())
        });
        match fired {
            Some(false) => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            with_clock(self.pace, |clock| clock.wheel.clear(key));
        }
    }
}

/// Gives this core its clocks and starts the tasks that turn them.
pub(super) fn start() -> io::Result<()> {
    let (coarse, fine) = (Clock::new(TIMER_TICK)?, Clock::new(FINE_TICK)?);
    let timers = [&coarse, &fine].map(|clock| Rc::clone(&clock.timer));
    CLOCKS.set(Some(Clocks { coarse, fine }));
    for (pace, timer) in [Pace::Coarse, Pace::Fine].into_iter().zip(timers) {
        spawn_guarded("timer", turn(pace, timer));
    }
    Ok(())
}

/// Takes the clocks away; what still waits is woken and finds its time over.
pub(super) fn stop() {
    // Taken out before they are dropped: a waker may hold the last of a task, and that task a sleep.
    drop(CLOCKS.take());
}

thread_local! {
    static CLOCKS: RefCell<Option<Clocks>> = const { RefCell::new(None) };
}

/// How exact a wait is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Coarse,
    Fine,
}

struct Clocks {
    coarse: Clock,
    fine: Clock,
}

struct Clock {
    wheel: Wheel,
    tick: Duration,
    start: Instant,
    timer: Rc<Socket>,
}

impl Clock {
    fn new(tick: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self {
            wheel: Wheel::new(),
            tick,
            start: Instant::now(),
            timer: Rc::new(Socket::adopt(timer)?),
        })
    }

    fn set(&mut self, deadline: Instant) -> Key {
        if self.wheel.is_idle() {
            self.wheel.skip_to(self.tick(Instant::now()));
            self.arm();
        }
        // The tick after the deadline: a wait is never shorter than asked for.
        self.wheel.set(self.tick(deadline) + 1)
    }

    fn tick(&self, instant: Instant) -> u64 {
        let elapsed = instant.saturating_duration_since(self.start).as_millis();
        u64::try_from(elapsed / self.tick.as_millis()).unwrap_or(u64::MAX)
    }

    fn arm(&self) {
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: self.tick.subsec_nanos().into(),
        };
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: tick,
        };
        if let Err(error) = timerfd_settime(&*self.timer, TimerfdTimerFlags::empty(), &once) {
            tracing::error!(%error, "the timer cannot be armed; timeouts of this core stand still");
        }
    }
}

fn with_clock<T>(pace: Pace, f: impl FnOnce(&mut Clock) -> T) -> Option<T> {
    // A sleep may outlive its core's clocks, dropped with the tasks of a runtime that ends.
    CLOCKS
        .try_with(|clocks| {
            let mut clocks = clocks.borrow_mut();
            let Clocks { coarse, fine } = clocks.as_mut()?;
            Some(f(match pace {
                Pace::Coarse => coarse,
                Pace::Fine => fine,
            }))
        })
        .ok()
        .flatten()
}

async fn turn(pace: Pace, timer: Rc<Socket>) {
    let mut woken = Vec::new();
    while timer.readable().await.is_ok() {
        // The count of expirations; what matters is that reading it makes the timer unreadable.
        let _ = rustix::io::read(&*timer, &mut [0; 8]);
        let running = with_clock(pace, |clock| {
            let now = clock.tick(Instant::now());
            clock.wheel.turn(now, &mut woken);
            if !clock.wheel.is_idle() {
                clock.arm();
            }
        });
        // Woken outside the borrow: a waker may drop a task, and with it a sleep.
        woken.drain(..).for_each(std::task::Waker::wake);
        if running.is_none() {
            return;
        }
    }
}
