//! The memory that all tunnels of one thread share for the bytes of their sessions.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::limits::{GROWN_WINDOW, LARGEST_WINDOW, MIN_WINDOW, START_WINDOW};

/// How many bytes the sessions of one thread may hold, and how many they do.
///
/// Held is what has arrived and was not handed on, and what waits to be sent. Windows promise more
/// than that: nearly all of them are empty at any time, and to keep memory for every promise would
/// leave each of ten thousand idle sessions a window too small to use. So promises are generous while
/// little is held and shrink as more is:
///
/// | held of the limit | new windows | growth | grants |
/// | --- | --- | --- | --- |
/// | below half | [`START_WINDOW`], or a session's share of half the limit | to [`GROWN_WINDOW`], below an eighth to [`LARGEST_WINDOW`] | whole |
/// | below three quarters | what HELLO promised | none | whole |
/// | below the limit | what HELLO promised | none | windows shrink to what HELLO promised |
/// | all | none | none | a session that holds more than its share and gets more is reset |
///
/// The last line bounds what peers can do: sessions below their share may go on to it, which makes twice
/// the limit at most. Clones are the same memory.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    /// One thread counts here, so that these are no contention; they are atomic for tunnels that move.
    held: AtomicUsize,
    sessions: AtomicUsize,
}

/// How scarce memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pressure {
    /// There is enough.
    None,
    /// Nothing more is to be promised.
    Some,
    /// Promises are to be taken back.
    High,
    /// Nothing is left.
    Full,
}

impl Memory {
    /// `limit` bytes of which nothing is held.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner {
            limit,
            held: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
        }))
    }

    /// Bytes that may be held.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    pub(super) fn pressure(&self) -> Pressure {
        let (held, limit) = (self.held(), self.limit());
        match () {
            () if held >= limit => Pressure::Full,
            () if held >= limit / 4 * 3 => Pressure::High,
            () if held >= limit / 2 => Pressure::Some,
            () => Pressure::None,
        }
    }

    /// The window that a new session gets beyond what HELLO promised.
    pub(super) fn start_window(&self) -> u32 {
        if self.pressure() > Pressure::None {
            return 0;
        }
        let share = self.limit() / 2 / (self.sessions() + 1);
        u32::try_from(share).unwrap_or(u32::MAX).min(START_WINDOW)
    }

    /// The size to which a window of `size` bytes that limits its session may grow.
    pub(super) fn grown(&self, size: u32) -> u32 {
        let most = match self.pressure() {
            Pressure::None if self.held() < self.limit() / 8 => LARGEST_WINDOW,
            Pressure::None => GROWN_WINDOW,
            _ => return size,
        };
        // No session alone may come near the limit.
        let most = most.min(u32::try_from(self.limit() / 8).unwrap_or(u32::MAX));
        size.saturating_mul(2).min(most).max(size)
    }

    /// What a session may hold when nothing is left.
    fn share(&self) -> usize {
        let share = self.limit() / self.sessions().max(1);
        share.max(MIN_WINDOW as usize)
    }

    fn sessions(&self) -> usize {
        self.0.sessions.load(Ordering::Relaxed)
    }

    fn sub(&self, held: usize, sessions: usize) {
        self.0.held.fetch_sub(held, Ordering::Relaxed);
        self.0.sessions.fetch_sub(sessions, Ordering::Relaxed);
    }
}

/// The same memory, not as much of it.
impl PartialEq for Memory {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Memory {}

/// What the sessions of one tunnel hold; given back when the tunnel is dropped.
#[derive(Debug)]
pub(super) struct Share {
    memory: Memory,
    held: Cell<usize>,
    sessions: Cell<usize>,
}

impl Share {
    pub(super) fn new(memory: Memory) -> Self {
        Self {
            memory,
            held: Cell::new(0),
            sessions: Cell::new(0),
        }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// A session begins.
    pub(super) fn begin(&self) {
        self.sessions.set(self.sessions.get() + 1);
        self.memory.0.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// A session ends that held `bytes`.
    pub(super) fn end(&self, bytes: usize) {
        self.release(bytes);
        self.sessions.set(self.sessions.get() - 1);
        self.memory.sub(0, 1);
    }

    /// Bytes are held.
    pub(super) fn hold(&self, bytes: usize) {
        self.held.set(self.held.get() + bytes);
        self.memory.0.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes are held no more.
    pub(super) fn release(&self, bytes: usize) {
        self.held.set(self.held.get() - bytes);
        self.memory.0.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// All sessions end.
    pub(super) fn clear(&self) {
        self.memory.sub(self.held.take(), self.sessions.take());
    }

    /// Whether a session that holds `bytes` has to go, because nothing is left and it has more than
    /// its share.
    pub(super) fn is_greedy(&self, bytes: usize) -> bool {
        self.memory.held() >= self.memory.limit() && bytes > self.memory.share()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_shrink_as_memory_fills() {
        let memory = Memory::new(4 << 20);
        let share = Share::new(memory.clone());
        assert_eq!(memory.start_window(), START_WINDOW);
        (0..15).for_each(|_| share.begin());
        assert_eq!(memory.start_window(), 128 << 10, "a sixteenth of a half");
        share.hold(2 << 20);
        assert_eq!(
            (memory.pressure(), memory.start_window()),
            (Pressure::Some, 0)
        );
        share.hold(1 << 20);
        assert_eq!(memory.pressure(), Pressure::High);
        assert!(!share.is_greedy(4 << 20), "there is still some left");
        share.hold(1 << 20);
        assert!(share.is_greedy(1 << 20) && !share.is_greedy(1 << 10));
    }

    #[test]
    fn a_tunnel_that_goes_gives_everything_back() {
        let memory = Memory::new(1 << 20);
        let (one, other) = (Share::new(memory.clone()), Share::new(memory.clone()));
        one.begin();
        one.hold(1000);
        other.begin();
        other.hold(10);
        drop(one);
        assert_eq!(memory.held(), 10);
        other.end(10);
        assert_eq!(memory.sessions(), 0);
    }
}
