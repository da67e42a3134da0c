//! One end of a UDP session: sends numbered datagrams, checks that those of the other end arrive
//! as they were sent, in order, each at most once.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use titan_proto::{
    addr::Target,
    limits::MAX_DATAGRAM,
    mux::{Connection, Datagram, DatagramError, DatagramPayload, Received, SessionId},
};

/// The datagrams of one end of a session.
pub(crate) struct Datagrams {
    /// What the two directions carry follows from these.
    seed_out: u64,
    seed_in: u64,
    is_pop: bool,
    to_send: u32,
    sent: u32,
    next_send: Instant,
    /// Datagrams this end had no room for.
    pub(crate) refused: usize,
    /// The number that must not be undercut by the next arrival.
    expected: u32,
}

impl Datagrams {
    /// An end that sends `to_send` datagrams.
    pub(crate) fn new(seed: u64, to_send: usize, is_pop: bool, now: Instant) -> Self {
        let (seed_out, seed_in) = if is_pop { (seed, !seed) } else { (!seed, seed) };
        Self {
            seed_out,
            seed_in,
            is_pop,
            to_send: u32::try_from(to_send).expect("few"),
            sent: 0,
            next_send: now,
            refused: 0,
            expected: 0,
        }
    }

    /// Whether everything was sent or found no room.
    pub(crate) fn is_done(&self) -> bool {
        self.sent == self.to_send
    }

    /// Datagrams sent or refused so far.
    pub(crate) fn sent(&self) -> usize {
        self.sent as usize
    }

    /// When the next burst is due.
    pub(crate) fn next_send(&self) -> Instant {
        self.next_send
    }

    /// Sends a burst if one is due; whether it did.
    pub(crate) fn send(
        &mut self,
        conn: &mut Connection,
        id: SessionId,
        now: Instant,
        rng: &mut StdRng,
    ) -> bool {
        if now < self.next_send || self.is_done() {
            return false;
        }
        self.next_send = now + Duration::from_millis(rng.random_range(1..30));
        for _ in 0..rng.random_range(1..8) {
            if self.is_done() {
                break;
            }
            let Datagram { address, data } = datagram(self.seed_out, self.sent, self.is_pop);
            let payload = DatagramPayload::copy_from(&address, &data).expect("not too long");
            match conn.send_datagram(id, payload) {
                Ok(()) => {}
                Err(DatagramError::BufferFull) => self.refused += 1,
                // Reset by the other end a moment ago, which this one has yet to be told.
                Err(DatagramError::NoSession) => break,
                Err(error) => panic!("{error}"),
            }
            self.sent += 1;
        }
        true
    }

    /// Takes the next datagram or the end.
    pub(crate) fn receive(&mut self, conn: &mut Connection, id: SessionId) -> Option<Received<()>> {
        match conn.receive_datagram(id)? {
            Received::End => Some(Received::End),
            Received::Data(arrived) => {
                let number = number(&arrived);
                assert!(number >= self.expected, "{number} is repeated or reordered");
                assert_eq!(arrived, datagram(self.seed_in, number, !self.is_pop));
                self.expected = number + 1;
                Some(Received::Data(()))
            }
        }
    }
}

/// The datagram of that number. Its number is in its address, which is of every kind in turn; only
/// a PoP sends to names.
fn datagram(seed: u64, number: u32, by_pop: bool) -> Datagram {
    let mut rng = StdRng::seed_from_u64(seed ^ u64::from(number));
    let len = match rng.random_range(0..20) {
        0 => 0,
        1 => rng.random_range(MAX_DATAGRAM / 2..=MAX_DATAGRAM),
        _ => rng.random_range(1..2000),
    };
    let v4 = IpAddr::from(Ipv4Addr::from(number));
    let v6 = IpAddr::from(Ipv6Addr::from(u128::from(number) | 1 << 125));
    let address = match number % 3 {
        0 if by_pop => format!("n{number}.test:53").parse().expect("valid"),
        1 => Target::new(v6.into(), 53),
        _ => Target::new(v4.into(), 53),
    };
    let data: Vec<u8> = (0..len).map(|_| rng.random()).collect();
    Datagram {
        address,
        data: data.into(),
    }
}

fn number(datagram: &Datagram) -> u32 {
    match datagram.address.host.ip() {
        Some(IpAddr::V4(ip)) => ip.into(),
        Some(IpAddr::V6(ip)) => u32::try_from(u128::from(ip) & u128::from(u32::MAX)).expect("cut"),
        None => {
            let name = datagram.address.host.to_string();
            let digits = name.trim_start_matches('n').trim_end_matches(".test");
            digits.parse().expect("a number")
        }
    }
}
