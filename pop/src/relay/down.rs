//! Target to client: slices of the tunnel's read buffers, gathered into few writes.

use std::io::IoSlice;

use bytes::{Buf, Bytes};
use titan_proto::mux::Received;

use super::link::{Broken, Link};
use crate::limits::{CLIENT_WRITE_BATCH, WRITE_SLICES};

/// Relays until the target has ended its direction and the client's socket has everything. The
/// socket stays open: how it is closed depends on what was relayed.
pub(super) async fn run(link: &Link) -> Result<(), Broken> {
    let mut ended = false;
    while !ended {
        link.meter.check()?;
        // Until its turn comes, what the client is owed stays in the session's window.
        link.meter.down().turn().await;
        let mut batch = Batch::gather(link);
        ended = batch.ended;
        if batch.is_empty() && !ended {
            link.session.readable().await?;
            continue;
        }
        while !batch.write(link)? {
            // What waits for the client waits in the mux, which keeps it small. Behind the end
            // the mux has forgotten the session, so the rest stays here.
            if !ended {
                batch.put_back(link);
            }
            link.client.writable().await?;
            if !ended {
                break;
            }
        }
    }
    Ok(())
}

/// Bytes for one write.
struct Batch {
    chunks: Vec<Bytes>,
    first: usize,
    ended: bool,
}

impl Batch {
    /// Takes what the session has, within bounds.
    fn gather(link: &Link) -> Self {
        let mut batch = Self {
            chunks: Vec::new(),
            first: 0,
            ended: false,
        };
        let quantum = link.meter.down().quantum();
        let mut room = quantum.unwrap_or(CLIENT_WRITE_BATCH);
        while room > 0 && batch.chunks.len() < WRITE_SLICES {
            match link.session.receive() {
                Some(Received::Data(mut bytes)) => {
                    if quantum.is_some() && bytes.len() > room {
                        link.session.put_back(bytes.split_off(room));
                    }
                    room = room.saturating_sub(bytes.len());
                    batch.chunks.push(bytes);
                }
                Some(Received::End) => {
                    batch.ended = true;
                    break;
                }
                None => break,
            }
        }
        batch
    }

    fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// Writes what the client takes now; `true` when that was all.
    fn write(&mut self, link: &Link) -> Result<bool, Broken> {
        if self.is_empty() {
            return Ok(true);
        }
        let sent = {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let used = slices
                .iter_mut()
                .zip(self.rest())
                .map(|(s, b)| *s = IoSlice::new(b))
                .count();
            link.client
                .try_send(slices.get(..used).unwrap_or_default())?
        };
        if sent > 0 {
            link.note_answer();
            link.linger.moved();
            link.meter.moved_down(sent);
            link.session.consumed(sent);
        }
        self.advance(sent);
        Ok(self.is_empty())
    }

    fn advance(&mut self, mut sent: usize) {
        while let Some(chunk) = self.chunks.get_mut(self.first) {
            if sent < chunk.len() {
                chunk.advance(sent);
                return;
            }
            sent -= chunk.len();
            *chunk = Bytes::new();
            self.first += 1;
        }
    }

    /// Gives the rest back to the session, in order.
    fn put_back(&mut self, link: &Link) {
        for chunk in self.chunks.drain(self.first..).rev() {
            link.session.put_back(chunk);
        }
    }

    fn rest(&self) -> &[Bytes] {
        self.chunks.get(self.first..).unwrap_or_default()
    }
}
