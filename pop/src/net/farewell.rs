//! How a connection is ended so that its peer gets the last words.

use std::pin::pin;

use bytes::BytesMut;

use super::{
    socket::{Received, Socket},
    timer::timeout,
};
use crate::limits::{FAREWELL_DISCARD, FAREWELL_TIMEOUT};

/// Sends `last_words` and closes once the peer has closed too, within bounds of time and bytes.
///
/// Closing a socket that holds unread bytes makes the kernel reset the connection, and a reset
/// overtakes what was sent: so the peer's bytes are read and thrown away first.
pub async fn farewell(socket: Socket, last_words: &[u8]) {
    let goodbye = pin!(async {
        if socket.send_all(last_words).await.is_ok() {
            socket.shutdown_write();
            discard(&socket).await;
        }
    });
    let _ = timeout(FAREWELL_TIMEOUT, goodbye).await;
}

async fn discard(socket: &Socket) {
    let mut scratch = BytesMut::with_capacity(SCRATCH);
    let mut left = FAREWELL_DISCARD;
    while left > 0 && socket.readable().await.is_ok() {
        scratch.clear();
        match socket.try_recv(&mut scratch, SCRATCH) {
            Ok(Received::Bytes(n)) => left = left.saturating_sub(n),
            Ok(Received::Nothing) => {}
            Ok(Received::End) | Err(_) => return,
        }
    }
}

const SCRATCH: usize = 4 * 1024;
