//! The beat at which usage is handed over and reported.

use std::time::Instant;

use crate::limits::REPORT_INTERVAL;

/// Moments an interval apart, the same for all threads, so that what the shards hand over meets in one
/// batch. They are counted from the start of the process: thousands of PoPs with clocks that agree
/// must not report in the same instant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beat(Instant);

impl Beat {
    pub(super) fn starting_at(start: Instant) -> Self {
        Self(start)
    }

    /// The first moment behind `now`.
    pub(super) fn next(self, now: Instant) -> Instant {
        let since = now.saturating_duration_since(self.0).as_nanos();
        let beats = since / REPORT_INTERVAL.as_nanos() + 1;
        // 2^32 beats are more than a hundred years.
        self.0 + REPORT_INTERVAL * u32::try_from(beats).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_next_moment_lies_ahead_and_is_the_same_for_all() {
        let start = Instant::now();
        let beat = Beat::starting_at(start);
        assert_eq!(beat.next(start), start + REPORT_INTERVAL);
        let within = start + REPORT_INTERVAL * 7 + Duration::from_millis(1);
        assert_eq!(beat.next(within), start + REPORT_INTERVAL * 8);
        assert_eq!(
            beat.next(within + REPORT_INTERVAL / 2),
            start + REPORT_INTERVAL * 8
        );
    }
}
