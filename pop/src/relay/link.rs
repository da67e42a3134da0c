//! What the two directions of a session share, and how a session breaks.

use std::{cell::Cell, io, rc::Rc, time::Instant};

use titan_proto::mux::Reset;

use super::linger::Linger;
use crate::{
    limits::CLIENT_WATCH,
    metrics::Held,
    net::{Socket, sleep, sleep_until},
    tunnel::{Core, Session},
};

/// A client and its session.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) core: Rc<Core>,
    pub(super) client: Socket,
    pub(super) session: Session,
    pub(super) linger: Linger,
    /// Whether the client has got a byte that came from the target.
    pub(super) answered: Cell<bool>,
    _active: Held,
}

impl Link {
    /// A session that begins. Until [`end_cleanly`](Self::end_cleanly) its client sees a reset
    /// when the socket closes, even if that is because this process was killed.
    pub(super) fn new(core: Rc<Core>, client: Socket, session: Session) -> Self {
        core.metrics.sessions_opened.inc();
        Self::resume(core, client, session)
    }

    /// The same for a session that has been counted.
    pub(super) fn resume(core: Rc<Core>, client: Socket, session: Session) -> Self {
        client.reset_on_close(true);
        let active = Held::new(&core.metrics, |metrics| &metrics.sessions_active);
        let linger = Linger::new(core.config.linger());
        Self {
            core,
            client,
            session,
            linger,
            answered: Cell::new(false),
            _active: active,
        }
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
        if client.is_broken() {
            return Broken::Client(io::ErrorKind::ConnectionReset.into());
        }
        sleep_until(deadline.min(now + CLIENT_WATCH)).await;
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
    /// Half of it had ended, and nothing moved in the other half.
    #[error("nothing moved after one direction had ended")]
    Idle,
}

impl From<Reset> for Broken {
    fn from(reset: Reset) -> Self {
        Self::Session(reset)
    }
}
