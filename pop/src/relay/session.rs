//! A session of bytes both ways: SOCKS5 and CONNECT.

use std::{mem, net::SocketAddr, pin::pin};

use bytes::BytesMut;
use titan_proto::{control::ReplyMode, mux::Reset, reason::Reason};

use super::{
    down,
    end::broke,
    link::{Broken, Link},
    reply::success,
    up::{self, Early},
};
use crate::net::{Either, join, race, timeout};

/// Carries a session whose OPEN is queued.
pub(super) async fn run(link: Link, reply_mode: ReplyMode, early: Early) {
    let outcome = {
        let (carried, ended) = (
            pin!(carry(&link, reply_mode, early)),
            pin!(link.meter.ended()),
        );
        match race(carried, ended).await {
            Either::First(outcome) => outcome,
            Either::Second(reason) => Err(Broken::User(reason)),
        }
    };
    match outcome {
        Ok(()) => {
            link.session.release();
            link.end_cleanly();
        }
        Err(broken) => broke(link, broken),
    }
}

/// Answers the client, unless it was answered while another edge had the session, and relays.
async fn carry(link: &Link, reply_mode: ReplyMode, mut early: Early) -> Result<(), Broken> {
    if !link.told.get() {
        let bound = match reply_mode {
            // The client hears that it is connected at once; its bytes are already on their way.
            ReplyMode::Optimistic => None,
            ReplyMode::Confirmed => Some(opened(link, mem::take(&mut early.bytes)).await?),
        };
        link.client.send_all(&success(link.answer, bound)).await?;
        link.told.set(true);
    }
    both_ways(link, early).await
}

/// Sends what is here already and waits for the edge to connect.
pub(super) async fn opened(link: &Link, early: BytesMut) -> Result<SocketAddr, Broken> {
    let opened = pin!(async {
        up::send(link, early).await?;
        Ok(link.session.opened().await?)
    });
    match timeout(link.time_to_open(), opened).await {
        Ok(result) => result,
        Err(_) => Err(Broken::Session(Reset::new(Reason::TimedOut))),
    }
}

/// Relays both directions until both have ended.
async fn both_ways(link: &Link, early: Early) -> Result<(), Broken> {
    let up = pin!(up::run(link, early));
    let down = pin!(async {
        down::run(link).await?;
        link.note_answer();
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
pub(super) async fn unanswered(link: &Link) -> Broken {
    match timeout(link.time_to_open(), pin!(link.session.opened())).await {
        // The relay's two directions learn of the session's end by themselves.
        Ok(_) => std::future::pending().await,
        Err(_) => Broken::Session(Reset::new(Reason::TimedOut)),
    }
}
