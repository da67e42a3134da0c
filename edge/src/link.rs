//! The tunnel's protocol state as the tasks of one thread share it.
//!
//! [`Link`] owns the [`Connection`] and follows its rule of use: one call, then all events. An event
//! wakes the task it is for and does nothing else, so that the tunnel's reader, through which most
//! events come, never waits for a session.

mod datagram;

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use titan_proto::{
    mux::{CloseCause, Connection, Event, OpenRequest, Payload, Received, SessionId},
    reason::Reason,
    ws::CloseCode,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};

use crate::{limits::FLUSH_BEFORE_RESET, net::Stream};

/// What is to be known of a tunnel from outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    /// The PoP has said HELLO.
    pub(crate) ready: bool,
    /// The PoP drains and wants us elsewhere.
    pub(crate) going_away: bool,
    /// The tunnel is over, and why.
    pub(crate) closed: Option<CloseCause>,
    /// Sessions whose tasks run.
    pub(crate) sessions: usize,
}

/// One tunnel's protocol state and the tasks that wait for it.
pub(crate) struct Link {
    connection: RefCell<Connection>,
    sessions: RefCell<HashMap<SessionId, Rc<Waiters>>>,
    opened: RefCell<VecDeque<(SessionId, OpenRequest)>>,
    status: watch::Sender<Status>,
    /// There may be something to write.
    transmit: Notify,
    /// Nothing of any session is left to write.
    flushed: Notify,
    /// The next timeout is earlier than the one that is waited for.
    timer: Notify,
    armed: Cell<Option<std::time::Instant>>,
    /// Unread datagrams that somebody has counted already.
    unread_taken: Cell<u64>,
}

/// What the two directions of one session wait for.
#[derive(Default)]
struct Waiters {
    readable: Notify,
    writable: Notify,
    ended: Notify,
    over: Cell<bool>,
    target: RefCell<Option<Stream>>,
}

impl Link {
    pub(crate) fn new(connection: Connection) -> Rc<Self> {
        Rc::new(Self {
            connection: RefCell::new(connection),
            sessions: RefCell::default(),
            opened: RefCell::default(),
            status: watch::Sender::default(),
            transmit: Notify::new(),
            flushed: Notify::new(),
            timer: Notify::new(),
            armed: Cell::new(None),
            unread_taken: Cell::new(0),
        })
    }

    /// The tunnel's status, to be waited on.
    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Takes what arrived from the PoP. A violation ends the tunnel, which its status then says.
    pub(crate) fn handle_input(&self, input: &mut BytesMut) {
        let now = Instant::now().into_std();
        // The error is the cause in the event that follows.
        let _ = self.act(|connection| connection.handle_input(input, now));
    }

    /// The transport has ended.
    pub(crate) fn handle_eof(&self) {
        self.act(Connection::handle_eof);
    }

    /// Tells the PoP to open no more sessions here.
    pub(crate) fn go_away(&self) {
        self.act(Connection::go_away);
    }

