//! A UDP association: datagrams between a client and any number of targets.
//!
//! ```text
//!   tunnel ──▶ name? ──▶ policy ──▶ socket of the family ──▶ target
//!   tunnel ◀────────── policy ◀──── socket of the family ◀── any address (full cone)
//! ```
//!
//! Nothing waits for anybody: a datagram that cannot go on at once is dropped and counted, but for
//! a bounded number that wait for their target's name. Large socket buffers and bursts in either
//! direction keep that from happening on a machine that is merely busy.

mod names;
mod sockets;

use std::{io, net::SocketAddr, rc::Rc};

use bytes::{BufMut, Bytes, BytesMut};
use titan_proto::{
    addr::{Host, Target},
    mux::{Datagram, DatagramError, DatagramPayload, Received},
    reason::Reason,
};
use tokio::{net::UdpSocket, task::yield_now};

use self::{
    names::{Found, Names, Way},
    sockets::Sockets,
};
use super::{Egress, Failure};
use crate::{
    limits::{COPY_BELOW_SHARE, DATAGRAM_BURST, DATAGRAM_ROOM},
    link::{Gone, Session},
    metrics::DatagramDrop,
    net,
};

/// Serves an association until the client ends it.
pub(super) async fn serve(session: &Session, egress: &Rc<Egress>) -> Result<(), Failure> {
    let sockets = Sockets::open().map_err(|error| net::reason(&error))?;
    let bound = sockets.bound().map_err(|error| net::reason(&error))?;
    session.accept(None, bound)?;
    egress.metrics.sessions_connected.add(1);
    let mut association = Association {
        session,
        egress,
        names: Names::default(),
    };
    let ended = association.run(&sockets).await;
    association.count_unread();
    ended
}

struct Association<'a> {
    session: &'a Session,
    egress: &'a Rc<Egress>,
    names: Names,
}

/// What a burst from the tunnel left behind it.
enum Rest {
    /// Nothing: the next datagram will be announced.
    Nothing,
    /// Perhaps more.
    More,
    /// The client has ended the association.
    End,
}

