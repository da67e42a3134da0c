//! What the clients of one load count together.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::limits::MAX_LATENCY_US;

/// Counts of all clients.
#[derive(Debug, Default)]
pub struct Meter {
    units: AtomicU64,
    failures: AtomicU64,
    /// In microseconds; only while latencies are recorded.
    latency: Mutex<Option<Histogram<u64>>>,
}

/// Quantiles of a latency in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half are quicker.
    pub p50_us: u64,
    /// Nine of ten are quicker.
    pub p90_us: u64,
    /// 99 of 100 are quicker.
    pub p99_us: u64,
    /// 999 of 1000 are quicker.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// How many there were.
    pub count: u64,
}

impl Meter {
    /// Counts units of work.
    pub fn add(&self, units: u64) {
        self.units.fetch_add(units, Relaxed);
    }

    /// Counts one unit of work that took `latency`.
    pub fn add_timed(&self, latency: Duration) {
        self.add(1);
        let mut histogram = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(histogram) = &mut *histogram {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            histogram.saturating_record(micros);
        }
    }

    /// Counts one unit of work that failed.
    pub fn fail(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// Units so far.
    pub fn units(&self) -> u64 {
        self.units.load(Relaxed)
    }

    /// Failures so far.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Starts a new histogram, or ends recording.
    pub fn record_latency(&self, on: bool) {
        let mut histogram = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        *histogram = on.then(histogram_us);
    }

    /// The latencies since the histogram was started, if there were any.
    pub fn take_latency(&self) -> Option<Latency> {
        let mut histogram = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        histogram
            .take()
            .filter(|histogram| !histogram.is_empty())
            .map(|taken| (&taken).into())
    }
}

/// An empty histogram of microseconds with three significant digits.
pub fn histogram_us() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("the bounds are valid")
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max(),
            count: histogram.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_kept_while_they_are_asked_for() {
        let meter = Meter::default();
        meter.add_timed(Duration::from_millis(9));
        meter.record_latency(true);
        for ms in 1..=100 {
            meter.add_timed(Duration::from_millis(ms));
        }
        let latency = meter.take_latency().unwrap();
        assert_eq!((meter.units(), latency.count), (101, 100));
        assert!((49_900..=50_100).contains(&latency.p50_us), "{latency:?}");
        assert!((98_900..=99_200).contains(&latency.p99_us), "{latency:?}");
        assert_eq!(meter.take_latency(), None);
    }
}
