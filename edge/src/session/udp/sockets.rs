//! The sockets of one association: one per address family, connected to nobody, so that any address
//! may answer.

use std::{
    future::pending,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustix::{
    io::Errno,
    net::{
        SendFlags, sendto,
        sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force},
    },
};
use socket2::{Domain, Protocol, Socket, Type};
use titan_proto::reason::Reason;
use tokio::net::UdpSocket;

use crate::{limits::DATAGRAM_SOCKET_BUFFER, metrics::DatagramDrop, net};

/// At least one socket.
pub(super) struct Sockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl Sockets {
    /// Binds a socket for each family that this machine has.
    ///
    /// # Errors
    ///
    /// It has neither, or the process has no descriptor left, be it for the second one: another edge
    /// reaches both families.
    pub(super) fn open() -> io::Result<Self> {
        let v4 = bind((Ipv4Addr::UNSPECIFIED, 0).into());
        let v6 = bind((Ipv6Addr::UNSPECIFIED, 0).into());
        match (v4, v6) {
            (Err(error), _) | (_, Err(error)) if is_shortage(&error) => Err(error),
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(Self {
                v4: v4.ok(),
                v6: v6.ok(),
            }),
        }
    }

    /// The address of the first socket.
    pub(super) fn bound(&self) -> io::Result<SocketAddr> {
        let socket = self.v4.as_ref().or(self.v6.as_ref());
        socket.map_or(
            Err(io::ErrorKind::NotConnected.into()),
            UdpSocket::local_addr,
        )
    }

    /// Whether there is a socket for addresses of this family.
    pub(super) fn serves(&self, ip: IpAddr) -> bool {
        self.socket(ip).is_some()
    }

    /// Sends a datagram now.
    ///
    /// # Errors
    ///
    /// Why it is dropped.
    pub(super) fn send(&self, target: SocketAddr, data: &[u8]) -> Result<(), DatagramDrop> {
        let socket = self.socket(target.ip()).ok_or(DatagramDrop::Unsendable)?;
        // Not by way of the runtime, to which a new socket is full until it has heard otherwise.
        match sendto(socket, data, SendFlags::DONTWAIT, &target) {
            Ok(_) => Ok(()),
            Err(Errno::AGAIN | Errno::NOBUFS) => Err(DatagramDrop::SocketFull),
            Err(Errno::MSGSIZE) => Err(DatagramDrop::TooLong),
            Err(_) => Err(DatagramDrop::Unsendable),
        }
    }

    /// Waits until one of the sockets has something.
    pub(super) async fn readable(&self) -> io::Result<&UdpSocket> {
        tokio::select! {
            socket = readable(self.v4.as_ref()) => socket,
            socket = readable(self.v6.as_ref()) => socket,
        }
    }

    fn socket(&self, ip: IpAddr) -> Option<&UdpSocket> {
        match ip {
            IpAddr::V4(_) => self.v4.as_ref(),
            IpAddr::V6(_) => self.v6.as_ref(),
        }
    }
}

fn is_shortage(error: &io::Error) -> bool {
    net::reason(error) == Reason::TooManySessions
}

async fn readable(socket: Option<&UdpSocket>) -> io::Result<&UdpSocket> {
    let Some(socket) = socket else {
        return pending().await;
    };
    socket.readable().await?;
    Ok(socket)
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    enlarge(&socket)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Gives the socket large buffers: beyond the system's limit where the process may (CAP_NET_ADMIN),
/// else up to it (net.core.rmem_max and wmem_max).
fn enlarge(socket: &Socket) -> io::Result<()> {
    if set_socket_recv_buffer_size_force(socket, DATAGRAM_SOCKET_BUFFER).is_err() {
        socket.set_recv_buffer_size(DATAGRAM_SOCKET_BUFFER)?;
    }
    if set_socket_send_buffer_size_force(socket, DATAGRAM_SOCKET_BUFFER).is_err() {
        socket.set_send_buffer_size(DATAGRAM_SOCKET_BUFFER)?;
    }
    Ok(())
}