impl Association<'_> {
    async fn run(&mut self, sockets: &Sockets) -> Result<(), Failure> {
        let mut rest = Rest::Nothing;
        loop {
            tokio::select! {
                due = due(self.session, &rest) => {
                    due?;
                    rest = self.send_out(sockets);
                    if matches!(rest, Rest::End) {
                        self.session.finish();
                        return Ok(());
                    }
                }
                socket = sockets.readable() => {
                    let socket = socket.map_err(|error| net::reason(&error))?;
                    if self.bring_in(socket) {
                        // A target that sends without end must not keep the thread to itself.
                        yield_now().await;
                    }
                }
                found = self.names.found() => self.release(found, sockets),
            }
        }
    }

    fn send_out(&mut self, sockets: &Sockets) -> Rest {
        for _ in 0..DATAGRAM_BURST {
            match self.session.receive_datagram() {
                Some(Received::Data(datagram)) => self.route(datagram, sockets),
                Some(Received::End) => return Rest::End,
                None => {
                    self.count_unread();
                    return Rest::Nothing;
                }
            }
        }
        Rest::More
    }

    fn route(&mut self, datagram: Datagram, sockets: &Sockets) {
        let Datagram { address, data } = datagram;
        let port = address.port;
        match address.host {
            Host::V4(ip) => self.send((ip, port).into(), &data, sockets),
            Host::V6(ip) => self.send((ip, port).into(), &data, sockets),
            Host::Name(name) => match self.names.way(name, port, &data, self.egress) {
                Way::To(ip) => self.send((ip, port).into(), &data, sockets),
                Way::Later => {}
                Way::Nowhere(drop) => self.count(drop),
            },
        }
    }

    /// A look-up has ended: its answer is kept, and what waited for it goes on in order.
    fn release(&mut self, found: Found, sockets: &Sockets) {
        let addresses = found
            .addresses
            .and_then(|all| self.egress.policy.filter(all));
        let chosen = match addresses {
            Ok(addresses) => addresses
                .iter()
                .map(SocketAddr::ip)
                .find(|ip| sockets.serves(*ip))
                .ok_or(DatagramDrop::Unsendable),
            Err(Reason::DeniedByPolicy) => Err(DatagramDrop::Policy),
            Err(_) => Err(DatagramDrop::Unresolved),
        };
        for (port, data) in self.names.learn(found.name, chosen) {
            match chosen {
                Ok(ip) => self.send((ip, port).into(), &data, sockets),
                Err(drop) => self.count(drop),
            }
        }
    }

    fn send(&self, target: SocketAddr, data: &Bytes, sockets: &Sockets) {
        // An IPv4 address in IPv6's clothes is reached by IPv4, and judged as such.
        let target = SocketAddr::new(target.ip().to_canonical(), target.port());
        let sent = if self.egress.policy.allows(target.ip()) {
            sockets.send(target, data)
        } else {
            Err(DatagramDrop::Policy)
        };
        match sent {
            Ok(()) => {
                let metrics = &self.egress.metrics;
                metrics.datagrams_to_targets.add(1);
                metrics.bytes_to_targets.add(data.len() as u64);
            }
            Err(drop) => self.count(drop),
        }
    }

    /// Passes on what a socket has, within bounds; `true` if there may be more.
    fn bring_in(&self, socket: &UdpSocket) -> bool {
        // One buffer for the thread: an idle association owns none.
        let mut buffer = self.egress.datagram_buffer.take();
        let mut taken = 0;
        while taken < DATAGRAM_BURST {
            make_room(&mut buffer);
            match socket.try_recv_buf_from(&mut (&mut buffer).limit(DATAGRAM_ROOM)) {
                Ok((_, source)) => self.pass_on(source, &mut buffer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // About a datagram sent before, which is lost as any may be.
                Err(_) => self.count(DatagramDrop::Unsendable),
            }
            taken += 1;
        }
        self.egress.datagram_buffer.replace(buffer);
        taken == DATAGRAM_BURST
    }

    /// Sends what lies in the buffer behind its headroom to the client.
    fn pass_on(&self, source: SocketAddr, buffer: &mut BytesMut) {
        // Nobody in the network of the edge's owner speaks to a client, just as it speaks to nobody.
        if !self.egress.policy.allows(source.ip()) {
            return self.count(DatagramDrop::Policy);
        }
        let data = buffer.get(DatagramPayload::HEADROOM..).unwrap_or_default();
        let len = data.len();
        let address = Target::from(source);
        // A large datagram goes on in the buffer it was read into, as bulk data does.
        let payload = if len < DATAGRAM_ROOM / COPY_BELOW_SHARE {
            DatagramPayload::copy_from(&address, data)
        } else {
            let whole = std::mem::take(buffer);
            DatagramPayload::from_buffer(&address, whole, DatagramPayload::HEADROOM)
        };
        match payload.and_then(|payload| self.session.send_datagram(payload)) {
            Ok(()) => {
                let metrics = &self.egress.metrics;
                metrics.datagrams_from_targets.add(1);
                metrics.bytes_from_targets.add(len as u64);
            }
            Err(DatagramError::BufferFull) => self.count(DatagramDrop::BufferFull),
            Err(DatagramError::TooLong) => self.count(DatagramDrop::TooLong),
            // It is over, which the next wait finds out.
            Err(DatagramError::NoSession) => {}
        }
    }

    fn count(&self, drop: DatagramDrop) {
        self.egress.metrics.count_drops(drop, 1);
    }

    fn count_unread(&self) {
        let unread = self.session.take_unread();
        self.egress
            .metrics
            .count_drops(DatagramDrop::Unread, unread);
    }
}

/// Waits until the tunnel may have something; after a burst that left something, only until others
/// have had their turn.
async fn due(session: &Session, rest: &Rest) -> Result<(), Gone> {
    match rest {
        Rest::More if session.is_over() => Err(Gone),
        Rest::More => {
            yield_now().await;
            Ok(())
        }
        Rest::Nothing | Rest::End => session.readable().await,
    }
}

/// Empties the buffer but for the headroom, with room for the longest datagram behind it.
fn make_room(buffer: &mut BytesMut) {
    buffer.clear();
    buffer.reserve(DatagramPayload::HEADROOM + DATAGRAM_ROOM);
    buffer.put_bytes(0, DatagramPayload::HEADROOM);
}
