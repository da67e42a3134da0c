//! A UDP association (RFC 1928 §7): datagrams between a client and any number of targets.
//!
//! ```text
//!   client's TCP connection ──────────── its end ends the association ─────────────┐
//!   client ──UDP──▶ from the client? ─▶ header ─▶ DATAGRAM frame ─▶ tunnel ─▶ edge │
//!   client ◀──UDP── header with the source's address ◀── DATAGRAM frame ◀── tunnel ┘
//! ```
//!
//! Nothing here waits for room: a datagram that finds none, in the tunnel or in a socket, is
//! dropped and counted.

use std::{
    cell::Cell,
    convert::Infallible,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::pin,
    time::Instant,
};

use bytes::{BufMut, BytesMut};
use rand::RngExt;
use titan_proto::{
    addr::Target,
    control::ReplyMode,
    mux::{Datagram, DatagramError, DatagramPayload, Received as FromTunnel, Reset},
    reason::Reason,
    socks5::{MAX_UDP_HEADER, UdpError, decode_udp, encode_udp_header},
};

use super::{
    end::broke,
    link::{Broken, Link},
    reply::success,
    session::{opened, unanswered},
};
use crate::{
    limits::{
        ASSOCIATION_END_TIMEOUT, DATAGRAM_BURST, DATAGRAM_COPY_BELOW, DATAGRAM_ROOM,
        HANDSHAKE_READ, UDP_PORT_ATTEMPTS,
    },
    metrics::{DatagramDrop, Held},
    net::{Either, Received, Sent, UdpSocket, canonical, race, sleep_until, timeout},
    tunnel::Core,
};

/// Serves an association whose OPEN is queued; `announced` is where the client will send from.
pub(super) async fn run(link: Link, reply_mode: ReplyMode, announced: Target) {
    let outcome = match Association::new(&link, &announced) {
        Ok(association) => association.serve_while_let(reply_mode).await,
        Err(error) => {
            tracing::warn!(%error, "no socket for a UDP association");
            // It is this PoP that has none, whichever edge is asked.
            link.kept.discard();
            Err(Reset::new(Reason::Overloaded).into())
        }
    };
    match outcome {
        Ok(()) => link.end_cleanly(),
        Err(broken) => broke(link, broken),
    }
}

struct Association<'a> {
    link: &'a Link,
    socket: UdpSocket,
    /// The other end of the TCP connection, but for its port.
    peer: SocketAddr,
    /// The port that the client has announced.
    port: Option<u16>,
    /// Where the client sends from, once that is known; nobody else is listened to from then on.
    client: Cell<Option<SocketAddr>>,
    last_move: Cell<Instant>,
    _active: Held,
}

impl<'a> Association<'a> {
    fn new(link: &'a Link, announced: &Target) -> io::Result<Self> {
        let peer = canonical(link.client.peer_addr()?);
        let local = canonical(link.client.local_addr()?);
        Ok(Self {
            link,
            socket: bind(&link.core, local)?,
            peer,
            port: announced_port(announced, peer),
            client: Cell::new(None),
            last_move: Cell::new(Instant::now()),
            _active: Held::new(&link.core.metrics, |metrics| &metrics.associations_active),
        })
    }

    /// Serves for as long as the user may.
    async fn serve_while_let(&self, reply_mode: ReplyMode) -> Result<(), Broken> {
        let (served, ended) = (pin!(self.serve(reply_mode)), pin!(self.link.meter.ended()));
        match race(served, ended).await {
            Either::First(outcome) => outcome,
            Either::Second(reason) => Err(Broken::User(reason)),
        }
    }

    /// Answers the client and relays until it ends the association, or something else does.
    async fn serve(&self, reply_mode: ReplyMode) -> Result<(), Broken> {
        if reply_mode == ReplyMode::Confirmed {
            opened(self.link, BytesMut::new()).await?;
        }
        let reply = success(self.link.answer, Some(self.advertised()?));
        self.link.client.send_all(&reply).await?;
        self.link.told.set(true);
        // Its socket ends with it: from here on no other edge can have it without the client's notice.
        self.link.kept.discard();
        self.relay().await?;
        self.finish().await;
        Ok(())
    }

    /// Where the client is told to send its datagrams.
    fn advertised(&self) -> io::Result<SocketAddr> {
        let mut bound = self.socket.local_addr()?;
        if let Some(address) = self.link.core.config.udp_advertise_address {
            bound.set_ip(address);
        }
        Ok(bound)
    }

