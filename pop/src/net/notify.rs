//! Wake-ups between tasks of one core.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use slab::Slab;

/// Remembers one notification until the one task that waits for it takes it.
///
/// Any number of notifications before the wait count as one. Two tasks must not wait on the same
/// `Notify`: the second would take the first one's place.
#[derive(Default)]
pub struct Notify {
    notified: Cell<bool>,
    waiter: Cell<Option<Waker>>,
}

impl Notify {
    /// Lets the waiting task, or the next one to wait, go on.
    pub fn notify(&self) {
        self.notified.set(true);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    /// Waits for a notification and takes it. Dropping the wait leaves a notification in place.
    pub fn notified(&self) -> Notified<'_> {
        Notified { notify: self }
    }
}

impl std::fmt::Debug for Notify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notify")
            .field("notified", &self.notified.get())
            .finish_non_exhaustive()
    }
}

/// The wait of [`Notify::notified`].
#[derive(Debug)]
pub struct Notified<'a> {
    notify: &'a Notify,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.notify.notified.replace(false) {
            return Poll::Ready(());
        }
        let waiter = match self.notify.waiter.take() {
            Some(waiter) if waiter.will_wake(cx.waker()) => waiter,
            _ => cx.waker().clone(),
        };
        self.notify.waiter.set(Some(waiter));
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        // A task that has gone on by another way must not be woken: it might be running.
        self.notify.waiter.set(None);
    }
}

/// An event that happens once and lets every task go on that waits for it, now or later.
#[derive(Default)]
pub struct OnceEvent {
    happened: Cell<bool>,
    waiters: RefCell<Slab<Waker>>,
}

impl OnceEvent {
    /// Lets everybody go on.
    pub fn happen(&self) {
        self.happened.set(true);
        // Outside the borrow: a waker may drop a task, and with it a wait.
        let waiters = self.waiters.take();
        waiters.into_iter().for_each(|(_, waiter)| waiter.wake());
    }

    /// Waits for it; costs a place among the waiters from its first poll on.
    pub fn wait(&self) -> OnceWait<'_> {
        OnceWait {
            event: self,
            place: None,
        }
    }
}

impl std::fmt::Debug for OnceEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnceEvent")
            .field("happened", &self.happened.get())
            .finish_non_exhaustive()
    }
}

/// The wait of [`OnceEvent::wait`].
#[derive(Debug)]
pub struct OnceWait<'a> {
    event: &'a OnceEvent,
    place: Option<usize>,
}

impl Future for OnceWait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.event.happened.get() {
            return Poll::Ready(());
        }
        let mut waiters = self.event.waiters.borrow_mut();
        match self.place.and_then(|place| waiters.get_mut(place)) {
            Some(waiter) => waiter.clone_from(cx.waker()),
            None => {
                let place = waiters.insert(cx.waker().clone());
                drop(waiters);
                self.place = Some(place);
            }
        }
        Poll::Pending
    }
}

impl Drop for OnceWait<'_> {
    fn drop(&mut self) {
        // The places are gone once it has happened.
        if let Some(place) = self.place
            && !self.event.happened.get()
        {
            self.event.waiters.borrow_mut().try_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, sync::Arc, task::Wake};

    use super::*;

    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn one_notification_lets_one_wait_pass() {
        let notify = Notify::default();
        let waker = Waker::from(Arc::new(Nobody));
        let mut cx = Context::from_waker(&waker);
        notify.notify();
        notify.notify();
        assert_eq!(pin!(notify.notified()).poll(&mut cx), Poll::Ready(()));
        let mut wait = pin!(notify.notified());
        assert_eq!(wait.as_mut().poll(&mut cx), Poll::Pending);
        notify.notify();
        assert_eq!(wait.as_mut().poll(&mut cx), Poll::Ready(()));
    }

    #[test]
    fn a_dropped_wait_leaves_neither_waker_nor_loss() {
        let notify = Notify::default();
        let waker = Waker::from(Arc::new(Nobody));
        let mut cx = Context::from_waker(&waker);
        {
            let mut wait = pin!(notify.notified());
            assert_eq!(wait.as_mut().poll(&mut cx), Poll::Pending);
        }
        assert!(notify.waiter.take().is_none());
        notify.notify();
        assert_eq!(pin!(notify.notified()).poll(&mut cx), Poll::Ready(()));
    }

    #[test]
    fn what_happens_once_lets_every_wait_pass() {
        let event = OnceEvent::default();
        let waker = Waker::from(Arc::new(Nobody));
        let mut cx = Context::from_waker(&waker);
        let mut first = pin!(event.wait());
        assert_eq!(first.as_mut().poll(&mut cx), Poll::Pending);
        {
            let mut dropped = pin!(event.wait());
            assert_eq!(dropped.as_mut().poll(&mut cx), Poll::Pending);
        }
        assert_eq!(event.waiters.borrow().len(), 1);
        event.happen();
        assert_eq!(first.as_mut().poll(&mut cx), Poll::Ready(()));
        assert_eq!(pin!(event.wait()).poll(&mut cx), Poll::Ready(()));
    }
}
