//! One tunnel on its shard: the mux, the socket, and who is to be told what.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use titan_proto::{
    mux::{CloseCause, Connection, Event, OpenError, OpenRequest, SessionId, Settings, Side},
    ws::CloseCode,
};

use super::{
    Core, Session, reader,
    session::{End, Signals},
    writer,
};
use crate::{
    directory::{TunnelEntry, TunnelKey},
    limits::{START_WINDOW, TUNNEL_SILENT_HEARTBEATS, UNASKED_WINDOW},
    mesh::{News, Report, Reservation, TunnelMove},
    metrics::{Held, TunnelEnd},
    net::{Notify, Socket, spawn_guarded},
};

/// Takes over a tunnel whose upgrade is done and starts its tasks.
///
/// # Errors
/// When epoll has no room for the socket; the tunnel is gone then.
pub fn serve(core: &Rc<Core>, arrived: TunnelMove) -> std::io::Result<()> {
    let socket = Socket::adopt(arrived.fd)?;
    let settings = settings(core);
    let conn = Connection::new(Side::Pop, settings, rand::random(), Instant::now());
    let tunnel = core.tunnels.borrow_mut().insert(|key| {
        let node = arrived.reservation.node();
        let entry = TunnelEntry::new(key, node, arrived.region, arrived.peer);
        Rc::new(Tunnel {
            core: Rc::clone(core),
            entry: Arc::new(entry),
            socket,
            conn: RefCell::new(conn),
            sessions: RefCell::default(),
            outgoing: Notify::default(),
            reader_done: Notify::default(),
            listed: RefCell::default(),
            reservation: RefCell::new(Some(arrived.reservation)),
            unread_taken: Cell::new(0),
        })
    });
    spawn_guarded(
        "tunnel reader",
        reader::run(Rc::clone(&tunnel), arrived.early),
    );
    spawn_guarded("tunnel writer", writer::run(tunnel));
    Ok(())
}

/// What is asked of edges: the protocol's own limits but for what is this program's to decide.
fn settings(core: &Core) -> Settings {
    let config = &core.config;
    Settings {
        // An edge sends nothing before the target answers, and by then it has the rest of the window.
        initial_window: UNASKED_WINDOW,
        start_window: START_WINDOW,
        memory: core.memory.clone(),
        hello_timeout: config.handshake(),
        heartbeat_interval: config.heartbeat(),
        heartbeat_timeout: config.heartbeat() * TUNNEL_SILENT_HEARTBEATS,
        ..Settings::default()
    }
}

/// A tunnel that this shard owns.
#[derive(Debug)]
pub struct Tunnel {
    core: Rc<Core>,
    entry: Arc<TunnelEntry>,
    pub(super) socket: Socket,
    conn: RefCell<Connection>,
    sessions: RefCell<HashMap<SessionId, Rc<Signals>>>,
    /// There may be something to transmit, or an earlier deadline.
    pub(super) outgoing: Notify,
    /// The reader has seen the end.
    pub(super) reader_done: Notify,
    /// Held while the tunnel stands in the directories.
    listed: RefCell<Option<Held>>,
    /// Given back when the tunnel is retired.
    reservation: RefCell<Option<Reservation>>,
    /// Unread datagrams that somebody has counted already.
    unread_taken: Cell<u64>,
}

impl Tunnel {
    /// The tunnel's key.
    pub fn key(&self) -> TunnelKey {
        self.entry.key
    }

    /// What everybody may know of it.
    pub fn entry(&self) -> &TunnelEntry {
        &self.entry
    }

    /// Opens a session to the request's target; bytes may be sent in it at once.
    ///
    /// # Errors
    /// Why this tunnel cannot take it now.
    pub fn open(self: &Rc<Self>, request: &OpenRequest) -> Result<Session, OpenError> {
        let id = self.conn.borrow_mut().open(request)?;
        let signals = Rc::<Signals>::default();
        self.sessions.borrow_mut().insert(id, Rc::clone(&signals));
        self.settle();
        Ok(Session::new(Rc::clone(self), id, signals))
    }

    /// Tells the edge to open its next tunnel elsewhere; running sessions go on.
    pub fn go_away(&self) {
        self.unlist();
        self.with(Connection::go_away);
    }

    /// Ends the tunnel now; its sessions are reset.
    pub fn close(&self) {
        self.with(|conn| conn.close(CloseCode::GOING_AWAY, "this PoP is being shut down"));
    }

    /// Ends the tunnel of a node that is sent away; its sessions are reset.
    pub fn send_away(&self, why: &str) {
        tracing::info!(tunnel = %self.key(), node = %self.entry.node, why, "node sent away");
        self.with(|conn| conn.close(CloseCode::POLICY_VIOLATION, why));
    }

    /// Calls the mux and then sees to everything that follows from the call.
    pub(super) fn with<T>(&self, command: impl FnOnce(&mut Connection) -> T) -> T {
        let result = command(&mut self.conn.borrow_mut());
        self.settle();
        result
    }

