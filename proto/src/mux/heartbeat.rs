//! Heartbeats: WebSocket pings that measure the round trip and find out when the peer is gone.

use std::time::{Duration, Instant};

/// Sends a ping at intervals, measures the answer, and tells when the peer has been silent too long.
///
/// Any byte from the peer counts as a sign of life; only the answer to our own last ping counts as
/// a measurement.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    next_ping: Instant,
    last_heard: Instant,
    /// Number of the last ping and when it left; `None` once it was answered.
    outstanding: Option<(u64, Instant)>,
    /// A ping went unanswered until the next one was due, and none was answered since.
    overdue: bool,
    sequence: u64,
    rtt: Option<SmoothedRtt>,
}

impl Heartbeat {
    pub(super) fn new(interval: Duration, timeout: Duration, now: Instant) -> Self {
        Self {
            interval,
            timeout,
            next_ping: now,
            last_heard: now,
            outstanding: None,
            overdue: false,
            sequence: 0,
            rtt: None,
        }
    }

    /// The peer sent something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// The peer sent a pong; `true` where it answers our last ping. Others are allowed (RFC 6455
    /// §5.5.3) and mean nothing.
    #[must_use]
    pub(super) fn pong(&mut self, payload: &[u8], now: Instant) -> bool {
        let Some((expected, sent)) = self.outstanding else {
            return false;
        };
        if payload != expected.to_be_bytes() {
            return false;
        }
        self.outstanding = None;
        self.overdue = false;
        let sample = now.saturating_duration_since(sent);
        self.rtt = Some(SmoothedRtt::update(self.rtt, sample));
        true
    }

    /// Whether the peer has left a ping unanswered for a whole interval.
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue
    }

    /// Whether the peer has been silent for too long.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        now >= self.last_heard + self.timeout
    }

    /// The payload of a ping that is due now, if one is. `jitter` in 0..=255 spreads the next one
    /// over 90–110 % of the interval, so that tunnels that came up together do not stay in step.
    pub(super) fn poll_ping(&mut self, now: Instant, jitter: u8) -> Option<[u8; 8]> {
        if now < self.next_ping {
            return None;
        }
        self.overdue |= self.outstanding.is_some();
        self.sequence += 1;
        self.outstanding = Some((self.sequence, now));
        self.next_ping = now + self.interval.mul_f64(0.9 + 0.2 * f64::from(jitter) / 255.0);
        Some(self.sequence.to_be_bytes())
    }

    /// When to call again.
    pub(super) fn deadline(&self) -> Instant {
        self.next_ping.min(self.last_heard + self.timeout)
    }

    /// The smoothed round trip.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt.map(|rtt| rtt.smoothed)
    }

    /// How much the round trip varies: RFC 6298's RTTVAR.
    pub(super) fn rtt_variation(&self) -> Option<Duration> {
        self.rtt.map(|rtt| rtt.variation)
    }
}

/// RFC 6298 §2: SRTT with α = 1/8 and RTTVAR with β = 1/4.
#[derive(Debug, Clone, Copy)]
struct SmoothedRtt {
    smoothed: Duration,
    variation: Duration,
}

impl SmoothedRtt {
    fn update(last: Option<Self>, sample: Duration) -> Self {
        let Some(last) = last else {
            return Self {
                smoothed: sample,
                variation: sample / 2,
            };
        };
        Self {
            variation: (last.variation * 3 + last.smoothed.abs_diff(sample)) / 4,
            smoothed: (last.smoothed * 7 + sample) / 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);
    const TIMEOUT: Duration = Duration::from_secs(45);

    #[test]
    fn the_answer_to_the_last_ping_is_the_round_trip() {
        let start = Instant::now_for_tests();
        let mut heartbeat = Heartbeat::new(INTERVAL, TIMEOUT, start);
        let ping = heartbeat
            .poll_ping(start, 0)
            .expect("the first ping is due at once");
        assert_eq!(heartbeat.poll_ping(start, 0), None);
        assert!(!heartbeat.pong(b"unasked", start));
        assert_eq!(heartbeat.rtt(), None);
        assert!(heartbeat.pong(&ping, start + Duration::from_millis(80)));
        assert_eq!(heartbeat.rtt(), Some(Duration::from_millis(80)));
        assert!(!heartbeat.pong(&ping, start + Duration::from_secs(9)));
        assert_eq!(
            heartbeat.rtt(),
            Some(Duration::from_millis(80)),
            "answered twice"
        );
    }

    #[test]
    fn a_ping_without_an_answer_is_overdue_when_the_next_one_is_due() {
        let start = Instant::now_for_tests();
        let mut heartbeat = Heartbeat::new(INTERVAL, TIMEOUT, start);
        let first = heartbeat.poll_ping(start, 0).expect("due at once");
        assert!(!heartbeat.is_overdue());
        let second = heartbeat.poll_ping(start + INTERVAL, 0).expect("due");
        assert!(heartbeat.is_overdue());
        assert!(!heartbeat.pong(&first, start + INTERVAL), "too late");
        assert!(heartbeat.is_overdue());
        assert!(heartbeat.pong(&second, start + INTERVAL));
        assert!(!heartbeat.is_overdue());
    }

    #[test]
    fn silence_ends_the_tunnel_and_any_byte_breaks_it() {
        let start = Instant::now_for_tests();
        let mut heartbeat = Heartbeat::new(INTERVAL, TIMEOUT, start);
        assert!(!heartbeat.is_dead(start + TIMEOUT - Duration::from_nanos(1)));
        assert!(heartbeat.is_dead(start + TIMEOUT));
        heartbeat.heard(start + TIMEOUT);
        assert!(!heartbeat.is_dead(start + TIMEOUT));
        assert_eq!(heartbeat.deadline(), start);
        let _ping = heartbeat.poll_ping(start, 255);
        assert_eq!(heartbeat.deadline(), start + INTERVAL.mul_f64(1.1));
    }

    /// `proto` bans the clock; its tests need one starting point all the same.
    trait TestClock {
        fn now_for_tests() -> Instant;
    }
    impl TestClock for Instant {
        #[allow(clippy::disallowed_methods)]
        fn now_for_tests() -> Instant {
            Instant::now()
        }
    }
}
