//! Direct calls that move bytes between a non-blocking socket and buffers, and never wait.

use std::{
    io::{self, IoSlice},
    os::fd::BorrowedFd,
};

use bytes::{Bytes, BytesMut};
use rustix::{
    buffer::spare_capacity,
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg},
};

use super::head;
use crate::limits::MAX_IO_SLICES;

/// Receives once, at most `max` bytes behind what is in `buf`. 0 is the end;
/// [`io::ErrorKind::WouldBlock`] says that there is nothing yet.
pub(super) fn receive(
    fd: BorrowedFd<'_>,
    buf: BytesMut,
    max: usize,
) -> (io::Result<usize>, BytesMut) {
    let mut vec = with_room(buf, max);
    let result = loop {
        match recv(fd, spare_capacity(&mut vec), RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            result => break result,
        }
    };
    let received = result.map(|(received, _)| received);
    (received.map_err(io::Error::from), into_buffer(vec))
}

/// Sends what the socket takes of `batch` now.
pub(super) fn send(fd: BorrowedFd<'_>, batch: &[Bytes]) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); MAX_IO_SLICES];
    let mut filled = 0;
    for (slice, bytes) in slices.iter_mut().zip(head(batch)) {
        *slice = IoSlice::new(bytes);
        filled += 1;
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        let mut control = SendAncillaryBuffer::default();
        match sendmsg(fd, &slices[..filled], &mut control, flags) {
            Err(Errno::INTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

/// The buffer's memory as a vector, which alone has a safe interface to memory that is not
/// initialised, with room for exactly `max` bytes: a receive fills all the room there is.
fn with_room(buf: BytesMut, max: usize) -> Vec<u8> {
    let room = buf.len() + max;
    // Its only owner's memory becomes the vector's, nothing is copied.
    let vec = Vec::from(buf);
    if vec.capacity() == room {
        return vec;
    }
    let mut exact = Vec::with_capacity(room);
    exact.extend_from_slice(&vec);
    exact
}

/// The same memory as a buffer again.
fn into_buffer(vec: Vec<u8>) -> BytesMut {
    // What has just been made has one owner.
    Bytes::from(vec)
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]))
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::AsFd, os::unix::net::UnixStream};

    use super::*;

    #[test]
    fn a_receive_stays_within_its_bound_and_its_memory() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"0123456789").unwrap();
        let mut buf = BytesMut::with_capacity(2 + 6);
        buf.extend_from_slice(b"ab");
        let pointer = buf.as_ptr();
        let (result, buf) = receive(ours.as_fd(), buf, 6);
        assert_eq!((result.unwrap(), &buf[..]), (6, &b"ab012345"[..]));
        assert_eq!(buf.as_ptr(), pointer, "nothing was copied");
        let (result, buf) = receive(ours.as_fd(), buf, 1);
        assert_eq!((result.unwrap(), &buf[..]), (1, &b"ab0123456"[..]));
    }

    #[test]
    fn an_empty_socket_is_not_an_ended_one() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (result, buf) = receive(ours.as_fd(), BytesMut::new(), 10);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(theirs);
        let (result, _) = receive(ours.as_fd(), buf, 10);
        assert_eq!(result.unwrap(), 0);
    }
}
