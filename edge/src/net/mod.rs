//! The two ways to drive sockets, io_uring and epoll, behind one type. No other module knows which
//! of them runs.
//!
//! What both promise, and every caller relies on:
//! * a socket is waited for without a buffer and then read and written without waiting, so that an
//!   idle one owns nothing and a wait can be dropped without losing a byte;
//! * a socket has one reader and one writer;
//! * whoever wants a socket's tasks to end shuts the socket down or resets it, which ends every wait.

mod direct;
mod epoll;
mod runtime;
mod uring;

use std::{io, net::Shutdown, net::SocketAddr, rc::Rc};

use bytes::{Buf, Bytes, BytesMut};
use rustix::io::Errno;
use socket2::SockRef;
use titan_proto::reason::Reason;
use tokio::net::TcpStream;

pub(crate) use runtime::Runtime;

use crate::limits::MAX_IO_SLICES;

/// How the sockets of this thread are driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Uring,
    Epoll,
}

/// A connected TCP socket. Clones are the same socket, which closes with the last of them.
#[derive(Clone)]
pub(crate) struct Stream(Rc<Socket>);

enum Socket {
    Uring(uring::Socket),
    Epoll(epoll::Socket),
}

impl Stream {
    /// Takes over a connection that was made with tokio.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub(crate) fn adopt(stream: TcpStream, backend: Backend) -> io::Result<Self> {
        let socket = match backend {
            Backend::Uring => Socket::Uring(uring::Socket::adopt(stream)?),
            Backend::Epoll => Socket::Epoll(epoll::Socket::adopt(stream)),
        };
        Ok(Self(Rc::new(socket)))
    }

    /// Waits until a read has something to say: bytes, the end or an error.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match &*self.0 {
            Socket::Uring(socket) => socket.readable().await,
            Socket::Epoll(socket) => socket.readable().await,
        }
    }

    /// Reads once what is there, at most `max` bytes, behind what is in `buf`. 0 is the end;
    /// [`io::ErrorKind::WouldBlock`] says to wait until the socket is [readable](Self::readable).
    pub(crate) fn read_now(&self, buf: BytesMut, max: usize) -> (io::Result<usize>, BytesMut) {
        match &*self.0 {
            Socket::Uring(socket) => socket.read_now(buf, max),
            Socket::Epoll(socket) => socket.read_now(buf, max),
        }
    }

    /// Writes all of `batch`, in as few operations as the socket lets it, and leaves it empty.
    pub(crate) async fn write_all(&self, batch: &mut Vec<Bytes>) -> io::Result<()> {
        batch.retain(|bytes| !bytes.is_empty());
        while !batch.is_empty() {
            match self.write_now(batch) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => advance(batch, written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn writable(&self) -> io::Result<()> {
        match &*self.0 {
            Socket::Uring(socket) => socket.writable().await,
            Socket::Epoll(socket) => socket.writable().await,
        }
    }

    fn write_now(&self, batch: &[Bytes]) -> io::Result<usize> {
        match &*self.0 {
            Socket::Uring(socket) => socket.write_now(batch),
            Socket::Epoll(socket) => socket.write_now(batch),
        }
    }

    /// Ends our direction; the peer sees the end behind what was written.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.control().shutdown(Shutdown::Write)
    }

    /// Ends both directions. Every operation on the socket ends.
    pub(crate) fn shutdown(&self) {
        // Fails where the peer has ended the connection already, which is as good.
        let _ = self.control().shutdown(Shutdown::Both);
    }

    /// Whether the socket, when it is closed, resets the connection instead of ending it. The kernel
    /// does so also for a process that was killed.
    pub(crate) fn reset_on_close(&self, reset: bool) {
        // Fails where the connection is gone already.
        let linger = reset.then_some(std::time::Duration::ZERO);
        let _ = self.control().set_linger(linger);
    }

    /// Ends the connection with a RST: what was not sent is dropped, and the peer cannot take this
    /// for a clean end. Every operation on the socket ends.
    pub(crate) fn reset(&self) {
        let socket = self.control();
        // Linux sends the RST at once when a socket is disconnected (connect(2), AF_UNSPEC). Some
        // kernels refuse that while a thread waits in the socket; then closing it sends one.
        if rustix::net::connect_unspec(&*socket).is_err() {
            let _ = socket.set_linger(Some(std::time::Duration::ZERO));
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Bounds what lies in the kernel unsent: beyond it the socket takes no more (TCP_NOTSENT_LOWAT).
    pub(crate) fn limit_unsent(&self, bytes: usize) -> io::Result<()> {
        self.control()
            .set_tcp_notsent_lowat(u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    /// Our address of the connection.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.control()
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    /// The peer's address of the connection.
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.control()
            .peer_addr()?
            .as_socket()
            .ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    fn control(&self) -> SockRef<'_> {
        match &*self.0 {
            Socket::Uring(socket) => socket.control(),
            Socket::Epoll(socket) => socket.control(),
        }
    }
}

/// Why the system refused what a session needs, or ended it.
///
/// Want of descriptors or memory is this edge's own trouble and says nothing about the target: it has no
/// room for another session, and another edge may have.
pub(crate) fn reason(error: &io::Error) -> Reason {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Reason::TooManySessions,
        _ => Reason::from_io(error.kind()),
    }
}

/// The first buffers of a batch, as many as one operation takes.
fn head(batch: &[Bytes]) -> &[Bytes] {
    batch.get(..MAX_IO_SLICES).unwrap_or(batch)
}

/// Drops the first `written` bytes of a batch.
fn advance(batch: &mut Vec<Bytes>, mut written: usize) {
    let mut done = 0;
    for bytes in batch.iter_mut() {
        if written < bytes.len() {
            bytes.advance(written);
            break;
        }
        written -= bytes.len();
        done += 1;
    }
    batch.drain(..done);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_descriptors_is_no_fault_of_the_targets() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert_eq!(reason(&errno.into()), Reason::TooManySessions);
        }
        assert_eq!(
            reason(&Errno::CONNREFUSED.into()),
            Reason::ConnectionRefused
        );
    }

    #[test]
    fn a_partial_write_leaves_the_rest() {
        let whole = [&b"abc"[..], b"de", b"fghi"].concat();
        for written in 0..=whole.len() {
            let mut batch = vec!["abc".into(), "de".into(), "fghi".into()];
            advance(&mut batch, written);
            assert_eq!(batch.concat(), &whole[written..]);
            assert!(batch.iter().all(|bytes: &Bytes| !bytes.is_empty()));
        }
    }
}
