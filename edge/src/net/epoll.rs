//! Sockets on tokio's readiness (epoll).

use std::{
    io::{self, IoSlice},
    ops::Deref,
};

use bytes::{BufMut, Bytes, BytesMut};
use socket2::SockRef;
use tokio::{net::TcpStream, task::consume_budget};

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

    pub(super) async fn read(
        &self,
        mut buf: BytesMut,
        max: usize,
    ) -> (io::Result<usize>, BytesMut) {
        // A socket that is always ready must not keep the thread to itself.
        consume_budget().await;
        loop {
            match self.0.try_read_buf(&mut (&mut buf).limit(max)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = self.0.readable().await {
                        return (Err(error), buf);
                    }
                }
                result => return (result, buf),
            }
        }
    }

    pub(super) async fn write(&self, batch: &[Bytes]) -> io::Result<usize> {
        consume_budget().await;
        loop {
            match self.write_now(batch) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.0.writable().await?;
                }
                result => return result,
            }
        }
    }

    pub(super) fn control(&self) -> SockRef<'_> {
        SockRef::from(&self.0)
    }

    fn write_now(&self, batch: &[Bytes]) -> io::Result<usize> {
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
}
