//! A client's socket and what it has said that nobody has understood yet.

use std::net::IpAddr;

use bytes::BytesMut;

use super::Refused;
use crate::{
    limits::{CLIENT_HANDSHAKE_BYTES, HANDSHAKE_READ},
    metrics::ClientClose,
    net::{Received, Socket},
};

/// A client during its handshake.
#[derive(Debug)]
pub(super) struct Conversation {
    socket: Socket,
    /// Where the client is.
    pub(super) peer: IpAddr,
    /// What has arrived and is not consumed; the bytes behind the handshake are early data.
    pub(super) input: BytesMut,
    received: usize,
}

impl Conversation {
    pub(super) fn new(socket: Socket, peer: IpAddr) -> Self {
        Self {
            socket,
            peer,
            input: BytesMut::new(),
            received: 0,
        }
    }

    /// The first byte, which stays in `input`.
    pub(super) async fn first_byte(&mut self) -> Result<u8, Refused> {
        loop {
            if let Some(&first) = self.input.first() {
                return Ok(first);
            }
            self.read_more().await?;
        }
    }

    /// Waits for more bytes, of which a client gets only so many before its request is complete.
    pub(super) async fn read_more(&mut self) -> Result<(), Refused> {
        if self.received >= CLIENT_HANDSHAKE_BYTES {
            return Err(Refused::silently(ClientClose::TooLong));
        }
        self.input.reserve(HANDSHAKE_READ);
        loop {
            match self.socket.try_recv(&mut self.input, HANDSHAKE_READ) {
                Ok(Received::Bytes(n)) => {
                    self.received += n;
                    return Ok(());
                }
                Ok(Received::Nothing) if self.socket.readable().await.is_ok() => {}
                _ => return Err(Refused::silently(ClientClose::Gone)),
            }
        }
    }

    /// Says something and goes on.
    pub(super) async fn say(&self, bytes: &[u8]) -> Result<(), Refused> {
        let sent = self.socket.send_all(bytes).await;
        sent.map_err(|_| Refused::silently(ClientClose::Gone))
    }

    /// The socket and what has been read from it.
    pub(super) fn into_parts(self) -> (Socket, BytesMut) {
        (self.socket, self.input)
    }

    /// The socket, for the session or for the last words.
    pub(super) fn into_socket(self) -> Socket {
        self.socket
    }
}
