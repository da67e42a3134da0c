//! What the two directions of a session share, and how a session breaks.

use std::{
    cell::Cell,
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use titan_proto::{mux::Reset, reason::Reason};

use super::{kept::Keeper, linger::Linger, meter::Meter};
use crate::{
    limits::CLIENT_WATCH,
    mesh::{Answer, Order, Progress},
    metrics::Held,
    net::{Socket, sleep, sleep_until},
    tunnel::{Core, Session},
    users::Seat,
};

/// A client and its session.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) core: Rc<Core>,
    pub(super) client: Socket,
    pub(super) session: Session,
    pub(super) linger: Linger,
    /// In which form the client is answered.
    pub(super) answer: Answer,
    /// Whether the client was told that it is connected.
    pub(super) told: Cell<bool>,
    /// Whether the client has got a byte that came from the target.
    pub(super) answered: Cell<bool>,
    /// What its user may do.
    pub(super) meter: Meter,
    /// What another edge would need, until the target has answered.
    pub(super) kept: Keeper,
    open_by: Instant,
    _active: Held,
}

impl Link {
    /// A session that begins. Until [`end_cleanly`](Self::end_cleanly) its client sees a reset
    /// when the socket closes, even if that is because this process was killed.
    pub(super) fn new(
        core: Rc<Core>,
        client: Socket,
        session: Session,
        order: Order,
        progress: Progress,
    ) -> Self {
        core.metrics.sessions_opened.inc();
        let meter = Meter::new(&core, Arc::clone(&order.seat));
        let link = Self::with(core, client, session, meter, order.answer, progress.open_by);
        link.told.set(progress.told);
        if progress.failed.is_empty() {
            link.meter.count_session();
            link.meter.moved_up(order.early.len());
        } else {
            // The session, and what its client has sent so far, was counted when it came.
            link.core.metrics.sessions_reopened.inc();
        }
        Self {
            kept: Keeper::new(&link.core, order, progress),
            ..link
        }
    }

    /// The same for a session that has been counted, in which the target has answered.
    pub(super) fn resume(
        core: Rc<Core>,
        client: Socket,
        session: Session,
        seat: Arc<Seat>,
        answer: Answer,
    ) -> Self {
        let meter = Meter::new(&core, seat);
        let link = Self::with(core, client, session, meter, answer, Instant::now());
        link.told.set(true);
        link.answered.set(true);
        link
    }

    fn with(
        core: Rc<Core>,
        client: Socket,
        session: Session,
        meter: Meter,
        answer: Answer,
        open_by: Instant,
    ) -> Self {
        client.reset_on_close(true);
        let active = Held::new(&core.metrics, |metrics| &metrics.sessions_active);
        Self {
            client,
            session,
            linger: Linger::new(core.config.linger()),
            answer,
            told: Cell::new(false),
            answered: Cell::new(false),
            open_by,
            meter,
            kept: Keeper::default(),
            core,
            _active: active,
        }
    }

    /// The client has got a byte that came from the target, or the target's end.
    pub(super) fn note_answer(&self) {
        if !self.answered.replace(true) {
            self.kept.discard();
        }
    }

    /// Whether the client has heard anything, of us or of the target.
    pub(super) fn is_answered(&self) -> bool {
        self.told.get() || self.answered.get()
    }

    /// How long the edge may still take to connect.
    pub(super) fn time_to_open(&self) -> Duration {
        self.open_by.saturating_duration_since(Instant::now())
    }

    /// From here on the socket closes as one does whose peer got everything.
    pub(super) fn end_cleanly(&self) {
        self.client.reset_on_close(false);
    }

    /// Waits until the client's connection has broken, while nobody reads from it.
    pub(super) async fn client_gone(&self) -> Broken {
        client_gone(&self.client).await
    }

    /// Waits until a session of which one direction has ended is to be given up: nothing has moved
    /// for too long, or the client is gone.
    pub(super) async fn half_open(&self) -> Broken {
        half_open(&self.linger, &self.client).await
    }
}

/// Waits until the connection of `client` has broken, while nobody reads from it.
pub(super) async fn client_gone(client: &Socket) -> Broken {
    loop {
        sleep(CLIENT_WATCH).await;
        if client.is_broken() {
            return Broken::Client(io::ErrorKind::ConnectionReset.into());
        }
    }
}

/// Waits until nothing has moved for too long after one direction had ended, or `client` is gone.
pub(super) async fn half_open(linger: &Linger, client: &Socket) -> Broken {
    loop {
        let deadline = linger.deadline().await;
        let now = Instant::now();
        if now >= deadline {
            return Broken::Idle;
        }
        // Most sessions are over before it is time to look.
        sleep_until(deadline.min(now + CLIENT_WATCH)).await;
        if client.is_broken() {
            return Broken::Client(io::ErrorKind::ConnectionReset.into());
        }
    }
}

/// Why a session ended before both directions had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The client's connection broke.
    #[error("the client's connection broke: {0}")]
    Client(#[from] io::Error),
    /// The edge or its tunnel ended the session.
    #[error("the session was reset: {}", .0.reason)]
    Session(Reset),
    /// Its user may not do any more what it does.
    #[error("the user's sessions were ended: {0}")]
    User(Reason),
    /// Half of it had ended, and nothing moved in the other half.
    #[error("nothing moved after one direction had ended")]
    Idle,
}

impl Broken {
    /// What to count it as, and what the edge is told.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Client(_) => Reason::ClientGone,
            Self::Session(reset) => reset.reason,
            Self::User(reason) => *reason,
            Self::Idle => Reason::Idle,
        }
    }
}

impl From<Reset> for Broken {
    fn from(reset: Reset) -> Self {
        Self::Session(reset)
    }
}
