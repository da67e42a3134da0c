//! Tasks of which one can fail without its core.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What happens inside this module that an operator wants counted.
#[derive(Debug, Default)]
pub struct Stats {
    /// Tasks that panicked and were dropped.
    pub task_panics: AtomicU64,
    /// Times a listener could not accept for want of descriptors or memory.
    pub accept_errors: AtomicU64,
}

/// Starts `future` on this core. Should it panic, it alone is dropped, which closes what it owns;
/// the panic is logged under `name` and counted.
pub fn spawn_guarded(name: &'static str, future: impl Future<Output = ()> + 'static) {
    // Boxed, so that a panicked future can be dropped here, guarded like the poll itself.
    let mut future = Box::pin(future);
    monoio::spawn(async move {
        let end = poll_fn(
            |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                Ok(poll) => poll.map(Ok),
                Err(panic) => std::task::Poll::Ready(Err(panic)),
            },
        )
        .await;
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
        if let Err(panic) = end.and(dropped) {
            report(name, &*panic);
        }
    });
}

/// Calls `f`. Should it panic, the panic is logged under `name` and counted, and the caller goes on.
pub fn guarded(name: &'static str, f: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(f)) {
        report(name, &*panic);
    }
}

/// The counters of the core this is called on.
pub(super) fn stats() -> Arc<Stats> {
    STATS.with_borrow(Arc::clone)
}

/// Makes `stats` the counters of this core.
pub(super) fn set_stats(stats: Arc<Stats>) {
    STATS.set(stats);
}

thread_local! {
    static STATS: RefCell<Arc<Stats>> = RefCell::default();
}

fn report(name: &'static str, panic: &(dyn std::any::Any + Send)) {
    stats().task_panics.fetch_add(1, Ordering::Relaxed);
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(
        task = name,
        message,
        "a task panicked; its connection is closed"
    );
}
