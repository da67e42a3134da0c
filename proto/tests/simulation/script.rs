//! What one session is meant to do, and the model of what each end must see of it.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use titan_proto::mux::{Connection, Payload, Received, SessionId};

use crate::datagrams::Datagrams;

/// How a session ends by its script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Both ends send all they have and finish.
    Clean,
    /// The edge refuses it.
    Refused,
    /// The PoP resets it at some point.
    ResetByPop,
    /// The edge resets it at some point.
    ResetByEdge,
    /// One end never reads, and the PoP gives up at last.
    NeverRead,
}

/// One session's script.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) ending: Ending,
    /// Whether it is a UDP session.
    pub(crate) is_udp: bool,
    /// Bytes, or datagrams, that the PoP's end sends, and the edge's.
    pub(crate) upload: usize,
    pub(crate) download: usize,
    /// How long the edge takes to connect.
    pub(crate) dial: Duration,
    /// How long each end pauses between reads.
    pub(crate) read_pause: Duration,
    /// After how many bytes received a resetting end resets.
    pub(crate) reset_after: usize,
}

impl Script {
    pub(crate) fn random(rng: &mut StdRng) -> Self {
        let ending = match rng.random_range(0..10) {
            0 => Ending::Refused,
            1 => Ending::ResetByPop,
            2 => Ending::ResetByEdge,
            3 => Ending::NeverRead,
            _ => Ending::Clean,
        };
        let is_udp = rng.random_range(0..4) == 0;
        let size = |rng: &mut StdRng| match rng.random_range(0..4) {
            0 => 0,
            _ if is_udp => rng.random_range(1..500),
            1 => rng.random_range(1..100),
            2 => rng.random_range(1..20_000),
            _ => rng.random_range(1..1_500_000),
        };
        Self {
            seed: rng.random(),
            ending,
            is_udp,
            upload: size(rng),
            download: size(rng),
            dial: Duration::from_millis(rng.random_range(0..300)),
            read_pause: Duration::from_millis(rng.random_range(0..3) * 20),
            reset_after: rng.random_range(0..100_000),
        }
    }
}

/// One end of one session: sends its stream, checks the other's.
pub(crate) struct Endpoint {
    pub(crate) id: SessionId,
    pub(crate) script: Script,
    /// What a UDP session carries in place of the streams.
    datagrams: Option<Datagrams>,
    outgoing: Stream,
    to_send: usize,
    incoming: Stream,
    to_receive: usize,
    /// Bytes, or datagrams.
    pub(crate) received: usize,
    unconsumed: usize,
    finished: bool,
    pub(crate) saw_end: bool,
    readable: bool,
    writable: bool,
    never_reads: bool,
    next_read: Instant,
}

impl Endpoint {
    /// The PoP's end of the session, or the edge's.
    pub(crate) fn new(id: SessionId, script: Script, is_pop: bool, now: Instant) -> Self {
        let (up, down) = (Stream::new(script.seed), Stream::new(!script.seed));
        let (upload, download) = (script.upload, script.download);
        let never = script.ending == Ending::NeverRead && is_pop == script.seed.is_multiple_of(2);
        let (outgoing, to_send, incoming, to_receive) = if is_pop {
            (up, upload, down, download)
        } else {
            (down, download, up, upload)
        };
        let datagrams = script
            .is_udp
            .then(|| Datagrams::new(script.seed, to_send, is_pop, now));
        Self {
            id,
            script,
            datagrams,
            outgoing,
            to_send,
            incoming,
            to_receive,
            received: 0,
            unconsumed: 0,
            finished: false,
            saw_end: false,
            readable: false,
            // An edge sends only once it has accepted.
            writable: is_pop,
            never_reads: never,
            next_read: now,
        }
    }

    pub(crate) fn set_readable(&mut self) {
        self.readable = true;
    }

    pub(crate) fn set_writable(&mut self) {
        self.writable = true;
    }

