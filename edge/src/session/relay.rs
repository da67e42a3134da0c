//! Bytes both ways between a session and its target's socket.
//!
//! Each direction ends by itself: a half-close goes on to the other side, and the session is over
//! when both have ended. Neither direction is ever dropped while it waits for the socket: who ends
//! the session early resets the socket, and both directions notice.

use std::{io, ops::ControlFlow};

use bytes::{BufMut, BytesMut};
use titan_proto::{mux::Payload, read_size::ReadSize, reason::Reason};

use super::Failure;
use crate::{
    limits::{COPY_BELOW_SHARE, MAX_TARGET_READ, MAX_TARGET_WRITE, MIN_READ, READ_BURST},
    link::Session,
    metrics::Metrics,
    net::{self, Stream},
};

/// Relays until both directions have ended, or one of them failed.
pub(super) async fn relay(
    session: &Session,
    target: &Stream,
    metrics: &Metrics,
) -> Result<(), Failure> {
    let to_target = async {
        let result = to_target(session, target, metrics).await;
        // A target that refuses our bytes may have answered before: that is still read, to the end.
        if let Err(Failure::Gone) = result {
            target.reset();
        }
        result
    };
    let to_client = async {
        let result = to_client(session, target, metrics).await;
        if result.is_err() {
            target.reset();
            session.stop();
        }
        result
    };
    let (sent, answered) = tokio::join!(to_target, to_client);
    answered.and(sent)
}

async fn to_target(session: &Session, target: &Stream, metrics: &Metrics) -> Result<(), Failure> {
    let mut batch = Vec::new();
    loop {
        let (bytes, end) = session.receive(MAX_TARGET_WRITE, &mut batch).await?;
        target
            .write_all(&mut batch)
            .await
            .map_err(|error| broken(session, &error))?;
        session.consumed(bytes);
        metrics.bytes_to_targets.add(bytes as u64);
        if end {
            return target
                .shutdown_write()
                .map_err(|error| broken(session, &error));
        }
    }
}

async fn to_client(session: &Session, target: &Stream, metrics: &Metrics) -> Result<(), Failure> {
    let mut size = ReadSize::new(MIN_READ, MAX_TARGET_READ);
    loop {
        // Nothing is read that could not be sent, and no buffer is owned while there is nothing.
        session.capacity().await?;
        let ready = target.readable().await;
        ready.map_err(|error| broken(session, &error))?;
        if burst(session, target, metrics, &mut size)?.is_break() {
            return Ok(());
        }
    }
}

/// Relays what the target has sent, within bounds; breaks at its end.
fn burst(
    session: &Session,
    target: &Stream,
    metrics: &Metrics,
    size: &mut ReadSize,
) -> Result<ControlFlow<()>, Failure> {
    let mut spare = BytesMut::new();
    for _ in 0..READ_BURST {
        let asked = session.capacity_now()?.min(size.get());
        if asked == 0 {
            break;
        }
        let (result, buf) = target.read_now(with_headroom(spare, asked), asked);
        let read = match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            result => result.map_err(|error| broken(session, &error))?,
        };
        if read == 0 {
            session.finish();
            return Ok(ControlFlow::Break(()));
        }
        metrics.bytes_from_targets.add(read as u64);
        size.note(asked, read);
        let (payload, left) = into_payload(buf);
        spare = left;
        session.send_now(payload)?;
        if read < asked {
            break;
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// A buffer for one read with room for the tunnel's headers in front, `spare` if it is one.
fn with_headroom(spare: BytesMut, max: usize) -> BytesMut {
    let needed = Payload::HEADROOM + max;
    let mut buf = if spare.capacity() >= needed {
        spare
    } else {
        BytesMut::with_capacity(needed)
    };
    buf.clear();
    buf.put_bytes(0, Payload::HEADROOM);
    buf
}

/// What was read as a payload. Bulk data goes on in the buffer it was read into; a few bytes are
/// copied out of theirs, which then serves the next read.
fn into_payload(buf: BytesMut) -> (Payload, BytesMut) {
    if buf.len() < buf.capacity() / COPY_BELOW_SHARE {
        let payload = buf.get(Payload::HEADROOM..).unwrap_or_default();
        return (Payload::copy_from(payload), buf);
    }
    (Payload::from_buffer(buf), BytesMut::new())
}

/// Why the target's socket failed: our own reset of it, at the end of the session, is no failure.
fn broken(session: &Session, error: &io::Error) -> Failure {
    if session.is_over() {
        return Failure::Gone;
    }
    match net::reason(error) {
        // The system's own way to say that a connection has ended early.
        Reason::GeneralFailure if error.kind() == io::ErrorKind::NotConnected => {
            Failure::Reason(Reason::TargetReset)
        }
        reason => Failure::Reason(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_read_leaves_its_buffer_for_the_next() {
        let mut buf = with_headroom(BytesMut::new(), 4096);
        buf.put_slice(b"talk");
        let (payload, spare) = into_payload(buf);
        assert_eq!(payload.as_slice(), b"talk");
        let pointer = spare.as_ptr();
        let next = with_headroom(spare, 4096);
        assert_eq!((next.as_ptr(), next.len()), (pointer, Payload::HEADROOM));
    }

    #[test]
    fn a_large_read_goes_on_in_its_buffer() {
        let mut buf = with_headroom(BytesMut::new(), 4096);
        buf.put_bytes(7, 4096);
        let pointer = buf[Payload::HEADROOM..].as_ptr();
        let (payload, spare) = into_payload(buf);
        assert_eq!(payload.as_slice().as_ptr(), pointer);
        assert_eq!(spare.capacity(), 0);
    }
}
