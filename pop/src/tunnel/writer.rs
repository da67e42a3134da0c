//! The task that writes a tunnel, and that is its clock.
//!
//! What the mux has given out cannot be overtaken any more, so it is taken in batches of some
//! milliseconds' worth, and the kernel is told to hold no more than that unsent.

use std::{
    collections::VecDeque,
    future::Future,
    io::{self, IoSlice},
    pin::pin,
    rc::Rc,
    time::Instant,
};

use bytes::{Buf, Bytes};
use titan_proto::mux::Pace;

use super::{Tunnel, link::Retirement};
use crate::{
    limits::{TUNNEL_CLOSE_TIMEOUT, WRITE_SLICES},
    net::{Either, Sleep, race, sleep_until, timeout},
};

/// Writes until the mux is over and has said its last word.
pub(super) async fn run(tunnel: Rc<Tunnel>) {
    let guard = Retirement(Rc::clone(&tunnel));
    let mut writer = Writer::new(&tunnel);
    while !tunnel.ask(|conn| conn.is_over()) {
        if writer.flush().await.is_err() {
            return;
        }
        writer.wait(tunnel.outgoing.notified()).await;
    }
    // The close frame, and time for the edge to read it: its FIN is the answer (RFC 6455 §7.1.1).
    let goodbye = pin!(async {
        writer.flush().await?;
        tunnel.socket.shutdown_write();
        tunnel.reader_done.notified().await;
        io::Result::Ok(())
    });
    let _ = timeout(TUNNEL_CLOSE_TIMEOUT, goodbye).await;
    drop(guard);
}

struct Writer<'a> {
    tunnel: &'a Tunnel,
    /// What the mux gave and the socket has not taken.
    batch: VecDeque<Bytes>,
    /// Its length when it was taken.
    len: usize,
    pace: Pace,
    clock: Option<Sleep>,
}

impl<'a> Writer<'a> {
    fn new(tunnel: &'a Tunnel) -> Self {
        Self {
            tunnel,
            batch: VecDeque::new(),
            len: 0,
            pace: Pace::default(),
            clock: None,
        }
    }

    /// Writes until there is nothing left to write.
    async fn flush(&mut self) -> io::Result<()> {
        while self.fill() {
            if self.write()? {
                self.learn();
            } else {
                self.wait_for_room().await?;
            }
        }
        self.pace.pause();
        Ok(())
    }

    /// Takes the next batch from the mux once the last one is gone; `false` when there is none.
    fn fill(&mut self) -> bool {
        if self.batch.is_empty() {
            let mut frames = Vec::from(std::mem::take(&mut self.batch));
            let len = self
                .tunnel
                .with(|conn| conn.poll_transmit(self.pace.batch(), &mut frames));
            self.batch = frames.into();
            self.len = len;
            self.pace.begin(len, Instant::now);
        }
        !self.batch.is_empty()
    }

    /// Writes what the socket takes; `false` when it took less than all.
    fn write(&mut self) -> io::Result<bool> {
        let sent = {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let used = slices
                .iter_mut()
                .zip(&self.batch)
                .map(|(s, b)| *s = IoSlice::new(b))
                .count();
            self.tunnel
                .socket
                .try_send(slices.get(..used).unwrap_or_default())?
        };
        self.advance(sent);
        Ok(self.batch.is_empty())
    }

    /// Learns from a batch that the socket has taken whole.
    fn learn(&mut self) {
        if self.pace.wrote(self.len, Instant::now) {
            self.tunnel.socket.limit_unsent(self.pace.batch());
        }
    }

    fn advance(&mut self, mut sent: usize) {
        while let Some(front) = self.batch.front_mut() {
            if sent < front.len() {
                front.advance(sent);
                return;
            }
            sent -= front.len();
            if let Some(done) = self.batch.pop_front() {
                self.tunnel.core().pool.recycle(done);
            }
        }
    }

    async fn wait_for_room(&mut self) -> io::Result<()> {
        let tunnel = self.tunnel;
        match self.wait(pin!(tunnel.socket.writable())).await {
            Some(ready) => ready,
            // The edge takes nothing and says nothing any more.
            None => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Waits for `event` and keeps the mux's clock meanwhile; `None` when the clock ended the
    /// tunnel.
    async fn wait<F: Future + Unpin>(&mut self, mut event: F) -> Option<F::Output> {
        loop {
            let Some(deadline) = self.tunnel.ask(|conn| conn.poll_timeout()) else {
                // Over: nothing is due any more, and the caller bounds the wait.
                return Some(event.await);
            };
            // A clock that is set too early is left alone: it looks again when it strikes.
            let clock = match &mut self.clock {
                Some(clock) if clock.deadline() <= deadline => clock,
                clock => clock.insert(sleep_until(deadline)),
            };
            if let Either::First(output) = race(&mut event, clock).await {
                return Some(output);
            }
            self.clock = None;
            self.tunnel.with(|conn| conn.handle_timeout(Instant::now()));
            if self.tunnel.ask(|conn| conn.is_over()) {
                return None;
            }
        }
    }
}
