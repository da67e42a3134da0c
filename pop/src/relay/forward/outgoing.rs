//! Bytes on their way to the client: slices of the tunnel's read buffers, in few writes.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};

use super::{exchange::Exchange, failure::Failure};
use crate::limits::{CLIENT_WRITE_BATCH, WRITE_SLICES};

/// What is to be written next: heads, and content as it came.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    chunks: VecDeque<Bytes>,
    len: usize,
    /// Bytes at the front that are ours, not the session's.
    head: usize,
    /// Whether they belong to the final response.
    is_final: bool,
}

impl Outgoing {
    /// Adds a head behind which content may follow. Everything before it has been written.
    pub(super) fn push_head(&mut self, head: Bytes, is_final: bool) {
        (self.head, self.is_final) = (head.len(), is_final);
        self.push(head);
    }

    /// Adds content.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.chunks.push_back(bytes);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Bytes that one write would still take.
    pub(super) fn room(&self, quantum: Option<usize>) -> usize {
        let most = quantum.unwrap_or(CLIENT_WRITE_BATCH);
        match self.chunks.len() < WRITE_SLICES {
            true => most.saturating_sub(self.len),
            false => 0,
        }
    }

    /// Writes everything, waiting for the client as often as it takes.
    pub(super) async fn flush(&mut self, exchange: &Exchange<'_>) -> Result<(), Failure> {
        let mut is_compact = false;
        while !self.is_empty() {
            self.write(exchange)?;
            if self.is_empty() {
                break;
            }
            if !is_compact {
                self.compact(exchange);
                is_compact = true;
            }
            exchange.socket.writable().await?;
        }
        Ok(())
    }

    /// Writes what the client takes now.
    fn write(&mut self, exchange: &Exchange<'_>) -> Result<(), Failure> {
        let sent = {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let chunks = slices.iter_mut().zip(&self.chunks);
            let used = chunks
                .map(|(slice, chunk)| *slice = IoSlice::new(chunk))
                .count();
            exchange
                .socket
                .try_send(slices.get(..used).unwrap_or_default())?
        };
        self.advance(sent);
        let head = self.head.min(sent);
        self.head -= head;
        exchange.session.consumed(sent - head);
        exchange.count_down(sent);
        if sent > 0 {
            exchange.linger.moved();
            let is_answered = self.is_final || !self.is_empty();
            exchange.note(|milestones| milestones.is_answered = is_answered);
        }
        Ok(())
    }

    fn advance(&mut self, mut sent: usize) {
        self.len -= sent;
        while let Some(front) = self.chunks.front_mut() {
            if sent < front.len() {
                return front.advance(sent);
            }
            sent -= front.len();
            self.chunks.pop_front();
        }
    }

    /// Copies what has to wait out of the buffers it came in, here and in the mux: a client that
    /// does not read pins what it is owed and no more.
    fn compact(&mut self, exchange: &Exchange<'_>) {
        let mut whole = BytesMut::with_capacity(self.len);
        self.chunks
            .drain(..)
            .for_each(|chunk| whole.extend_from_slice(&chunk));
        self.chunks.push_back(whole.freeze());
        exchange.session.put_back(Bytes::new());
    }
}
