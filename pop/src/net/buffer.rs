//! Read buffers of one core: borrowed when bytes are there, given back when they have gone on.

use std::{cell::RefCell, collections::VecDeque};

use bytes::{Bytes, BytesMut};

use crate::limits::{POOLED_BUFFERS, POOLED_BYTES};

/// Buffers for reuse, of whatever size they were read with.
///
/// A buffer whose bytes have been passed on as slices may be given back at once: it is lent again
/// only when the last slice has been dropped.
#[derive(Debug, Default)]
pub struct BufferPool {
    free: RefCell<Free>,
}

/// Buffers that wait to be lent again, the one that has waited longest first.
///
/// Invariant: `room` is the sum of what `held` says of each.
#[derive(Debug, Default)]
struct Free {
    buffers: VecDeque<Held>,
    room: usize,
}

/// A buffer and the room it had when it was given back.
#[derive(Debug)]
struct Held {
    buffer: BytesMut,
    room: usize,
}

impl Free {
    fn push(&mut self, buffer: BytesMut) {
        let room = buffer.capacity();
        self.room += room;
        self.buffers.push_back(Held { buffer, room });
        while self.buffers.len() > POOLED_BUFFERS || self.room > POOLED_BYTES {
            self.remove(0);
        }
    }

    fn remove(&mut self, index: usize) -> Option<BytesMut> {
        let held = self.buffers.remove(index)?;
        self.room -= held.room;
        Some(held.buffer)
    }
}

impl BufferPool {
    /// An empty buffer with room for at least `room` bytes.
    pub fn take(&self, room: usize) -> BytesMut {
        let mut free = self.free.borrow_mut();
        // A few attempts, from the one given back last: its memory is in the cache.
        for index in (0..free.buffers.len()).rev().take(ATTEMPTS) {
            let fits = free
                .buffers
                .get_mut(index)
                .is_some_and(|held| held.buffer.try_reclaim(room));
            if fits && let Some(buffer) = free.remove(index) {
                return buffer;
            }
        }
        BytesMut::with_capacity(room)
    }

    /// Takes a buffer back, with whatever it holds.
    pub fn give(&self, mut buffer: BytesMut) {
        buffer.clear();
        self.free.borrow_mut().push(buffer);
    }

    /// Takes the memory of sent bytes back if nobody else holds a part of it.
    pub fn recycle(&self, bytes: Bytes) {
        if bytes.len() >= WORTH_KEEPING
            && let Ok(buffer) = bytes.try_into_mut()
        {
            self.give(buffer);
        }
    }
}

/// Pooled buffers looked at before a new one is made.
const ATTEMPTS: usize = 4;

/// Smaller pieces are cheaper to allocate than to look after.
const WORTH_KEEPING: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_only_when_no_slice_holds_it() {
        let pool = BufferPool::default();
        let mut buffer = pool.take(8192);
        buffer.extend_from_slice(&[1; 8192]);
        let address = buffer.as_ptr();
        let slice = buffer.split().freeze();
        pool.give(buffer);
        assert_ne!(
            pool.take(8192).as_ptr(),
            address,
            "a slice still holds the memory"
        );
        drop(slice);
        assert_eq!(pool.take(8192).as_ptr(), address);
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_in_bytes() {
        let pool = BufferPool::default();
        for _ in 0..2 * POOLED_BUFFERS {
            pool.give(BytesMut::with_capacity(16));
        }
        assert_eq!(pool.free.borrow().buffers.len(), POOLED_BUFFERS);
        for _ in 0..3 {
            pool.give(BytesMut::with_capacity(POOLED_BYTES / 2));
        }
        let free = pool.free.borrow();
        assert_eq!((free.buffers.len(), free.room), (2, POOLED_BYTES));
    }
}
