//! What the two directions of a session share, and how a session breaks.

use std::{cell::Cell, io, rc::Rc};

use titan_proto::mux::Reset;

use super::linger::Linger;
use crate::{
    metrics::Held,
    net::Socket,
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
    /// A session that begins.
    pub(super) fn new(core: Rc<Core>, client: Socket, session: Session) -> Self {
        core.metrics.sessions_opened.inc();
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
