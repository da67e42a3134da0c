//! A non-blocking socket (or any other descriptor that can be polled) on one core's ring.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use bytes::BytesMut;
use monoio::net::TcpStream;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{SendAncillaryBuffer, SendFlags, Shutdown, sendmsg},
};
use socket2::SockRef;

use super::raw;

/// What a receive found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// That many bytes, at least one.
    Bytes(usize),
    /// The peer has ended its direction.
    End,
    /// Nothing yet: wait for [`Socket::readable`].
    Nothing,
}

/// A descriptor of this core. At most one task may wait for each direction at a time.
#[derive(Debug)]
pub struct Socket {
    // The runtime's stream is used for its readiness only; it also owns the descriptor, because
    // it must outlive a wait that the kernel has not yet given back.
    stream: TcpStream,
}

impl Socket {
    /// Takes `fd`, which must be non-blocking, to this core.
    ///
    /// # Errors
    /// When epoll has no room for it.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            stream: TcpStream::from_std(fd.into())?,
        })
    }

    /// Gives the socket up so that another core can adopt it.
    ///
    /// It is duplicated, not extracted: the runtime may still hold a reference to the descriptor
    /// on behalf of a wait that was dropped a moment ago.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(rustix::io::fcntl_dupfd_cloexec(self.fd(), 0)?)
    }

    /// Waits until a receive has something to say: bytes, the end or an error.
    ///
    /// # Errors
    /// When the wait itself fails; the socket is of no more use then.
    pub async fn readable(&self) -> io::Result<()> {
        // Never relaxed: on epoll, monoio does not clear relaxed readiness, and a loop around a
        // receive that would block spins.
        self.stream.readable(false).await
    }

    /// Waits until a send has room, or something to say about an error.
    ///
    /// # Errors
    /// When the wait itself fails; the socket is of no more use then.
    pub async fn writable(&self) -> io::Result<()> {
        self.stream.writable(false).await
    }

    /// Receives at most `max` bytes behind those in `buffer`, which must have room.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn try_recv(&self, buffer: &mut BytesMut, max: usize) -> io::Result<Received> {
        loop {
            return match raw::recv_spare(self.fd(), buffer, max) {
                Ok(0) => Ok(Received::End),
                Ok(n) => Ok(Received::Bytes(n)),
                Err(Errno::AGAIN) => Ok(Received::Nothing),
                Err(Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Sends what the kernel takes of `slices` now. Returns how many bytes that were; 0 means to
    /// wait for [`Socket::writable`].
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn try_send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            return match sendmsg(
                self.fd(),
                slices,
                &mut SendAncillaryBuffer::default(),
                flags,
            ) {
                Ok(n) => Ok(n),
                Err(Errno::AGAIN) => Ok(0),
                Err(Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Sends all of `bytes`, waiting as often as it takes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_send(&[IoSlice::new(bytes)])? {
                0 => self.writable().await?,
                n => bytes = bytes.get(n..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    /// Ends the sending direction: the peer sees the end of the stream after the last byte.
    pub fn shutdown_write(&self) {
        // It fails only where the connection is gone already, which its reader learns by itself.
        let _ = rustix::net::shutdown(self.fd(), Shutdown::Write);
    }

    /// Ends both directions at once, which wakes every task that waits on this socket.
    pub fn shutdown_both(&self) {
        let _ = rustix::net::shutdown(self.fd(), Shutdown::Both);
    }

    /// Bounds what the kernel holds unsent: beyond it the socket takes no more
    /// (`TCP_NOTSENT_LOWAT`).
    pub fn limit_unsent(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // It fails only where the connection is gone already.
        let _ = SockRef::from(&self.fd()).set_tcp_notsent_lowat(bytes);
    }

    /// Whether the connection has broken. Says so without reading, so that bytes that arrived
    /// before stay where they are.
    pub fn is_broken(&self) -> bool {
        let fd = self.fd();
        let mut asked = [PollFd::new(&fd, PollFlags::empty())];
        // An error is told though it was not asked for. A hang-up is none: both ends may have said
        // all they had to say, and some of it may be unread.
        poll(&mut asked, Some(&Timespec::default())).is_ok()
            && asked[0].revents().contains(PollFlags::ERR)
    }

    /// Whether the socket, when it is closed, resets the connection instead of ending it. The
    /// kernel does so also for a process that was killed.
    pub fn reset_on_close(&self, reset: bool) {
        // It fails only where the connection is gone already.
        let _ = SockRef::from(&self.fd()).set_linger(reset.then_some(Duration::ZERO));
    }

    /// Closes the connection with a reset, so that the peer cannot take what it has got for all
    /// there was.
    pub fn reset(self) {
        self.reset_on_close(true);
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let address = SockRef::from(&self.fd()).peer_addr()?;
        address
            .as_socket()
            .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
    }

    /// The address of this end.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = SockRef::from(&self.fd()).local_addr()?;
        address
            .as_socket()
            .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        raw::descriptor(&self.stream)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd()
    }
}
