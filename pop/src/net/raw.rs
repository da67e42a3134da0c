//! The unsafe code of this crate, all of it.
//!
//! Two things the safe interfaces do not offer: reading into the part of a [`BytesMut`] that is
//! not initialised yet, from a stream or from anybody, and using the descriptor that the runtime's
//! socket owns.

#![allow(unsafe_code)]

use std::{
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use bytes::BytesMut;
use monoio::net::TcpStream;
use rustix::{
    io::Errno,
    net::{RecvFlags, recv, recvfrom},
};

/// Lends the descriptor of `stream` for as long as `stream` is borrowed.
pub(super) fn descriptor(stream: &TcpStream) -> BorrowedFd<'_> {
    // SAFETY: `stream` owns the descriptor and closes it only when it is dropped, which the
    // borrow prevents; an open descriptor is never -1.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}

/// Receives at most `max` bytes behind the bytes in `buffer`, into capacity it already has.
/// Returns how many arrived; 0 is the end of the stream.
///
/// # Errors
/// What `recv` says, `EAGAIN` where nothing is there yet.
///
/// # Panics
/// When there is no room at all: the kernel's answer would look like the end of the stream.
pub(super) fn recv_spare(
    fd: BorrowedFd<'_>,
    buffer: &mut BytesMut,
    max: usize,
) -> Result<usize, Errno> {
    let filled = buffer.len();
    let spare = buffer.spare_capacity_mut();
    let room = spare.len().min(max);
    assert!(room > 0, "a receive needs room");
    let ((received, _), _) = recv(fd, &mut spare[..room], RecvFlags::DONTWAIT)?;
    let received = received.len();
    // SAFETY: the kernel wrote `received ≤ room` bytes at the start of the spare capacity, so the
    // first `filled + received` bytes are initialised and within the capacity.
    unsafe { buffer.set_len(filled + received) };
    Ok(received)
}

/// Receives one datagram behind the bytes in `buffer`, into capacity it already has, cut to `max`
/// bytes. Returns who sent it; `None` where that is no internet address.
///
/// # Errors
/// What `recvfrom` says, `EAGAIN` where nothing is there yet.
pub(super) fn recv_from_spare(
    fd: impl AsFd,
    buffer: &mut BytesMut,
    max: usize,
) -> Result<Option<SocketAddr>, Errno> {
    let filled = buffer.len();
    let spare = buffer.spare_capacity_mut();
    let room = spare.len().min(max);
    let ((received, _), _, source) = recvfrom(fd, &mut spare[..room], RecvFlags::DONTWAIT)?;
    let received = received.len();
    // SAFETY: the kernel wrote `received ≤ room` bytes at the start of the spare capacity, so the
    // first `filled + received` bytes are initialised and within the capacity.
    unsafe { buffer.set_len(filled + received) };
    Ok(source.and_then(|source| SocketAddr::try_from(source).ok()))
}
