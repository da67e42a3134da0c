//! How one thread gets the attention of another's core.
//!
//! The runtime's own wakers must not cross threads (ARCHITECTURE.md, "Living with monoio"), so a core waits on an event
//! descriptor as on any socket, and other threads write to it.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::event::{EventfdFlags, eventfd};

use super::socket::Socket;

/// The side that is rung for. Made anywhere, heard on the core that calls [`Doorbell::install`].
#[derive(Debug)]
pub struct Doorbell {
    fd: OwnedFd,
    rung: Arc<AtomicBool>,
}

/// The side that rings; any number on any thread.
#[derive(Debug, Clone)]
pub struct Ringer {
    fd: Arc<OwnedFd>,
    rung: Arc<AtomicBool>,
}

impl Doorbell {
    /// A doorbell and the button for it.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<(Self, Ringer)> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let button = Arc::new(rustix::io::fcntl_dupfd_cloexec(&fd, 0)?);
        let rung = Arc::new(AtomicBool::new(false));
        Ok((
            Self {
                fd,
                rung: Arc::clone(&rung),
            },
            Ringer { fd: button, rung },
        ))
    }

    /// Puts the bell on the ring of the calling core.
    ///
    /// # Errors
    /// When epoll has no room for it.
    pub fn install(self) -> io::Result<Installed> {
        Ok(Installed {
            socket: Socket::adopt(self.fd)?,
            rung: self.rung,
        })
    }
}

/// A bell on its core.
#[derive(Debug)]
pub struct Installed {
    socket: Socket,
    rung: Arc<AtomicBool>,
}

impl Installed {
    /// Makes the next wait pass, after one turn of the ring.
    pub fn ring_self(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let _ = rustix::io::write(&self.socket, &1_u64.to_ne_bytes());
        }
    }

    /// Waits until somebody has rung since the last call. What was queued before the ring is
    /// visible afterwards.
    ///
    /// # Errors
    /// When the wait itself fails.
    pub async fn heard(&self) -> io::Result<()> {
        self.socket.readable().await?;
        let _ = rustix::io::read(&self.socket, &mut [0; 8]);
        // Before the queue is looked at: who rings from now on writes again. The swap reads the
        // last ringer's own, and so sees what each of them queued.
        self.rung.swap(false, Ordering::AcqRel);
        Ok(())
    }
}

impl Ringer {
    /// Rings, unless a ring is under way already.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // The counter cannot overflow at one per wake-up; nothing else makes this fail.
            let _ = rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
        }
    }
}
