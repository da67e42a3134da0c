//! Bytes that tell by themselves whether they are the right ones at the right place.

/// The bytes of one session in one direction, from the first to the last: each follows from the
/// session's number and its own place, so that bytes that are lost, doubled, changed, out of order
/// or another session's do not fit.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    session: u64,
    offset: u64,
    /// The eight bytes that `offset` lies in.
    word: [u8; 8],
}

impl Pattern {
    pub(super) fn new(session: u64) -> Self {
        Self {
            session,
            offset: 0,
            word: [0; 8],
        }
    }

    /// Bytes so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Writes the next bytes.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.next();
        }
    }

    /// Whether these are the next bytes.
    pub(super) fn fits(&mut self, bytes: &[u8]) -> bool {
        // All of them are looked at: the place moves on by their number.
        bytes
            .iter()
            .fold(true, |fits, &byte| (byte == self.next()) & fits)
    }

    fn next(&mut self) -> u8 {
        let place = (self.offset % 8) as usize;
        if place == 0 {
            self.word = mixed(self.session, self.offset / 8).to_le_bytes();
        }
        self.offset += 1;
        self.word[place]
    }
}

/// The finaliser of SplitMix64: every bit of the input reaches every bit of the output.
fn mixed(session: u64, index: u64) -> u64 {
    let mut z = session
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(index);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_bytes_fit() {
        let mut bytes = vec![0; 1000];
        Pattern::new(7).fill(&mut bytes);
        let (first, second) = bytes.split_at(333);
        let mut pattern = Pattern::new(7);
        assert!(pattern.fits(first) && pattern.fits(second));
        assert_eq!(pattern.offset(), 1000);
        assert!(!Pattern::new(8).fits(&bytes), "another session's");
        assert!(!Pattern::new(7).fits(second), "some are missing");
        bytes[500] ^= 1;
        assert!(!Pattern::new(7).fits(&bytes), "one is changed");
    }
}