    /// When this end wants to be driven again though nothing arrives.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let read = (self.readable && !self.never_reads).then_some(self.next_read);
        let datagrams = self.datagrams.as_ref().filter(|_| self.writable);
        let sending = datagrams.filter(|datagrams| !datagrams.is_done());
        read.into_iter()
            .chain(sending.map(Datagrams::next_send))
            .min()
    }

    /// Datagrams that this end had no room for.
    pub(crate) fn refused(&self) -> usize {
        self.datagrams.as_ref().map_or(0, |d| d.refused)
    }

    /// Whether an end that resets by its script has got so far: by what it received or, as
    /// datagrams may be lost, by what it sent.
    pub(crate) fn is_due_to_reset(&self) -> bool {
        match &self.datagrams {
            Some(datagrams) => datagrams.is_done() || datagrams.sent() >= self.script.reset_after,
            None => self.received >= self.script.reset_after.min(self.to_receive),
        }
    }

    /// Sends and receives what is possible now; whether anything was.
    pub(crate) fn drive(&mut self, conn: &mut Connection, now: Instant, rng: &mut StdRng) -> bool {
        let sent = self.writable && self.send(conn, now, rng);
        let received = self.readable && now >= self.next_read && !self.never_reads;
        if received {
            self.next_read = now + self.script.read_pause;
            for _ in 0..READS_PER_TURN {
                self.receive(conn, rng);
            }
        }
        sent || received
    }

    fn send(&mut self, conn: &mut Connection, now: Instant, rng: &mut StdRng) -> bool {
        if self.finished {
            return false;
        }
        if let Some(datagrams) = self.datagrams.as_mut().filter(|d| !d.is_done()) {
            return datagrams.send(conn, self.id, now, rng);
        }
        if self.to_send == 0 || self.datagrams.is_some() {
            conn.finish(self.id);
            self.finished = true;
            return true;
        }
        let capacity = conn.send_capacity(self.id);
        if capacity == 0 {
            self.writable = false;
            return false;
        }
        let len = self
            .to_send
            .min(capacity)
            .min(rng.random_range(1..=64 * 1024));
        let bytes = self.outgoing.next(len);
        conn.send(self.id, Payload::copy_from(&bytes))
            .expect("capacity was asked for");
        self.to_send -= len;
        true
    }

    fn receive(&mut self, conn: &mut Connection, rng: &mut StdRng) {
        if self.datagrams.is_some() {
            return self.receive_datagram(conn);
        }
        match conn.receive(self.id) {
            None => {
                self.readable = false;
                conn.consumed(self.id, std::mem::take(&mut self.unconsumed));
            }
            Some(Received::End) => {
                assert_eq!(
                    self.received, self.to_receive,
                    "the end comes after all bytes"
                );
                assert!(
                    !std::mem::replace(&mut self.saw_end, true),
                    "the end comes once"
                );
            }
            Some(Received::Data(mut bytes)) => {
                // A socket that takes only a part, now and then.
                if rng.random_range(0..4) == 0 {
                    let taken = rng.random_range(0..=bytes.len());
                    let rest = bytes.split_off(taken);
                    conn.put_back(self.id, rest);
                }
                assert_eq!(
                    bytes,
                    self.incoming.next(bytes.len()),
                    "bytes arrive as sent"
                );
                self.received += bytes.len();
                self.unconsumed += bytes.len();
                // Credit may be given back late, but not never.
                if rng.random_range(0..2) == 0 {
                    conn.consumed(self.id, std::mem::take(&mut self.unconsumed));
                }
            }
        }
    }

    fn receive_datagram(&mut self, conn: &mut Connection) {
        let Some(datagrams) = &mut self.datagrams else {
            return;
        };
        match datagrams.receive(conn, self.id) {
            None => self.readable = false,
            Some(Received::Data(())) => self.received += 1,
            Some(Received::End) => {
                assert!(
                    !std::mem::replace(&mut self.saw_end, true),
                    "the end comes once"
                );
            }
        }
    }
}

/// Chunks an end takes between two pauses.
const READS_PER_TURN: usize = 8;

/// An endless stream of bytes that both ends can make.
struct Stream(StdRng);

impl Stream {
    fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    fn next(&mut self, len: usize) -> Vec<u8> {
        // Byte by byte, so that the stream does not depend on how it is cut.
        (0..len).map(|_| self.0.random()).collect()
    }
}
