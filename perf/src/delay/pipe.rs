//! One direction of a connection over the link, and the line that all connections share.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    rc::Rc,
};

use bytes::{Bytes, BytesMut};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::Link;

/// One direction of the link: what is sent over it is sent one after the other, whichever
/// connection it is of.
pub(super) struct Line {
    link: Link,
    /// When everything that waits has been sent.
    free_at: Cell<Instant>,
}

impl Line {
    pub(super) fn new(link: Link) -> Rc<Self> {
        Rc::new(Self {
            link,
            free_at: Cell::new(Instant::now()),
        })
    }

    /// Waits until what waits has shrunk to the queue's length.
    async fn wait_for_room(&self) {
        if self.link.rate_mbit.is_none() {
            return;
        }
        let queue = self.link.sending(self.link.queue());
        // Again after each wait: another connection may have taken the room.
        while let Some(room) = self.free_at.get().checked_sub(queue)
            && room > Instant::now()
        {
            sleep_until(room).await;
        }
    }

    /// Puts `len` bytes at the end of the queue and says when they will have been sent. Nothing is
    /// sent before `opens`.
    fn send(&self, len: usize, opens: Instant) -> Instant {
        let start = self.free_at.get().max(opens).max(Instant::now());
        let sent = start + self.link.sending(len);
        if self.link.rate_mbit.is_some() {
            self.free_at.set(sent);
        }
        sent
    }
}

/// One direction of one connection.
pub(super) struct Pipe {
    link: Link,
    /// Stamped with the time at which they arrive; an empty one is the end.
    under_way: RefCell<VecDeque<(Instant, Bytes)>>,
    held: Cell<usize>,
    line: Rc<Line>,
    /// Before this the connection does not stand.
    opens: Instant,
    arrived_last: Cell<Instant>,
    losses: RefCell<SmallRng>,
    filled: Notify,
    drained: Notify,
}

impl Pipe {
    pub(super) fn new(line: &Rc<Line>, opens: Instant) -> Rc<Self> {
        let link = line.link;
        Rc::new(Self {
            link,
            line: Rc::clone(line),
            opens,
            under_way: RefCell::default(),
            held: Cell::new(0),
            arrived_last: Cell::new(opens),
            losses: RefCell::new(SmallRng::seed_from_u64(link.seed)),
            filled: Notify::new(),
            drained: Notify::new(),
        })
    }

    /// Reads, stamps, and waits while the queue is full.
    pub(super) async fn fill(self: Rc<Self>, mut from: OwnedReadHalf) -> io::Result<()> {
        let size = self.link.read_size();
        loop {
            self.wait_for_room().await;
            let mut buffer = BytesMut::with_capacity(size);
            // The end and a failure are the end; either has its place in the order.
            let read = from.read_buf(&mut buffer).await;
            let bytes = buffer.freeze();
            self.push(bytes);
            if !matches!(read, Ok(len) if len > 0) {
                return Ok(());
            }
        }
    }

    async fn wait_for_room(&self) {
        while self.held.get() >= self.link.holds() {
            self.drained.notified().await;
        }
        self.line.wait_for_room().await;
    }

    fn push(&self, bytes: Bytes) {
        let sent = self.line.send(bytes.len(), self.opens);
        let mut arrives = sent + self.link.one_way();
        if self.is_lost(bytes.len()) {
            arrives += 2 * self.link.one_way();
        }
        let arrives = arrives.max(self.arrived_last.get());
        self.arrived_last.set(arrives);
        self.held.set(self.held.get() + bytes.len());
        self.under_way.borrow_mut().push_back((arrives, bytes));
        self.filled.notify_one();
    }

    /// Whether one of the segments that `len` bytes fill is lost.
    fn is_lost(&self, len: usize) -> bool {
        let kept = 1.0 - self.link.loss_percent / 100.0;
        let segments = i32::try_from(len.div_ceil(SEGMENT)).unwrap_or(i32::MAX);
        self.link.loss_percent > 0.0
            && self
                .losses
                .borrow_mut()
                .random_bool(1.0 - kept.max(0.0).powi(segments))
    }

    pub(super) async fn drain(self: Rc<Self>, mut to: OwnedWriteHalf) -> io::Result<()> {
        loop {
            let next = self.under_way.borrow_mut().pop_front();
            let Some((arrives, bytes)) = next else {
                self.filled.notified().await;
                continue;
            };
            sleep_until(arrives).await;
            if bytes.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&bytes).await?;
            self.held.set(self.held.get() - bytes.len());
            self.drained.notify_one();
        }
    }
}

/// Payload of a segment of Ethernet, for the probability of a loss.
const SEGMENT: usize = 1448;
