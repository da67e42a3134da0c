//! One tunnel to a PoP: the socket's reader, its writer and the clock, around one [`Link`].

mod drive;
mod upgrade;

use std::{net::IpAddr, rc::Rc, time::Duration};

use bytes::BytesMut;
use titan_proto::{
    addr::is_public,
    control::{Assignment, NodeId},
    mux::{CloseCause, Connection, Settings, Side},
    ws::CloseCode,
};
use tokio::{
    task::{JoinHandle, spawn_local},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    error::DialPopError,
    limits::{CLOSE_GRACE, TUNNEL_OPEN_TIMEOUT},
    link::{Link, Status},
    net::Stream,
    session::{Egress, Facts},
};

/// A tunnel that is open, or was.
pub(crate) struct Tunnel {
    link: Rc<Link>,
    task: JoinHandle<()>,
}

/// How a tunnel's service to us ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The PoP drains: sessions go on, but new ones go elsewhere.
    GoingAway,
    /// The tunnel is over.
    Closed(CloseCause),
}

impl Tunnel {
    /// Dials the PoP of `assignment` and starts the tunnel's tasks.
    ///
    /// # Errors
    ///
    /// The PoP cannot be reached in time, or refuses the upgrade.
    pub(crate) async fn open(
        assignment: &Assignment,
        node_id: NodeId,
        egress: Rc<Egress>,
    ) -> Result<Self, DialPopError> {
        let upgrade = upgrade::connect(assignment, &egress.resolver);
        let (stream, input) = timeout(TUNNEL_OPEN_TIMEOUT, upgrade)
            .await
            .unwrap_or(Err(DialPopError::TimedOut(TUNNEL_OPEN_TIMEOUT)))?;
        let stream = Stream::adopt(stream, egress.backend)?;
        let facts = Rc::new(Facts {
            node_id,
            region: assignment.region,
            pop: assignment.pop.clone(),
            address: visible_address(&stream),
        });
        Ok(Self::start(stream, input, egress, facts))
    }

    fn start(stream: Stream, input: BytesMut, egress: Rc<Egress>, facts: Rc<Facts>) -> Self {
        let now = Instant::now().into_std();
        let settings = Settings {
            memory: egress.memory.clone(),
            ..Settings::default()
        };
        let connection = Connection::new(Side::Edge, settings, rand::random(), now);
        let link = Link::new(connection);
        let task = spawn_local(drive::drive(link.clone(), stream, input, egress, facts));
        Self { link, task }
    }

    /// Waits for the PoP's HELLO.
    ///
    /// # Errors
    ///
    /// The tunnel ended before it came.
    pub(crate) async fn ready(&self) -> Result<(), CloseCause> {
        let status = self
            .wait(|status| status.ready || status.closed.is_some())
            .await;
        status.closed.map_or(Ok(()), Err)
    }

    /// Waits until the PoP drains or the tunnel is over.
    pub(crate) async fn ending(&self) -> Ending {
        let status = self
            .wait(|status| status.going_away || status.closed.is_some())
            .await;
        status.closed.map_or(Ending::GoingAway, Ending::Closed)
    }

    /// Sessions whose tasks run.
    pub(crate) fn session_count(&self) -> usize {
        self.link.status().borrow().sessions
    }

    /// Tells the PoP to open no more sessions here.
    pub(crate) fn go_away(&self) {
        self.link.go_away();
    }

    /// Waits until no session is left, or the tunnel is over.
    pub(crate) async fn idle(&self) {
        self.wait(|status| status.sessions == 0 || status.closed.is_some())
            .await;
    }

    /// Lets the sessions end, for at most `patience`, then closes the tunnel and waits until
    /// nothing of it is left.
    pub(crate) async fn finish(self, patience: Duration) {
        // At the deadline the sessions that are left are ended by the close.
        let _ = timeout(patience, self.idle()).await;
        self.close().await;
    }

    /// Closes the tunnel now.
    pub(crate) async fn close(self) {
        self.link.close(CloseCode::GOING_AWAY, "");
        let deadline = Instant::now() + CLOSE_GRACE * 2;
        // The sessions' tasks notice the end of their targets' sockets; a lookup under way does
        // not keep anything of the runtime.
        let _ = timeout_at(deadline, self.wait(|status| status.sessions == 0)).await;
        let _ = timeout_at(deadline, self.task).await;
    }

    async fn wait(&self, reached: impl FnMut(&Status) -> bool) -> Status {
        let mut status = self.link.status();
        // The link, and with it the sender, lives as long as this tunnel.
        status
            .wait_for(reached)
            .await
            .map(|status| status.clone())
            .unwrap_or_default()
    }
}

/// The address that targets see is that of the tunnel's own socket, unless a router translates it
/// on the way: then the edge cannot know it. A PoP in a private network means a laboratory, where
/// nothing translates.
fn visible_address(stream: &Stream) -> Option<IpAddr> {
    let (local, pop) = (
        stream.local_addr().ok()?.ip(),
        stream.peer_addr().ok()?.ip(),
    );
    (is_public(local) || !is_public(pop)).then_some(local)
}