    /// Ends the tunnel and every session in it.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        self.act(|connection| connection.close(code, reason));
    }

    /// Whether the tunnel is over.
    pub(crate) fn is_over(&self) -> bool {
        self.connection.borrow().is_over()
    }

    /// The next session that the PoP has opened.
    pub(crate) fn next_opened(self: &Rc<Self>) -> Option<(Session, OpenRequest)> {
        let (id, request) = self.opened.borrow_mut().pop_front()?;
        let waiters = self.sessions.borrow().get(&id)?.clone();
        Some((
            Session {
                link: self.clone(),
                id,
                waiters,
            },
            request,
        ))
    }

    /// Whether there is something to write.
    pub(crate) fn wants_transmit(&self) -> bool {
        self.connection.borrow().wants_transmit()
    }

    /// Waits for something to write and moves at most about `max_bytes` of it into `batch`;
    /// `false` where the tunnel is over and everything was written.
    pub(crate) async fn next_batch(&self, max_bytes: usize, batch: &mut Vec<Bytes>) -> bool {
        loop {
            let (taken, over, queued) = {
                let mut connection = self.connection.borrow_mut();
                let taken = connection.poll_transmit(max_bytes, batch);
                self.dispatch(&mut connection);
                (taken, connection.is_over(), connection.queued_bytes())
            };
            if queued == 0 {
                self.flushed.notify_waiters();
            }
            if taken > 0 || over {
                return taken > 0;
            }
            self.transmit.notified().await;
        }
    }

    /// Waits for the connection's next timeout, or until it has changed, and handles it.
    pub(crate) async fn tick(&self) {
        let deadline = self.connection.borrow().poll_timeout();
        self.armed.set(deadline);
        let Some(deadline) = deadline else {
            return self.timer.notified().await;
        };
        tokio::select! {
            () = sleep_until(Instant::from_std(deadline)) => {
                let now = Instant::now().into_std();
                self.act(|connection| connection.handle_timeout(now));
            }
            () = self.timer.notified() => {}
        }
    }

    /// Makes one call, hands its events out and wakes the writer and the timer if they have
    /// something to do.
    fn act<R>(&self, call: impl FnOnce(&mut Connection) -> R) -> R {
        let mut connection = self.connection.borrow_mut();
        let result = call(&mut connection);
        self.dispatch(&mut connection);
        if connection.wants_transmit() || connection.is_over() {
            self.transmit.notify_one();
        }
        let earlier = match (connection.poll_timeout(), self.armed.get()) {
            (Some(next), Some(armed)) => next < armed,
            (next, armed) => next.is_some() != armed.is_some(),
        };
        if earlier {
            self.timer.notify_one();
        }
        result
    }

    fn dispatch(&self, connection: &mut Connection) {
        while let Some(event) = connection.poll_event() {
            match event {
                Event::Open { id, request } => self.admit(id, request),
                Event::Readable(id) => self.wake(id, |session| session.readable.notify_one()),
                Event::Writable(id) => self.wake(id, |session| session.writable.notify_one()),
                Event::Reset { id, .. } => self.wake(id, Waiters::end),
                // Both directions know their own end. OPENED is what an edge sends.
                Event::Finished(_) | Event::Opened { .. } => {}
                Event::Ready => self.status.send_modify(|status| status.ready = true),
                Event::GoingAway => self.status.send_modify(|status| status.going_away = true),
                Event::Closed(cause) => {
                    self.status
                        .send_modify(|status| status.closed = Some(cause));
                }
            }
        }
    }

    fn admit(&self, id: SessionId, request: OpenRequest) {
        self.sessions.borrow_mut().insert(id, Rc::default());
        self.opened.borrow_mut().push_back((id, request));
        self.status.send_modify(|status| status.sessions += 1);
    }

    fn dismiss(&self, id: SessionId) {
        self.sessions.borrow_mut().remove(&id);
        self.status.send_modify(|status| status.sessions -= 1);
    }

    fn wake(&self, id: SessionId, how: impl FnOnce(&Waiters)) {
        // A session whose task has ended is of no interest any more.
        if let Some(waiters) = self.sessions.borrow().get(&id) {
            how(waiters);
        }
    }
}

impl Waiters {
    fn stop(&self) {
        self.over.set(true);
        self.readable.notify_one();
        self.writable.notify_one();
        self.ended.notify_one();
    }

    /// The session is over before its directions have ended: whoever works for it stops, and the
    /// target must not take this for a clean end.
    fn end(&self) {
        self.stop();
        if let Some(target) = &*self.target.borrow() {
            target.reset();
        }
    }
}

/// One session's end of the tunnel.
pub(crate) struct Session {
    link: Rc<Link>,
    id: SessionId,
    waiters: Rc<Waiters>,
}

