//! Read buffers of one core: borrowed when bytes are there, given back when they have gone on.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

use crate::limits::POOLED_BUFFERS;

/// Buffers for reuse, of whatever size they were read with.
///
/// A buffer whose bytes have been passed on as slices may be given back at once: it is lent again
/// only when the last slice has been dropped.
#[derive(Debug, Default)]
pub struct BufferPool {
    free: RefCell<Vec<BytesMut>>,
}

impl BufferPool {
    /// An empty buffer with room for at least `room` bytes.
    pub fn take(&self, room: usize) -> BytesMut {
        let mut free = self.free.borrow_mut();
        // A few attempts, from the one given back last: its memory is in the cache.
        for index in (0..free.len()).rev().take(ATTEMPTS) {
            let fits = free
                .get_mut(index)
                .is_some_and(|buffer| buffer.try_reclaim(room));
            if fits {
                return free.swap_remove(index);
            }
        }
        BytesMut::with_capacity(room)
    }

    /// Takes a buffer back, with whatever it holds.
    pub fn give(&self, mut buffer: BytesMut) {
        buffer.clear();
        let mut free = self.free.borrow_mut();
        if free.len() < POOLED_BUFFERS {
            free.push(buffer);
        } else if let Some(oldest) = free.first_mut() {
            // The oldest is the one that has gone unused for longest.
            *oldest = buffer;
        }
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
}