    /// Relays both ways until the client's TCP connection ends.
    async fn relay(&self) -> Result<(), Broken> {
        let (up, down) = (pin!(self.up()), pin!(self.down()));
        let (control, overdue) = (pin!(self.control()), pin!(self.overdue()));
        match race(pin!(race(up, down)), pin!(race(control, overdue))).await {
            Either::First(Either::First(Err(broken)) | Either::Second(Err(broken))) => Err(broken),
            Either::First(Either::First(Ok(never)) | Either::Second(Ok(never))) => match never {},
            Either::Second(Either::First(())) => Ok(()),
            Either::Second(Either::Second(broken)) => Err(broken),
        }
    }

    /// Waits until the edge has had its time to open, or no datagram has moved for too long.
    async fn overdue(&self) -> Broken {
        match race(pin!(unanswered(self.link)), pin!(self.idle())).await {
            Either::First(broken) | Either::Second(broken) => broken,
        }
    }

    /// Waits for the end of the TCP connection. What comes by it means nothing.
    async fn control(&self) {
        let mut scratch = BytesMut::with_capacity(HANDSHAKE_READ);
        while self.link.client.readable().await.is_ok() {
            scratch.clear();
            match self.link.client.try_recv(&mut scratch, HANDSHAKE_READ) {
                Ok(Received::Bytes(_) | Received::Nothing) => {}
                Ok(Received::End) | Err(_) => return,
            }
        }
    }

    /// Waits until no datagram has moved for too long.
    async fn idle(&self) -> Broken {
        loop {
            let deadline = self.last_move.get() + self.link.core.config.udp_idle();
            if Instant::now() >= deadline {
                return Broken::Idle;
            }
            sleep_until(deadline).await;
        }
    }

    /// Client to tunnel.
    async fn up(&self) -> Result<Infallible, Broken> {
        loop {
            self.socket.readable().await?;
            self.take_up();
        }
    }

    /// Takes what the client has sent, within bounds.
    fn take_up(&self) {
        let pool = &self.link.core.pool;
        let mut buffer = pool.take(DatagramPayload::HEADROOM + DATAGRAM_ROOM);
        for _ in 0..DATAGRAM_BURST {
            buffer.clear();
            buffer.put_bytes(0, DatagramPayload::HEADROOM);
            match self.socket.try_recv_from(&mut buffer, DATAGRAM_ROOM) {
                Ok(Some(source)) => {
                    if let Err(drop) = self.pass_up(source, &mut buffer) {
                        self.drop(drop);
                    }
                }
                Ok(None) => break,
                // About a datagram sent before, which is lost as any may be.
                Err(_) => self.drop(DatagramDrop::Unsendable),
            }
        }
        pool.give(buffer);
    }

    /// Sends the datagram that lies in the buffer behind its headroom to the edge. A large one goes
    /// on in the buffer it was read into, in whose place there is another.
    fn pass_up(&self, source: SocketAddr, buffer: &mut BytesMut) -> Result<(), DatagramDrop> {
        if !self.may_send(source) {
            return Err(DatagramDrop::WrongSource);
        }
        let datagram = buffer.get(DatagramPayload::HEADROOM..).unwrap_or_default();
        let (target, header) = decode_udp(datagram).map_err(|error| match error {
            UdpError::Fragment(_) => DatagramDrop::Fragment,
            UdpError::Truncated | UdpError::Target(_) => DatagramDrop::Malformed,
        })?;
        self.client.set(Some(source));
        if !self.link.meter.up().is_open() {
            return Err(DatagramDrop::RateLimited);
        }
        let data = datagram.get(header..).unwrap_or_default();
        let len = data.len();
        let payload = if len < DATAGRAM_COPY_BELOW {
            DatagramPayload::copy_from(&target, data)
        } else {
            let room = DatagramPayload::HEADROOM + DATAGRAM_ROOM;
            let whole = std::mem::replace(buffer, self.link.core.pool.take(room));
            DatagramPayload::from_buffer(&target, whole, DatagramPayload::HEADROOM + header)
        };
        match payload.and_then(|payload| self.link.session.send_datagram(payload)) {
            Ok(()) => {
                self.moved();
                self.link.core.metrics.datagrams_up.inc();
                self.link.meter.moved_up(len);
                Ok(())
            }
            Err(DatagramError::TooLong) => Err(DatagramDrop::TooLong),
            // That the session is over, the other direction hears.
            Err(DatagramError::BufferFull | DatagramError::NoSession) => {
                Err(DatagramDrop::BufferFull)
            }
        }
    }

    /// Only the client is served: by its IP address, and by the port that it announced or sent its
    /// first datagram from. Whoever else knew this port could use the edge and the client's quota.
    fn may_send(&self, source: SocketAddr) -> bool {
        match self.client.get() {
            Some(client) => source == client,
            None => {
                source.ip() == self.peer.ip() && self.port.is_none_or(|port| source.port() == port)
            }
        }
    }

