//! Sockets on io_uring: the ring says when a socket is ready, and direct calls that do not wait move
//! the bytes. So a socket that waits owns no buffer, and a full one is drained in few calls.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    rc::Rc,
};

use bytes::{Bytes, BytesMut};
use io_uring::{cqueue, opcode, types};
use rustix::event::PollFlags;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

use super::direct;

/// A socket whose readiness is asked of the ring.
pub(super) struct Socket(Rc<std::net::TcpStream>);

impl Socket {
    /// The socket stays non-blocking, as tokio made it.
    pub(super) fn adopt(stream: TcpStream) -> io::Result<Self> {
        Ok(Self(Rc::new(stream.into_std()?)))
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        self.ready(PollFlags::IN | PollFlags::RDHUP).await
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        self.ready(PollFlags::OUT).await
    }

    pub(super) fn read_now(&self, buf: BytesMut, max: usize) -> (io::Result<usize>, BytesMut) {
        direct::receive(self.0.as_fd(), buf, max)
    }

    pub(super) fn write_now(&self, batch: &[Bytes]) -> io::Result<usize> {
        direct::send(self.0.as_fd(), batch)
    }

    pub(super) fn control(&self) -> SockRef<'_> {
        SockRef::from(&*self.0)
    }

    /// Waits for one of `flags`, an error or a hang-up. A wait that is dropped keeps the socket open
    /// until the kernel has given it back, which a shutdown of the socket makes happen at once.
    async fn ready(&self, flags: PollFlags) -> io::Result<()> {
        let poll = opcode::PollAdd::new(types::Fd(self.0.as_raw_fd()), flags.bits().into());
        UnsubmittedOneshot::new(Rc::clone(&self.0), Polled, poll.build())
            .submit()
            .await
    }
}

/// What a completed poll says.
struct Polled;

impl OneshotOutputTransform for Polled {
    type Output = io::Result<()>;
    type StoredData = Rc<std::net::TcpStream>;

    fn transform_oneshot_output(
        self,
        _socket: Self::StoredData,
        completion: cqueue::Entry,
    ) -> io::Result<()> {
        match completion.result() {
            0.. => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }
}
