//! Both ends of a tunnel, and the wire between them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use titan_proto::{
    addr::Target,
    mux::{Connection, OpenRequest, Payload, Received, SessionId, Settings, Side},
};

/// A tunnel that both ends have agreed on.
pub(crate) struct Tunnel {
    pop: Connection,
    edge: Connection,
    wire: Wire,
}

impl Tunnel {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let end = |side, seed| Connection::new(side, Settings::default(), [seed; 32], now);
        let wire = Wire {
            batch: Vec::new(),
            input: BytesMut::new(),
            now,
        };
        let mut tunnel = Self {
            pop: end(Side::Pop, 1),
            edge: end(Side::Edge, 2),
            wire,
        };
        tunnel.reach_edge();
        tunnel.reach_pop();
        tunnel
    }

    /// Opens a session that the edge accepts.
    pub(crate) fn open(&mut self, target: Target) -> Result<SessionId> {
        let id = self.pop.open(&OpenRequest::tcp(target))?;
        self.reach_edge();
        self.edge.accept(id, ([192, 0, 2, 1], 9).into());
        self.reach_pop();
        Ok(id)
    }

    /// Carries `len` bytes from the edge to the PoP.
    pub(crate) fn down(&mut self, id: SessionId, len: usize) -> Result<Bytes> {
        self.edge.send(id, payload(len))?;
        self.reach_pop();
        let bytes = receive(&mut self.pop, id)?;
        self.reach_edge();
        Ok(bytes)
    }

    /// Carries `len` bytes from the PoP to the edge.
    pub(crate) fn up(&mut self, id: SessionId, len: usize) -> Result<Bytes> {
        self.pop.send(id, payload(len))?;
        self.reach_edge();
        let bytes = receive(&mut self.edge, id)?;
        self.reach_pop();
        Ok(bytes)
    }

    /// Ends a session in both directions.
    pub(crate) fn end(&mut self, id: SessionId) {
        self.pop.finish(id);
        self.reach_edge();
        while self.edge.receive(id).is_some() {}
        self.edge.finish(id);
        self.reach_pop();
        while self.pop.receive(id).is_some() {}
    }

    /// Lets an interval pass: each end pings the other.
    pub(crate) fn heartbeat(&mut self) {
        self.wire.now += Duration::from_secs(15);
        self.pop.handle_timeout(self.wire.now);
        self.edge.handle_timeout(self.wire.now);
        self.reach_edge();
        self.reach_pop();
        self.reach_edge();
    }

    fn reach_edge(&mut self) {
        self.wire.carry(&mut self.pop, &mut self.edge);
    }

    fn reach_pop(&mut self) {
        self.wire.carry(&mut self.edge, &mut self.pop);
    }
}

/// The copy that stands for the kernel, into a buffer that is used again.
struct Wire {
    batch: Vec<Bytes>,
    input: BytesMut,
    now: Instant,
}

impl Wire {
    fn carry(&mut self, from: &mut Connection, to: &mut Connection) {
        while from.poll_event().is_some() {}
        from.poll_transmit(usize::MAX, &mut self.batch);
        for bytes in self.batch.drain(..) {
            self.input.put_slice(&bytes);
        }
        to.handle_input(&mut self.input, self.now)
            .expect("both ends speak the protocol");
        while to.poll_event().is_some() {}
    }
}

fn receive(end: &mut Connection, id: SessionId) -> Result<Bytes> {
    let Some(Received::Data(bytes)) = end.receive(id) else {
        anyhow::bail!("nothing has arrived");
    };
    end.consumed(id, bytes.len());
    Some(bytes)
        .filter(|bytes| !bytes.is_empty())
        .context("an empty piece")
}

fn payload(len: usize) -> Payload {
    let buffer = BytesMut::zeroed(Payload::HEADROOM + len);
    Payload::from_buffer(buffer)
}
