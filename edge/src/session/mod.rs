//! The life of one session: resolve → policy → dial → relay both ways.
//!
//! ```text
//!   OPEN ──▶ resolve ──▶ policy ──▶ dial ──▶ accept ──▶ relay ──▶ both directions ended
//!               │           │        │                    │
//!               └───────────┴────────┴──── RESET ◀────────┘
//! ```
//!
//! DATA and FIN that arrive before the dial ends wait in the connection, bounded by the session's
//! window, and are the first that the relay finds. A RESET that arrives before it ends the dial.
//!
//! A UDP session has no dial: its datagrams each have a target of their own, see [`udp`].

mod catch;
mod relay;
mod udp;
mod whoami;

use std::{cell::RefCell, rc::Rc, sync::Arc};

use bytes::BytesMut;
use titan_proto::{
    addr::{Target, WHOAMI_HOST},
    mux::{Memory, OpenRequest, SessionKind},
    reason::Reason,
};
use tokio::net::TcpStream;

pub(crate) use whoami::Facts;

use crate::{
    dial::dial,
    link::{Gone, Session},
    metrics::Metrics,
    net::{self, Backend, Stream},
    policy::Policy,
    resolve::Resolver,
};

/// What the sessions of an edge share: the way out.
pub(crate) struct Egress {
    pub(crate) backend: Backend,
    pub(crate) policy: Policy,
    pub(crate) resolver: Resolver,
    pub(crate) metrics: Arc<Metrics>,
    /// What the sessions of all tunnels may hold, together.
    pub(crate) memory: Memory,
    /// What datagrams are received into, whosever they are; empty while nobody does.
    pub(crate) datagram_buffer: RefCell<BytesMut>,
}

/// Why a session did not end well.
enum Failure {
    /// It is over already: the peer or the tunnel ended it.
    Gone,
    /// We end it.
    Reason(Reason),
}

impl From<Gone> for Failure {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self::Reason(reason)
    }
}

/// Serves one session to its end, a panic included.
pub(crate) async fn run(
    session: Session,
    request: OpenRequest,
    egress: Rc<Egress>,
    facts: Rc<Facts>,
) {
    egress.metrics.sessions_opened.add(1);
    match catch::catch_panic(serve(&session, &request, &egress, &facts)).await {
        Ok(Ok(()) | Err(Failure::Gone)) => {}
        Ok(Err(Failure::Reason(reason))) => {
            tracing::debug!(target = %request.target, reason = reason.label(), "session failed");
            egress.metrics.count_failure(reason);
            session.reset_when_flushed(reason, "").await;
        }
        Err(panic) => {
            tracing::error!(panic, "a session's task panicked; the session is reset");
            egress.metrics.sessions_panicked.add(1);
            egress.metrics.count_failure(Reason::GeneralFailure);
            session.abandon(Reason::GeneralFailure);
        }
    }
}

async fn serve(
    session: &Session,
    request: &OpenRequest,
    egress: &Rc<Egress>,
    facts: &Facts,
) -> Result<(), Failure> {
    if request.kind == SessionKind::Udp {
        // In a box of its own: every session's task would have to have room for it.
        return Box::pin(udp::serve(session, egress)).await;
    }
    if is_whoami(&request.target) {
        return whoami::serve(session, facts).await;
    }
    let target = tokio::select! {
        biased;
        () = session.over() => return Err(Failure::Gone),
        connected = connect(&request.target, egress) => connected?,
    };
    let bound = target.local_addr().map_err(|error| net::reason(&error))?;
    let target = Stream::adopt(target, egress.backend).map_err(|error| net::reason(&error))?;
    session.accept(Some(&target), bound)?;
    egress.metrics.sessions_connected.add(1);
    // Until both directions have ended, the target must not take a close for an end.
    target.reset_on_close(true);
    relay::relay(session, &target, &egress.metrics).await?;
    target.reset_on_close(false);
    Ok(())
}

/// The policy comes after the name's resolution: a public name may stand for a private address.
async fn connect(target: &Target, egress: &Egress) -> Result<TcpStream, Reason> {
    let addresses = egress.resolver.resolve(target).await?;
    dial(egress.policy.filter(addresses)?).await
}

fn is_whoami(target: &Target) -> bool {
    let name = target.host.name().map(|name| name.as_str());
    name == Some(WHOAMI_HOST) && target.port == WHOAMI_PORT
}

/// `whoami` is plain HTTP: it says nothing that its asker may not know.
const WHOAMI_PORT: u16 = 80;
