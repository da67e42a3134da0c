//! One direction of a transport: ordered bytes, delayed, in chunks of any size.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use rand::{RngExt, rngs::StdRng};

/// Bytes under way, with the time at which each run of them arrives.
pub(crate) struct Link {
    delay: Duration,
    /// Bytes the transport accepts before it would block.
    capacity: usize,
    in_flight: VecDeque<(Instant, Bytes)>,
    in_flight_bytes: usize,
    stalled: bool,
    /// What the receiver could not parse yet.
    pub(crate) unparsed: BytesMut,
}

impl Link {
    pub(crate) fn new(delay: Duration, capacity: usize) -> Self {
        Self {
            delay,
            capacity,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            stalled: false,
            unparsed: BytesMut::new(),
        }
    }

    /// Bytes that can be sent now.
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.in_flight_bytes)
    }

    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Sends a batch. Ordered even where it exceeds the room, as a blocking writer would.
    pub(crate) fn send(&mut self, batch: Vec<Bytes>, now: Instant) {
        for bytes in batch {
            self.in_flight_bytes += bytes.len();
            self.in_flight.push_back((now + self.delay, bytes));
        }
    }

    /// Delivers nothing from now on.
    pub(crate) fn stall(&mut self) {
        self.stalled = true;
    }

    /// When the next bytes arrive.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.in_flight
            .front()
            .filter(|_| !self.stalled)
            .map(|(at, _)| *at)
    }

    /// Moves up to a random number of bytes that have arrived behind `unparsed`; whether there were
    /// any.
    pub(crate) fn deliver(&mut self, now: Instant, rng: &mut StdRng) -> bool {
        let mut budget = match rng.random_range(0..4) {
            0 => rng.random_range(1..=16),
            1 => rng.random_range(1..=1500),
            _ => rng.random_range(1..=256 * 1024),
        };
        let mut any = false;
        while budget > 0 && self.next_arrival().is_some_and(|at| at <= now) {
            let Some((at, mut bytes)) = self.in_flight.pop_front() else {
                break;
            };
            let part = bytes.split_to(bytes.len().min(budget));
            budget -= part.len();
            self.in_flight_bytes -= part.len();
            self.unparsed.extend_from_slice(&part);
            if !bytes.is_empty() {
                self.in_flight.push_front((at, bytes));
            }
            any = true;
        }
        any
    }
}
