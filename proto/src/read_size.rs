//! How large the next read of a socket should be.

/// How much to ask for in the next read: doubled when a read was filled, halved when it was not even
/// half filled, so that bulk is moved in few calls and small talk in small buffers.
#[derive(Debug, Clone, Copy)]
pub struct ReadSize {
    current: usize,
    least: usize,
    most: usize,
}

impl ReadSize {
    /// Starts at `least`.
    pub const fn new(least: usize, most: usize) -> Self {
        Self {
            current: least,
            least,
            most,
        }
    }

    /// Bytes to ask for.
    pub const fn get(self) -> usize {
        self.current
    }

    /// Notes that a read of `asked` bytes brought `received`.
    pub fn note(&mut self, asked: usize, received: usize) {
        if received >= asked && asked >= self.current {
            self.current = (self.current * 2).min(self.most);
        } else if received < self.current / 2 {
            self.current = (self.current / 2).max(self.least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_sizes_follow_the_traffic_within_their_bounds() {
        let mut size = ReadSize::new(4096, 65536);
        for _ in 0..10 {
            size.note(size.get(), size.get());
        }
        assert_eq!(size.get(), 65536);
        size.note(1000, 1000);
        assert_eq!(
            size.get(),
            32768,
            "a small read that was filled says nothing of bulk"
        );
        for _ in 0..10 {
            size.note(size.get(), 10);
        }
        assert_eq!(size.get(), 4096);
    }
}
