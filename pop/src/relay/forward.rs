//! One plain HTTP request over one connection: the request's body up, the response down, the end.
//!
//! Nothing behind the body is passed on: it would be a second request, which may be for another
//! host (RFC 9112 §9.3.2 has pipelining), sent to the first one with whatever secrets it carries.

use std::{convert::Infallible, future::pending, io, pin::pin};

use bytes::BytesMut;
use titan_proto::{mux::Reset, reason::Reason};

use super::{
    down,
    end::broke,
    link::{Broken, Link},
    session::opened,
    up::Up,
};
use crate::{
    limits::{FORWARD_SURPLUS, HANDSHAKE_READ},
    net::{Either, Received, farewell, race},
};

/// Carries a request whose OPEN is queued; `early` is its head and the start of its body. Until
/// the first byte of the response, whatever fails is answered in its place.
pub(super) async fn run(link: Link, body_left: u64, early: BytesMut) {
    let outcome = match opened(&link, early).await {
        Ok(_) => exchange(&link, body_left).await,
        Err(broken) => Err(broken),
    };
    match outcome {
        Ok(()) => {
            link.session.release();
            link.end_cleanly();
            // The client may have sent a next request; unread, it would cut the response off.
            farewell(link.client, &[]).await;
        }
        Err(broken) => broke(link, broken),
    }
}

/// Relays until the response is complete. The direction to the target stays open meanwhile: an
/// origin server may take its end for the client's departure.
async fn exchange(link: &Link, body_left: u64) -> Result<(), Broken> {
    let (request, response) = (pin!(request(link, body_left)), pin!(down::run(link)));
    let exchange = pin!(race(request, response));
    match race(exchange, pin!(link.half_open())).await {
        Either::First(Either::First(Err(broken)) | Either::Second(Err(broken)))
        | Either::Second(broken) => return Err(broken),
        Either::First(Either::First(Ok(never))) => match never {},
        Either::First(Either::Second(Ok(()))) => {}
    }
    if !link.answered.get() {
        return Err(Broken::Session(Reset::new(Reason::TargetReset)));
    }
    link.session.finish();
    Ok(())
}

/// Sends the rest of the body, then watches for the client's departure.
async fn request(link: &Link, body_left: u64) -> Result<Infallible, Broken> {
    let missing = Up::new(link, body_left).relay().await?;
    if missing > 0 {
        return Err(Broken::Client(io::ErrorKind::UnexpectedEof.into()));
    }
    let mut scratch = BytesMut::with_capacity(HANDSHAKE_READ);
    let mut surplus = 0;
    while surplus < FORWARD_SURPLUS {
        link.client.readable().await?;
        scratch.clear();
        match link.client.try_recv(&mut scratch, HANDSHAKE_READ)? {
            Received::Bytes(n) => surplus += n,
            Received::Nothing => {}
            // A client that has said all it had to say may still listen, for as long as it hears
            // something.
            Received::End => break,
        }
    }
    link.linger.start();
    pending().await
}
