//! A socket for datagrams on one core's ring.

use std::{
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
};

use bytes::BytesMut;
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendFlags, sendmsg_addr, sockopt},
};
use socket2::{Domain, Protocol, SockRef, Socket as Builder, Type};

use super::{raw, socket::Socket};
use crate::limits::DATAGRAM_SOCKET_BUFFER;

/// How the sending of a datagram ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The kernel has it.
    Whole,
    /// The kernel has no room now.
    Full,
    /// It is longer than its way allows.
    TooLong,
    /// The kernel would not send it for another reason.
    Refused,
}

/// A socket that is connected to nobody.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
}

impl UdpSocket {
    /// Binds a socket of this core. Its buffers are made large: beyond the system's limit where the
    /// process may do so (CAP_NET_ADMIN), else up to it (`net.core.rmem_max` and `wmem_max`).
    ///
    /// # Errors
    /// When the address is taken or not ours, or the process has no descriptor left.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Builder::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
        let bytes = DATAGRAM_SOCKET_BUFFER;
        if sockopt::set_socket_recv_buffer_size_force(&socket, bytes).is_err() {
            socket.set_recv_buffer_size(bytes)?;
        }
        if sockopt::set_socket_send_buffer_size_force(&socket, bytes).is_err() {
            socket.set_send_buffer_size(bytes)?;
        }
        socket.bind(&address.into())?;
        Ok(Self {
            socket: Socket::adopt(socket.into())?,
        })
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// Never for a socket that is bound to an internet address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = SockRef::from(&self.socket).local_addr()?;
        address
            .as_socket()
            .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
    }

    /// Waits until a receive has something to say.
    ///
    /// # Errors
    /// When the wait itself fails; the socket is of no more use then.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Waits until a send has room. Yields in any case.
    ///
    /// # Errors
    /// When the wait itself fails; the socket is of no more use then.
    pub async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Receives one datagram behind the bytes in `buffer`, cut to the `max` bytes for which it must
    /// have room. `None` means to wait for [`readable`](Self::readable).
    ///
    /// # Errors
    /// What became of a datagram sent before. The socket goes on.
    pub fn try_recv_from(
        &self,
        buffer: &mut BytesMut,
        max: usize,
    ) -> io::Result<Option<SocketAddr>> {
        loop {
            return match raw::recv_from_spare(&self.socket, buffer, max) {
                Ok(Some(source)) => Ok(Some(source)),
                Ok(None) => Err(io::ErrorKind::Unsupported.into()),
                Err(Errno::AGAIN) => Ok(None),
                Err(Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Sends `slices` to `target` as one datagram, now or never.
    pub fn try_send_to(&self, slices: &[IoSlice<'_>], target: SocketAddr) -> Sent {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let control = &mut SendAncillaryBuffer::default();
        match sendmsg_addr(&self.socket, &target, slices, control, flags) {
            Ok(_) => Sent::Whole,
            Err(Errno::AGAIN | Errno::NOBUFS) => Sent::Full,
            Err(Errno::MSGSIZE) => Sent::TooLong,
            Err(_) => Sent::Refused,
        }
    }
}

/// An address as the family it really is of: IPv4 that came to a socket of both families stands in
/// IPv6's clothes (RFC 4291 §2.5.5.2).
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        // With its zone, without which a link-local address means nothing.
        IpAddr::V6(_) => address,
    }
}
