//! Listeners: one for each shard on the same port, the kernel spreads connections among them.

use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{SocketFlags, acceptfrom_with},
};
use socket2::{Domain, Protocol, SockRef, Socket as Builder, TcpKeepalive, Type};

use super::{socket::Socket, task::stats, timer::sleep};
use crate::limits::{
    ACCEPT_BURST, ACCEPT_PAUSE, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES,
    LISTEN_BACKLOG,
};

/// Binds a listener that shares its port with others of this process.
///
/// Accepted sockets inherit the options of their listener on Linux, so they are set here once
/// and cost nothing for each connection: no Nagle delay, keep-alive, and the unsent low-water
/// mark where one is given.
///
/// # Errors
/// When the address is taken by somebody else or not ours.
pub fn bind(address: SocketAddr, unsent_low_water: Option<u32>) -> io::Result<OwnedFd> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Builder::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    if let Some(bytes) = unsent_low_water {
        socket.set_tcp_notsent_lowat(bytes)?;
    }
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

/// A connection that was just accepted; it is on no ring yet.
#[derive(Debug)]
pub struct Accepted {
    /// Its socket, non-blocking.
    pub fd: OwnedFd,
    /// Who connected.
    pub peer: SocketAddr,
}

/// A listener on the ring of one core.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    last_complaint: Cell<Option<Instant>>,
}

impl Listener {
    /// Takes a listener made by [`bind`] to this core.
    ///
    /// # Errors
    /// When epoll has no room for it.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: Socket::adopt(fd)?,
            last_complaint: Cell::new(None),
        })
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// Never for a listener that is bound to an internet address.
    pub fn address(fd: &OwnedFd) -> io::Result<SocketAddr> {
        let address = SockRef::from(fd).local_addr()?;
        address
            .as_socket()
            .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
    }

    /// Waits for connections and hands a bounded number of them to `take`.
    ///
    /// Out of descriptors or memory, it counts, complains once a second and pauses: what would
    /// end the shortage is the end of other connections, not another attempt.
    ///
    /// # Errors
    /// When the listener itself is broken.
    pub async fn accept_some(&self, mut take: impl FnMut(Accepted)) -> io::Result<()> {
        self.socket.readable().await?;
        for _ in 0..ACCEPT_BURST {
            match acceptfrom_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok((fd, peer)) => {
                    if let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
                        take(Accepted { fd, peer });
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.complain();
                    sleep(ACCEPT_PAUSE).await;
                    break;
                }
                Err(Errno::BADF | Errno::INVAL | Errno::NOTSOCK) => {
                    return Err(io::Error::from(io::ErrorKind::NotConnected));
                }
                // Everything else is about one connection that died in the queue (accept(2)).
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn complain(&self) {
        stats().accept_errors.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        if self
            .last_complaint
            .get()
            .is_none_or(|last| now - last >= COMPLAINT_INTERVAL)
        {
            self.last_complaint.set(Some(now));
            tracing::error!("out of descriptors or memory: connections wait in the kernel's queue");
        }
    }
}

const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);