/// The session was over before what was asked for could be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl Session {
    /// Whether the peer, or the tunnel's end, has ended the session.
    pub(crate) fn is_over(&self) -> bool {
        self.waiters.over.get()
    }

    /// Waits until the session is over.
    pub(crate) async fn over(&self) {
        while !self.is_over() {
            self.waiters.ended.notified().await;
        }
    }

    /// The tunnel's smoothed round trip.
    pub(crate) fn tunnel_rtt(&self) -> Option<Duration> {
        self.link.connection.borrow().rtt()
    }

    /// Tells the PoP that the target is connected. From here on the target's connection is reset
    /// when the PoP resets the session.
    ///
    /// # Errors
    ///
    /// The session is over; nothing was said.
    pub(crate) fn accept(&self, target: Option<&Stream>, bound: SocketAddr) -> Result<(), Gone> {
        if self.is_over() {
            return Err(Gone);
        }
        *self.waiters.target.borrow_mut() = target.cloned();
        self.link
            .act(|connection| connection.accept(self.id, bound));
        Ok(())
    }

    /// Waits for bytes from the client and moves what there is, up to about `max_bytes`, into
    /// `batch`. Gives their number and whether the client's direction has ended behind them.
    pub(crate) async fn receive(
        &self,
        max_bytes: usize,
        batch: &mut Vec<Bytes>,
    ) -> Result<(usize, bool), Gone> {
        loop {
            if self.is_over() {
                return Err(Gone);
            }
            let (bytes, end) = self.take_received(max_bytes, batch);
            if bytes > 0 || end {
                return Ok((bytes, end));
            }
            self.waiters.readable.notified().await;
        }
    }

    /// The client's bytes have been handed on: it may send as many again.
    pub(crate) fn consumed(&self, bytes: usize) {
        self.link
            .act(|connection| connection.consumed(self.id, bytes));
    }

    /// Waits until bytes may be sent to the client, and gives how many.
    pub(crate) async fn capacity(&self) -> Result<usize, Gone> {
        loop {
            let capacity = self.capacity_now()?;
            if capacity > 0 {
                return Ok(capacity);
            }
            self.waiters.writable.notified().await;
        }
    }

    /// Bytes that may be sent to the client now; after a 0, [`capacity`](Self::capacity) waits for more.
    pub(crate) fn capacity_now(&self) -> Result<usize, Gone> {
        if self.is_over() {
            return Err(Gone);
        }
        Ok(self
            .link
            .act(|connection| connection.send_capacity(self.id)))
    }

    /// Sends bytes to the client, at most as many as may be sent now.
    pub(crate) fn send_now(&self, payload: Payload) -> Result<(), Gone> {
        self.link
            .act(|connection| connection.send(self.id, payload))
            .map_err(|_| Gone)
    }

    /// Sends bytes to the client, in parts where the tunnel does not take them at once.
    pub(crate) async fn send(&self, mut payload: Payload) -> Result<(), Gone> {
        loop {
            let capacity = self.capacity().await?;
            if payload.len() <= capacity {
                return self.send_now(payload);
            }
            let (part, rest) = payload.as_slice().split_at(capacity);
            let part = Payload::copy_from(part);
            payload = Payload::copy_from(rest);
            self.send_now(part)?;
        }
    }

    /// Ends our direction behind what was sent.
    pub(crate) fn finish(&self) {
        self.link.act(|connection| connection.finish(self.id));
    }

    /// Makes whoever waits for the session find it over.
    pub(crate) fn stop(&self) {
        self.waiters.stop();
    }

    /// Ends the session and the target's connection at once.
    pub(crate) fn abandon(&self, reason: Reason) {
        self.waiters.end();
        self.reset(reason, "");
    }

    /// Ends the session with a reason.
    pub(crate) fn reset(&self, reason: Reason, text: &str) {
        self.link
            .act(|connection| connection.reset(self.id, reason, text));
    }

    /// Ends the session with a reason once what was sent in it is on its way, or after a while. A
    /// reset alone would drop the last bytes of a target that answers and then resets.
    pub(crate) async fn reset_when_flushed(&self, reason: Reason, text: &str) {
        let flushed = self.link.flushed.notified();
        if self.link.connection.borrow().queued_bytes() > 0 {
            // Too slow a tunnel is no reason to keep the session for ever.
            let _ = timeout(FLUSH_BEFORE_RESET, flushed).await;
        }
        self.reset(reason, text);
    }

    fn take_received(&self, max_bytes: usize, batch: &mut Vec<Bytes>) -> (usize, bool) {
        self.link.act(|connection| {
            let mut bytes = 0;
            while bytes < max_bytes {
                match connection.receive(self.id) {
                    Some(Received::Data(data)) => {
                        bytes += data.len();
                        batch.push(data);
                    }
                    Some(Received::End) => return (bytes, true),
                    None => break,
                }
            }
            (bytes, false)
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.link.dismiss(self.id);
    }
}
