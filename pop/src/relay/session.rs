//! One session, from its OPEN to its end.

use std::{cell::Cell, future::Future, net::SocketAddr, rc::Rc};

use bytes::BytesMut;
use titan_proto::{control::ReplyMode, mux::Reset, reason::Reason};

use super::{
    down, forward,
    linger::Linger,
    link::{Broken, Link},
    reply::{refuse, success},
    up,
};
use crate::{
    limits::OPEN_TIMEOUT,
    mesh::{Answer, Order},
    metrics::Held,
    net::{Either, Socket, farewell, join, race, timeout},
    tunnel::{Core, Session},
};

/// Carries a session whose OPEN is queued.
pub(super) async fn run(core: Rc<Core>, client: Socket, order: Order, session: Session) {
    core.metrics.sessions_opened.inc();
    let _active = Held::new(&core.metrics, |metrics| &metrics.sessions_active);
    let linger = Linger::new(core.config.linger());
    let link = Link {
        core,
        client,
        session,
        linger,
        answered: Cell::new(false),
    };
    tracing::debug!(user = %order.user, target = %order.target, "session");
    let Order {
        answer,
        reply_mode,
        early,
        ..
    } = order;
    match answer {
        Answer::HttpForward { body_left, .. } => {
            let outcome = forwarded(&link, early, body_left).await;
            end_forwarded(link, answer, outcome).await;
        }
        Answer::Socks5 | Answer::HttpConnect => match reply_mode {
            ReplyMode::Optimistic => {
                let outcome = optimistic(&link, answer, early).await;
                end(link, outcome);
            }
            ReplyMode::Confirmed => match confirmed(&link, answer, early).await {
                Ok(()) => {
                    let outcome = both_ways(&link, pass()).await;
                    end(link, outcome);
                }
                Err(broken) => fail(link, answer, broken).await,
            },
        },
    }
}

/// Tells the client at once that it is connected; its bytes are already on their way.
async fn optimistic(link: &Link, answer: Answer, early: BytesMut) -> Result<(), Broken> {
    link.client.send_all(&success(answer, None)).await?;
    both_ways(link, up::send(link, early)).await
}

/// Tells the client when the edge has connected.
async fn confirmed(link: &Link, answer: Answer, early: BytesMut) -> Result<(), Broken> {
    let bound = opened(link, early).await?;
    link.client.send_all(&success(answer, Some(bound))).await?;
    Ok(())
}

async fn forwarded(link: &Link, early: BytesMut, body_left: u64) -> Result<(), Broken> {
    opened(link, early).await?;
    forward::run(link, body_left).await
}

/// Sends what is here already and waits for the edge to connect.
async fn opened(link: &Link, early: BytesMut) -> Result<SocketAddr, Broken> {
    let opened = async {
        up::send(link, early).await?;
        Ok(link.session.opened().await?)
    };
    match timeout(OPEN_TIMEOUT, opened).await {
        Ok(result) => result,
        Err(_) => Err(Broken::Session(Reset::new(Reason::TimedOut))),
    }
}

/// Relays both directions until both have ended; `first` comes before anything else to the target.
async fn both_ways(
    link: &Link,
    first: impl Future<Output = Result<(), Broken>>,
) -> Result<(), Broken> {
    let up = async {
        first.await?;
        up::run(link).await
    };
    let down = async {
        down::run(link).await?;
        link.client.shutdown_write();
        link.linger.start();
        Ok(())
    };
    match race(join(up, down), link.linger.expired()).await {
        Either::First(result) => result,
        Either::Second(()) => Err(Broken::Idle),
    }
}

async fn pass() -> Result<(), Broken> {
    Ok(())
}

/// Ends a session whose client was told that it is connected: cleanly only if both directions
/// ended, else with a reset, so that a cut stream is never taken for a whole one.
fn end(link: Link, outcome: Result<(), Broken>) {
    match outcome {
        Ok(()) => link.session.release(),
        Err(broken) => {
            account(&link, &broken);
            link.client.reset();
        }
    }
}

/// Ends a session whose client waits for an answer: it gets the true one.
async fn fail(link: Link, answer: Answer, broken: Broken) {
    account(&link, &broken);
    match broken {
        Broken::Session(Reset { reason, text }) => {
            let Link {
                client, session, ..
            } = link;
            drop(session);
            refuse(client, answer, reason, text).await;
        }
        Broken::Client(_) | Broken::Idle => {}
    }
}

async fn end_forwarded(link: Link, answer: Answer, outcome: Result<(), Broken>) {
    match outcome {
        Ok(()) => {
            link.session.release();
            // The client may have sent a next request; unread, it would cut the response off.
            farewell(link.client, &[]).await;
        }
        Err(broken) if link.answered.get() => end(link, Err(broken)),
        Err(broken) => fail(link, answer, broken).await,
    }
}

/// Counts a failure and ends the session on the tunnel's side.
fn account(link: &Link, broken: &Broken) {
    let reason = match broken {
        Broken::Client(_) => Reason::ClientGone,
        Broken::Session(reset) => reset.reason,
        Broken::Idle => Reason::Idle,
    };
    link.core.metrics.sessions_failed.inc(reason);
    link.session.reset(reason);
    tracing::debug!(%broken, "session failed");
}
