//! One plain HTTP request over one connection: the request's body up, the response down, the end.
//!
//! Nothing behind the body is passed on: it would be a second request, which may be for another
//! host (RFC 9112 §9.3.2 has pipelining), sent to the first one with whatever secrets it carries.

use std::future::pending;

use bytes::BytesMut;
use titan_proto::reason::Reason;

use super::{
    down,
    link::{Broken, Link},
    up::Up,
};
use crate::{
    limits::{FORWARD_SURPLUS, HANDSHAKE_READ},
    net::{Either, Received, race},
};

/// Relays until the response is complete. The direction to the target stays open meanwhile: an
/// origin server may take its end for the client's departure.
pub(super) async fn run(link: &Link, body_left: u64) -> Result<(), Broken> {
    match race(request(link, body_left), down::run(link)).await {
        Either::First(Err(broken)) | Either::Second(Err(broken)) => return Err(broken),
        Either::First(Ok(never)) => match never {},
        Either::Second(Ok(())) => {}
    }
    if !link.answered.get() {
        return Err(Broken::Session(titan_proto::mux::Reset::new(
            Reason::TargetReset,
        )));
    }
    link.session.finish();
    link.client.shutdown_write();
    Ok(())
}

/// Sends the rest of the body, then watches for the client's departure.
async fn request(link: &Link, body_left: u64) -> Result<std::convert::Infallible, Broken> {
    let missing = Up::new(link, body_left).relay().await?;
    if missing > 0 {
        return Err(Broken::Client(std::io::ErrorKind::UnexpectedEof.into()));
    }
    let mut scratch = BytesMut::with_capacity(HANDSHAKE_READ);
    let mut surplus = 0;
    while surplus < FORWARD_SURPLUS {
        link.client.readable().await?;
        scratch.clear();
        match link.client.try_recv(&mut scratch, HANDSHAKE_READ)? {
            Received::Bytes(n) => surplus += n,
            Received::Nothing => {}
            // A client that has said all it had to say may still listen.
            Received::End => break,
        }
    }
    pending().await
}
