//! A wake-up between two tasks of one core.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

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
}