    /// Tunnel to client.
    async fn down(&self) -> Result<Infallible, Broken> {
        loop {
            self.link.session.readable().await?;
            while self.take_down()? {
                // Gives others their turn, and a socket that is full the time to empty.
                self.socket.writable().await?;
            }
            self.count_unread();
        }
    }

    /// Takes what the tunnel has, within bounds; `true` if there may be more.
    fn take_down(&self) -> Result<bool, Broken> {
        for _ in 0..DATAGRAM_BURST {
            match self.link.session.receive_datagram() {
                Some(FromTunnel::Data(datagram)) => {
                    if let Err(drop) = self.pass_down(&datagram) {
                        self.drop(drop);
                    }
                }
                // Its client ends an association, not its edge.
                Some(FromTunnel::End) => return Err(Reset::new(Reason::EdgeGone).into()),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn pass_down(&self, datagram: &Datagram) -> Result<(), DatagramDrop> {
        let client = self.client.get().ok_or(DatagramDrop::NoClient)?;
        if !self.link.meter.down().is_open() {
            return Err(DatagramDrop::RateLimited);
        }
        let mut header = [0; MAX_UDP_HEADER];
        let mut rest = &mut header[..];
        encode_udp_header(&datagram.address, &mut rest);
        let len = MAX_UDP_HEADER - rest.len();
        let header = header.get(..len).unwrap_or_default();
        let slices = [IoSlice::new(header), IoSlice::new(&datagram.data)];
        match self.socket.try_send_to(&slices, client) {
            Sent::Whole => {
                self.moved();
                self.link.core.metrics.datagrams_down.inc();
                self.link.meter.moved_down(datagram.data.len());
                Ok(())
            }
            Sent::Full => Err(DatagramDrop::SocketFull),
            Sent::TooLong => Err(DatagramDrop::TooLong),
            Sent::Refused => Err(DatagramDrop::Unsendable),
        }
    }

    /// Ends the session behind what the client had sent, and waits for the edge to do so too.
    async fn finish(&self) {
        self.take_up();
        self.count_unread();
        let session = &self.link.session;
        session.finish();
        let ended = pin!(async {
            loop {
                match session.receive_datagram() {
                    Some(FromTunnel::End) => return Ok::<_, Reset>(()),
                    Some(FromTunnel::Data(_)) => {}
                    None => session.readable().await?,
                }
            }
        });
        match timeout(ASSOCIATION_END_TIMEOUT, ended).await {
            Ok(Ok(())) => session.release(),
            Ok(Err(_)) | Err(_) => session.reset(Reason::ClientGone),
        }
    }

    fn moved(&self) {
        self.last_move.set(Instant::now());
    }

    fn drop(&self, drop: DatagramDrop) {
        self.link.core.metrics.datagrams_dropped.inc(drop);
    }

    fn count_unread(&self) {
        let unread = self.link.session.take_unread();
        let dropped = &self.link.core.metrics.datagrams_dropped;
        dropped.add(DatagramDrop::Unread, unread);
    }
}

/// Binds a socket on the address that the client has reached us at: it reaches that by UDP, too, or
/// the operator has to say by which.
fn bind(core: &Core, local: SocketAddr) -> io::Result<UdpSocket> {
    let bind = |port| {
        let mut address = local;
        address.set_port(port);
        UdpSocket::bind(address)
    };
    let Some(range) = core.config.udp_ports else {
        return bind(0);
    };
    let mut result = Err(io::ErrorKind::AddrInUse.into());
    for _ in 0..UDP_PORT_ATTEMPTS {
        let port = core.rng.borrow_mut().random_range(range.ports());
        result = bind(port);
        match &result {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            _ => break,
        }
    }
    result
}

/// The port that a client has announced, where it can be its true one: a client that names another
/// address than the one it comes from is behind a router that changes both.
fn announced_port(announced: &Target, peer: SocketAddr) -> Option<u16> {
    let ip = announced.host.ip()?.to_canonical();
    let is_credible = ip.is_unspecified() || ip == peer.ip();
    (is_credible && announced.port != 0).then_some(announced.port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announced_port_counts_where_the_address_can_be_true() {
        let peer = "192.0.2.7:50000".parse().expect("valid");
        for (announced, port) in [
            ("0.0.0.0:0", None),
            ("0.0.0.0:4000", Some(4000)),
            ("[::]:4000", Some(4000)),
            ("192.0.2.7:4000", Some(4000)),
            ("[::ffff:192.0.2.7]:4000", Some(4000)),
            ("192.0.2.7:0", None),
            ("192.168.1.7:4000", None),
        ] {
            let address: SocketAddr = announced.parse().expect("valid");
            let found = announced_port(&address.into(), peer);
            assert_eq!(found, port, "{announced}");
        }
    }
}
