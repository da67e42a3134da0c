//! Sockets on io_uring.

use std::io;

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_uring::buf::BoundedBuf;

use super::head;

/// A socket whose reads and writes are operations on the ring.
pub(super) struct Socket {
    ring: tokio_uring::net::TcpStream,
    /// The same connection under a second descriptor, for everything that is no operation: the
    /// ring's type lets nobody borrow its own.
    control: std::net::TcpStream,
}

impl Socket {
    pub(super) fn adopt(stream: TcpStream) -> io::Result<Self> {
        let stream = stream.into_std()?;
        // The ring answers EAGAIN for a non-blocking socket instead of waiting.
        stream.set_nonblocking(false)?;
        let control = stream.try_clone()?;
        Ok(Self {
            ring: tokio_uring::net::TcpStream::from_std(stream),
            control,
        })
    }

    pub(super) async fn read(&self, buf: BytesMut, max: usize) -> (io::Result<usize>, BytesMut) {
        let start = buf.len();
        let (result, slice) = self.ring.read(buf.slice(start..start + max)).await;
        (result, slice.into_inner())
    }

    /// Gives the buffers of `batch` to the kernel and takes them back. Only where nothing is there
    /// to be waited for does a write end with less than its last byte.
    pub(super) async fn write(&self, batch: &[Bytes]) -> io::Result<usize> {
        if let [bytes] = batch {
            return self.ring.write(bytes.clone()).submit().await.0;
        }
        self.ring.writev(head(batch).to_vec()).await.0
    }

    pub(super) fn control(&self) -> SockRef<'_> {
        SockRef::from(&self.control)
    }
}
