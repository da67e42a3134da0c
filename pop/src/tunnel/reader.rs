//! The task that reads a tunnel: bytes from its socket into the mux, and on to the sessions.

use std::{io, rc::Rc, time::Instant};

use bytes::BytesMut;
use titan_proto::read_size::ReadSize;

use super::{Tunnel, link::Retirement};
use crate::{
    limits::{READ_BURST, TUNNEL_READ_MAX, TUNNEL_READ_MIN},
    net::Received,
};

/// Reads until the end of the connection. `early` came before the task did.
pub(super) async fn run(tunnel: Rc<Tunnel>, early: BytesMut) {
    let guard = Retirement(Rc::clone(&tunnel));
    let mut reader = Reader {
        tunnel: &tunnel,
        size: ReadSize::new(TUNNEL_READ_MIN, TUNNEL_READ_MAX),
        rest: BytesMut::new(),
    };
    reader.take_in(early);
    while tunnel.socket.readable().await.is_ok() {
        if !matches!(reader.burst(), Ok(true)) {
            break;
        }
    }
    drop(reader);
    tunnel.with(|conn| conn.handle_eof());
    tunnel.reader_done.notify();
    drop(guard);
}

struct Reader<'a> {
    tunnel: &'a Tunnel,
    size: ReadSize,
    /// The start of a header or of a control frame, at most some 150 bytes: an idle tunnel owns no
    /// read buffer.
    rest: BytesMut,
}

impl Reader<'_> {
    /// Takes what the socket has, within bounds; `false` at its end.
    fn burst(&mut self) -> io::Result<bool> {
        for _ in 0..READ_BURST {
            let asked = self.size.get();
            let mut buffer = self.tunnel.core().pool.take(self.rest.len() + asked);
            buffer.extend_from_slice(&self.rest);
            match self.tunnel.socket.try_recv(&mut buffer, asked)? {
                Received::Bytes(received) => {
                    self.size.note(asked, received);
                    self.take_in(buffer);
                    if received < asked {
                        return Ok(true);
                    }
                }
                Received::Nothing => {
                    self.tunnel.core().pool.give(buffer);
                    return Ok(true);
                }
                Received::End => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Feeds the mux and keeps what it cannot use yet.
    fn take_in(&mut self, mut buffer: BytesMut) {
        // A violation is no error here: the mux is over and its close frame is the writer's.
        let now = Instant::now();
        let _violation = self.tunnel.with(|conn| conn.handle_input(&mut buffer, now));
        self.rest.clear();
        self.rest.extend_from_slice(&buffer);
        self.tunnel.core().pool.give(buffer);
    }
}
