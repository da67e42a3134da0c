//! One request and its response: two directions that know of each other.

use std::{cell::Cell, pin::pin, rc::Rc, sync::Arc, time::Instant};

use titan_proto::{http::Persistence, mux::Reset, reason::Reason};

use super::{client::Unread, failure::Failure, origin::OriginEnd, request, response};
use crate::{
    mesh::RequestOrder,
    metrics::Held,
    net::{Either, Socket, race, timeout},
    relay::{
        kept::KeptContent,
        linger::Linger,
        link::{Broken, client_gone, half_open},
        meter::Meter,
    },
    tunnel::{Core, Session},
};

/// How far an exchange has come.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Milestones {
    /// Bytes of head and content that have been sent.
    pub(super) sent: u64,
    /// The request has been read to its end and sent.
    pub(super) is_sent: bool,
    /// The origin server has said something.
    pub(super) is_heard: bool,
    /// The client has a part of the final response, or a broken part of an interim one: nothing
    /// else can be said to it.
    pub(super) is_answered: bool,
}

impl Milestones {
    /// Whether nobody has answered a byte.
    pub(super) fn is_unanswered(self) -> bool {
        !self.is_heard && !self.is_answered
    }
}

/// How an exchange ended well.
#[derive(Debug)]
pub(super) enum Done {
    /// The client has the whole response, and was told this about its connection.
    Complete(Persistence, OriginEnd),
    /// The two ends speak another protocol now.
    Switched,
}

/// An exchange under way.
pub(super) struct Exchange<'a> {
    pub(super) core: &'a Core,
    pub(super) socket: &'a Socket,
    pub(super) session: &'a Session,
    pub(super) linger: Linger,
    /// What another edge would need beyond the head, until the server has said something.
    pub(super) kept: KeptContent,
    /// What its user may do.
    pub(super) meter: Meter,
    order: &'a RequestOrder,
    open_by: Instant,
    milestones: Cell<Milestones>,
    _active: Held,
}

impl<'a> Exchange<'a> {
    /// An exchange in a session that must be open by then.
    pub(super) fn new(
        core: &'a Rc<Core>,
        socket: &'a Socket,
        session: &'a Session,
        order: &'a RequestOrder,
        open_by: Instant,
    ) -> Self {
        Self {
            core,
            socket,
            session,
            linger: Linger::new(core.config.linger()),
            kept: KeptContent::new(core),
            meter: Meter::new(core, Arc::clone(&order.seat)),
            order,
            open_by,
            milestones: Cell::default(),
            _active: Held::new(&core.metrics, |metrics| &metrics.sessions_active),
        }
    }

    /// Carries the request up and the response down until the response is complete.
    ///
    /// The direction to the server stays open behind the request: a server may take its end for the
    /// client's departure.
    pub(super) async fn run(&self, unread: &mut Unread) -> Result<Done, Failure> {
        let request = &self.order.request;
        let up = pin!(request::send(self, request, unread));
        let down = pin!(response::pass_on(self, request.asked));
        let exchange = pin!(race(up, down));
        let (quiet, unopened) = (
            pin!(half_open(&self.linger, self.socket)),
            pin!(self.unopened()),
        );
        let (given_up, ended) = (pin!(race(quiet, unopened)), pin!(self.meter.ended()));
        let given_up = pin!(async {
            match race(given_up, ended).await {
                Either::First(given_up) => given_up,
                Either::Second(reason) => Either::First(Broken::User(reason)),
            }
        });
        match race(exchange, given_up).await {
            Either::First(Either::First(Err(failure))) => Err(failure),
            Either::First(Either::First(Ok(never))) => match never {},
            Either::First(Either::Second(done)) => done,
            Either::Second(Either::First(broken)) => Err(broken.into()),
            Either::Second(Either::Second(failure)) => Err(failure),
        }
    }

    /// How far it has come.
    pub(super) fn milestones(&self) -> Milestones {
        self.milestones.get()
    }

    /// Notes how far it has come.
    pub(super) fn note(&self, change: impl FnOnce(&mut Milestones)) {
        let mut milestones = self.milestones.get();
        change(&mut milestones);
        self.milestones.set(milestones);
    }

    /// Counts bytes of the request that are sent, those that another edge was sent before only once.
    pub(super) fn count_up(&self, bytes: usize) {
        let before = self.milestones.get().sent;
        let sent = before + bytes as u64;
        self.note(|milestones| milestones.sent = sent);
        let counted = self.order.counted.max(before);
        let new = sent.saturating_sub(counted);
        self.meter.moved_up(usize::try_from(new).unwrap_or(bytes));
    }

    /// Counts bytes of the response that the client's socket has taken.
    pub(super) fn count_down(&self, bytes: usize) {
        self.meter.moved_down(bytes);
    }

    /// Whether the client's connection can serve another request behind a response that begins
    /// now: the end of this request is known, and the PoP does not drain.
    pub(super) fn may_persist(&self) -> bool {
        self.milestones.get().is_sent && !self.core.is_draining()
    }

    /// Waits for credit. Nothing is read from the client meanwhile, so its departure has to be
    /// looked for.
    pub(super) async fn writable(&self) -> Result<(), Failure> {
        let writable = pin!(self.session.writable());
        match race(writable, pin!(client_gone(self.socket))).await {
            Either::First(result) => Ok(result?),
            Either::Second(broken) => Err(broken.into()),
        }
    }

    /// Waits until the edge has had its time to connect and has not.
    async fn unopened(&self) -> Failure {
        let limit = self.open_by.saturating_duration_since(Instant::now());
        match timeout(limit, pin!(self.session.opened())).await {
            // Both directions learn of the session's end by themselves.
            Ok(_) => std::future::pending().await,
            Err(_) => Failure::Session(Reset::new(Reason::TimedOut)),
        }
    }
}