    /// Calls the mux with what causes no event and nothing to transmit: nothing follows from it. On
    /// the path of every read, where seeing to nothing would still cost.
    pub(super) fn note<T>(&self, command: impl FnOnce(&mut Connection) -> T) -> T {
        command(&mut self.conn.borrow_mut())
    }

    /// Asks the mux something that changes nothing.
    pub(super) fn ask<T>(&self, question: impl FnOnce(&Connection) -> T) -> T {
        question(&self.conn.borrow())
    }

    /// Datagrams that no session took in time, since the last call.
    pub(super) fn take_unread(&self) -> u64 {
        let unread = self.ask(Connection::unread_datagrams);
        unread - self.unread_taken.replace(unread)
    }

    /// Stops passing events on to a session that has ended itself.
    pub(super) fn forget(&self, id: SessionId) {
        self.sessions.borrow_mut().remove(&id);
    }

    pub(super) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// Passes events on and wakes the writer if there is something to write.
    fn settle(&self) {
        loop {
            // The borrow must end before the event is passed on.
            let event = self.conn.borrow_mut().poll_event();
            let Some(event) = event else { break };
            self.dispatch(event);
        }
        self.core
            .metrics
            .session_memory
            .set(self.core.memory.held());
        let conn = self.conn.borrow();
        self.entry
            .update(conn.rtt(), conn.session_count(), conn.is_saturated());
        if conn.wants_transmit() || conn.is_over() {
            self.outgoing.notify();
        }
    }

    fn dispatch(&self, event: Event) {
        match event {
            Event::Ready => self.list(),
            Event::Opened { id, bound } => self.signal(id, |signals| signals.open(bound)),
            Event::Readable(id) => self.signal(id, Signals::hear),
            Event::Writable(id) => self.signal(id, |signals| signals.writable.notify()),
            Event::Reset { id, reset } => self.end_session(id, End::Reset(reset)),
            Event::Finished(id) => self.end_session(id, End::Finished),
            Event::GoingAway => self.unlist(),
            Event::Closed(cause) => self.closed(&cause),
            // The mux gives it to edges only.
            Event::Open { .. } => {}
        }
    }

    fn signal(&self, id: SessionId, tell: impl FnOnce(&Signals)) {
        if let Some(signals) = self.sessions.borrow().get(&id) {
            tell(signals);
        }
    }

    fn end_session(&self, id: SessionId, end: End) {
        let signals = self.sessions.borrow_mut().remove(&id);
        if let Some(signals) = signals {
            signals.end(end);
        }
    }

    /// Makes the tunnel known to every shard and to the manager.
    fn list(&self) {
        let core = &self.core;
        if core.is_draining() {
            return self.go_away();
        }
        core.metrics.tunnels_opened.inc();
        self.listed
            .replace(Some(Held::new(&core.metrics, |m| &m.tunnels_active)));
        core.directory.borrow_mut().insert(Arc::clone(&self.entry));
        core.mesh
            .broadcast(&News::TunnelUp(Arc::clone(&self.entry)), Some(core.shard));
        core.mesh.report(Report::TunnelUp(Arc::clone(&self.entry)));
        tracing::info!(tunnel = %self.key(), node = %self.entry.node, "tunnel up");
    }

    /// Takes the tunnel out of every choice.
    fn unlist(&self) {
        if self.listed.take().is_none() {
            return;
        }
        let core = &self.core;
        core.directory.borrow_mut().remove(&self.entry);
        core.mesh
            .broadcast(&News::TunnelDown(Arc::clone(&self.entry)), Some(core.shard));
        core.mesh
            .report(Report::TunnelDown(Arc::clone(&self.entry)));
        tracing::info!(tunnel = %self.key(), node = %self.entry.node, "tunnel takes no more sessions");
    }

    fn closed(&self, cause: &CloseCause) {
        self.unlist();
        self.core.metrics.tunnel_ends.inc(TunnelEnd::from(cause));
        let (tunnel, node) = (self.key(), self.entry.node);
        match cause {
            CloseCause::Violation(violation) => {
                tracing::warn!(%tunnel, %node, %violation, "[DIAG] tunnel closed for a violation");
            }
            CloseCause::HeartbeatTimeout
            | CloseCause::HelloTimeout
            | CloseCause::TransportEnded => {
                tracing::info!(%tunnel, %node, ?cause, "[NODE_不稳定] tunnel lost");
            }
            CloseCause::Peer { .. } | CloseCause::Local => {
                tracing::info!(%tunnel, %node, ?cause, "tunnel closed");
            }
        }
    }
}

/// Held by each task of a tunnel: when one ends, however it ends, the tunnel does.
#[derive(Debug)]
pub(super) struct Retirement(pub(super) Rc<Tunnel>);

impl Drop for Retirement {
    fn drop(&mut self) {
        let tunnel = &self.0;
        let Some(_reservation) = tunnel.reservation.take() else {
            return;
        };
        tunnel.socket.shutdown_both();
        tunnel.with(Connection::handle_eof);
        tunnel.core.tunnels.borrow_mut().remove(tunnel.key());
    }
}
