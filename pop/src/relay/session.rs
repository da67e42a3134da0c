//! A session of bytes both ways: SOCKS5 and CONNECT.

use std::{net::SocketAddr, pin::pin};

use bytes::BytesMut;
use titan_proto::{control::ReplyMode, mux::Reset, reason::Reason};

use super::{
    down,
    end::{cut, fail},
    link::{Broken, Link},
    reply::success,
    up,
};
use crate::{
    mesh::Answer,
    net::{Either, join, race, timeout},
};

/// Carries a session whose OPEN is queued; `early` is what the client has sent already.
pub(super) async fn run(link: Link, answer: Answer, reply_mode: ReplyMode, early: BytesMut) {
    let (bound, early) = match reply_mode {
        // The client hears that it is connected at once; its bytes are already on their way.
        ReplyMode::Optimistic => (None, early),
        ReplyMode::Confirmed => match opened(&link, early).await {
            Ok(bound) => (Some(bound), BytesMut::new()),
            Err(broken) => return fail(link, answer, broken),
        },
    };
    let reply = success(answer, bound);
    let outcome = match link.client.send_all(&reply).await {
        Ok(()) => both_ways(&link, early).await,
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => {
            link.session.release();
            link.end_cleanly();
        }
        Err(broken) => cut(link, &broken),
    }
}

/// Sends what is here already and waits for the edge to connect.
pub(super) async fn opened(link: &Link, early: BytesMut) -> Result<SocketAddr, Broken> {
    let opened = pin!(async {
        up::send(link, early).await?;
        Ok(link.session.opened().await?)
    });
    match timeout(link.core.config.open_timeout(), opened).await {
        Ok(result) => result,
        Err(_) => Err(Broken::Session(Reset::new(Reason::TimedOut))),
    }
}

/// Relays both directions until both have ended.
async fn both_ways(link: &Link, early: BytesMut) -> Result<(), Broken> {
    let up = pin!(async {
        up::send(link, early).await?;
        up::run(link).await
    });
    let down = pin!(async {
        down::run(link).await?;
        link.client.shutdown_write();
        link.linger.start();
        Ok(())
    });
    let (half_open, unanswered) = (pin!(link.half_open()), pin!(unanswered(link)));
    let given_up = pin!(race(half_open, unanswered));
    match race(pin!(join(up, down)), given_up).await {
        Either::First(result) => result,
        Either::Second(Either::First(broken) | Either::Second(broken)) => Err(broken),
    }
}

/// Waits until the edge has had its time to connect and has not: a client that was told at once
/// must not wait for ever.
async fn unanswered(link: &Link) -> Broken {
    match timeout(link.core.config.open_timeout(), pin!(link.session.opened())).await {
        // The relay's two directions learn of the session's end by themselves.
        Ok(_) => std::future::pending().await,
        Err(_) => Broken::Session(Reset::new(Reason::TimedOut)),
    }
}
