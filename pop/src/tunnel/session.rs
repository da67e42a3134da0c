//! One session as the relay sees it: a two-way stream of bytes with credit.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
};

use bytes::Bytes;
use titan_proto::{
    mux::{
        Datagram, DatagramError, DatagramPayload, Payload, Received, Reset, SendError, SessionId,
    },
    reason::Reason,
};

use super::Tunnel;
use crate::{directory::TunnelEntry, net::Notify};

/// An open session. Dropped before [`release`](Self::release), as by a panic, it is reset.
#[derive(Debug)]
pub struct Session {
    tunnel: Rc<Tunnel>,
    id: SessionId,
    signals: Rc<Signals>,
    released: Cell<bool>,
}

impl Session {
    pub(super) fn new(tunnel: Rc<Tunnel>, id: SessionId, signals: Rc<Signals>) -> Self {
        Self {
            tunnel,
            id,
            signals,
            released: Cell::new(false),
        }
    }

    /// The tunnel that carries it.
    pub fn tunnel(&self) -> &TunnelEntry {
        self.tunnel.entry()
    }

    /// Whether the edge has connected to the target.
    pub fn is_open(&self) -> bool {
        self.signals.bound.get().is_some()
    }

    /// Whether anything has come from the target, be it its end, and even if it is lost by now.
    pub fn has_heard(&self) -> bool {
        self.signals.heard.get()
    }

    /// From here on [`has_heard`](Self::has_heard) says whether anything more has come. Nothing must
    /// be left unread.
    pub fn hear_anew(&self) {
        self.signals.heard.set(false);
    }

    /// Waits until the edge has connected to the target; gives the edge's address towards it.
    ///
    /// # Errors
    /// Why the session is over.
    pub async fn opened(&self) -> Result<SocketAddr, Reset> {
        loop {
            self.check()?;
            if let Some(bound) = self.signals.bound.get() {
                return Ok(bound);
            }
            self.signals.opened.notified().await;
        }
    }

    /// Bytes that may be sent now; after a 0 wait for [`writable`](Self::writable).
    pub fn send_capacity(&self) -> usize {
        // All that changes is that the mux remembers who waits.
        self.tunnel.note(|conn| conn.send_capacity(self.id))
    }

    /// Waits until the capacity may be more than 0.
    ///
    /// # Errors
    /// Why the session is over.
    pub async fn writable(&self) -> Result<(), Reset> {
        self.check()?;
        self.signals.writable.notified().await;
        self.check()
    }

    /// Sends bytes to the target, at most as many as the capacity.
    ///
    /// # Errors
    /// Why the session is over.
    pub fn send(&self, payload: Payload) -> Result<(), Reset> {
        match self.tunnel.with(|conn| conn.send(self.id, payload)) {
            Ok(()) => Ok(()),
            Err(SendError::NoSession) => Err(self.check().err().unwrap_or_else(gone)),
            Err(error) => {
                debug_assert!(false, "a session was misused: {error}");
                Err(Reset::new(Reason::GeneralFailure))
            }
        }
    }

    /// Ends the direction to the target behind what was sent.
    pub fn finish(&self) {
        self.tunnel.with(|conn| conn.finish(self.id));
    }

    /// What came from the target; after a `None` wait for [`readable`](Self::readable).
    pub fn receive(&self) -> Option<Received> {
        self.tunnel.with(|conn| conn.receive(self.id))
    }

    /// Gives back bytes that could not be handed on yet.
    pub fn put_back(&self, bytes: Bytes) {
        self.tunnel.with(|conn| conn.put_back(self.id, bytes));
    }

    /// Accounts for bytes that were handed on.
    pub fn consumed(&self, bytes: usize) {
        self.tunnel.with(|conn| conn.consumed(self.id, bytes));
    }

    /// Sends a datagram of a UDP session.
    ///
    /// # Errors
    /// Why it is lost. That the session is over, its end says.
    pub fn send_datagram(&self, datagram: DatagramPayload) -> Result<(), DatagramError> {
        self.tunnel
            .with(|conn| conn.send_datagram(self.id, datagram))
    }

    /// The next datagram of a UDP session; after a `None` wait for [`readable`](Self::readable).
    pub fn receive_datagram(&self) -> Option<Received<Datagram>> {
        self.tunnel.with(|conn| conn.receive_datagram(self.id))
    }

    /// Datagrams of all the tunnel's sessions that came faster than they were taken, since the last
    /// call of any of them.
    pub fn take_unread(&self) -> u64 {
        self.tunnel.take_unread()
    }

    /// Waits until [`receive`](Self::receive) may have something.
    ///
    /// # Errors
    /// Why the session is over.
    pub async fn readable(&self) -> Result<(), Reset> {
        self.check()?;
        self.signals.readable.notified().await;
        self.check()
    }

    /// Ends the session in both directions now.
    pub fn reset(&self, reason: Reason) {
        self.released.set(true);
        self.tunnel.with(|conn| conn.reset(self.id, reason, ""));
        self.tunnel.forget(self.id);
    }

    /// Leaves the session to the mux, which still sends what is queued in it. For a session of
    /// which both directions have ended.
    pub fn release(&self) {
        self.released.set(true);
    }

    fn check(&self) -> Result<(), Reset> {
        match &*self.signals.end.borrow() {
            Some(End::Reset(reset)) => Err(reset.clone()),
            Some(End::Finished) | None => Ok(()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.released.get() {
            self.reset(Reason::GeneralFailure);
        }
    }
}

/// What the tunnel tells a session.
#[derive(Debug, Default)]
pub(super) struct Signals {
    readable: Notify,
    heard: Cell<bool>,
    pub(super) writable: Notify,
    opened: Notify,
    bound: Cell<Option<SocketAddr>>,
    end: RefCell<Option<End>>,
}

/// How a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// Before both directions had.
    Reset(Reset),
    /// Both directions had ended.
    Finished,
}

impl Signals {
    pub(super) fn open(&self, bound: SocketAddr) {
        self.bound.set(Some(bound));
        self.opened.notify();
    }

    pub(super) fn hear(&self) {
        self.heard.set(true);
        self.readable.notify();
    }

    pub(super) fn end(&self, end: End) {
        self.end.replace(Some(end));
        self.readable.notify();
        self.writable.notify();
        self.opened.notify();
    }
}

fn gone() -> Reset {
    Reset::new(Reason::EdgeGone)
}
