//! Timeouts of one core: one wheel, one timer descriptor, armed only while something waits.

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
use crate::limits::TIMER_TICK;

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
        key: None,
    }
}

/// The wait of [`sleep`]; costs a place in the wheel from its first poll on.
#[derive(Debug)]
pub struct Sleep {
    deadline: Instant,
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
        let fired = with_clock(|clock| {
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
            with_clock(|clock| clock.wheel.clear(key));
        }
    }
}

/// Gives this core its clock and starts the task that turns it.
pub(super) fn start() -> io::Result<()> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = Rc::new(Socket::adopt(timerfd_create(
        TimerfdClockId::Monotonic,
        flags,
    )?)?);
    CLOCK.set(Some(Clock {
        wheel: Wheel::new(),
        start: Instant::now(),
        timer: Rc::clone(&timer),
    }));
    spawn_guarded("timer", turn(timer));
    Ok(())
}

/// Takes the clock away; what still waits is woken and finds its time over.
pub(super) fn stop() {
    CLOCK.set(None);
}

thread_local! {
    static CLOCK: RefCell<Option<Clock>> = const { RefCell::new(None) };
}

struct Clock {
    wheel: Wheel,
    start: Instant,
    timer: Rc<Socket>,
}

impl Clock {
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
        u64::try_from(elapsed / TIMER_TICK.as_millis()).unwrap_or(u64::MAX)
    }

    fn arm(&self) {
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: TIMER_TICK.subsec_nanos().into(),
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

fn with_clock<T>(f: impl FnOnce(&mut Clock) -> T) -> Option<T> {
    // A sleep may outlive its core's clock, dropped with the tasks of a runtime that ends.
    CLOCK
        .try_with(|clock| clock.borrow_mut().as_mut().map(f))
        .ok()
        .flatten()
}

async fn turn(timer: Rc<Socket>) {
    let mut woken = Vec::new();
    while timer.readable().await.is_ok() {
        // The count of expirations; what matters is that reading it makes the timer unreadable.
        let _ = rustix::io::read(&*timer, &mut [0; 8]);
        let running = with_clock(|clock| {
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
