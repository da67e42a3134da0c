//! Sockets on tokio's readiness (epoll).

use std::{
    io::{self, IoSlice},
    ops::Deref,
};

use bytes::{BufMut, Bytes, BytesMut};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::head;
use crate::limits::MAX_IO_SLICES;

/// A socket that tells when it is ready.
pub(super) struct Socket(TcpStream);

impl Socket {
    pub(super) fn adopt(stream: TcpStream) -> Self {
        Self(stream)
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        self.0.writable().await
    }

    pub(super) fn read_now(&self, mut buf: BytesMut, max: usize) -> (io::Result<usize>, BytesMut) {
        buf.reserve(max);
        let result = self.0.try_read_buf(&mut (&mut buf).limit(max));
        (result, buf)
    }

    pub(super) fn write_now(&self, batch: &[Bytes]) -> io::Result<usize> {
        if let [bytes] = batch {
            return self.0.try_write(bytes);
        }
        let mut slices = [IoSlice::new(&[]); MAX_IO_SLICES];
        let mut filled = 0;
        for (slice, bytes) in slices.iter_mut().zip(head(batch)) {
            *slice = IoSlice::new(bytes.deref());
            filled += 1;
        }
        self.0.try_write_vectored(&slices[..filled])
    }

    pub(super) fn control(&self) -> SockRef<'_> {
        SockRef::from(&self.0)
    }
}
