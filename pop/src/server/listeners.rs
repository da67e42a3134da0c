//! All listeners of a PoP, bound before any thread starts.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    thread,
    time::Instant,
};

use titan_proto::limits::FIRST_WRITE_BATCH;

use crate::{
    config::Config,
    error::StartError,
    limits::{PORT_RELEASE, PORT_RETRY},
    net::{Listener, bind},
};

/// Listeners and the addresses they got.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) proxy_addr: SocketAddr,
    pub(super) tunnel_addr: SocketAddr,
    pub(super) admin_addr: SocketAddr,
    pub(super) shards: Vec<ShardListeners>,
    pub(super) admin: TcpListener,
}

/// The listeners of one shard.
#[derive(Debug)]
pub(super) struct ShardListeners {
    pub(super) proxy: OwnedFd,
    pub(super) tunnel: OwnedFd,
}

impl Listeners {
    /// Binds them as `config` says.
    pub(super) fn bind(config: &Config) -> Result<Self, StartError> {
        let shards = config.shard_count();
        let (proxy, proxy_addr) = group("proxy clients", config.proxy_listen, None, shards)?;
        // A tunnel begins with this; its writer follows the line's speed from there.
        let low_water = u32::try_from(FIRST_WRITE_BATCH).ok();
        let (tunnel, tunnel_addr) = group("tunnels", config.tunnel_listen, low_water, shards)?;
        let (admin, admin_addr) =
            admin(config.admin_listen).map_err(failed("admin requests", config.admin_listen))?;
        let shards = proxy
            .into_iter()
            .zip(tunnel)
            .map(|(proxy, tunnel)| ShardListeners { proxy, tunnel })
            .collect();
        Ok(Self {
            proxy_addr,
            tunnel_addr,
            admin_addr,
            shards,
            admin,
        })
    }
}

/// One listener for each shard, all on one port; with port 0 the first one chooses it.
fn group(
    role: &'static str,
    address: SocketAddr,
    unsent_low_water: Option<u32>,
    count: u16,
) -> Result<(Vec<OwnedFd>, SocketAddr), StartError> {
    // A shared port can be joined by anybody with our user id: without this, a second PoP on the
    // same port would start and take half of the first one's connections.
    drop(bind_alone(address).map_err(failed(role, address))?);
    let first = bind(address, unsent_low_water).map_err(failed(role, address))?;
    let bound = Listener::address(&first).map_err(failed(role, address))?;
    let mut group = vec![first];
    for _ in 1..count {
        group.push(bind(bound, unsent_low_water).map_err(failed(role, bound))?);
    }
    Ok((group, bound))
}

fn admin(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = bind_alone(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Binds a port that nobody else has. A PoP that was killed may still hold it for a moment: the kernel
/// takes an io_uring and its sockets down after the process is gone.
fn bind_alone(address: SocketAddr) -> io::Result<TcpListener> {
    let give_up = Instant::now() + PORT_RELEASE;
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up => {
                thread::sleep(PORT_RETRY);
            }
            result => return result,
        }
    }
}

fn failed(role: &'static str, address: SocketAddr) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::Listen {
        role,
        address,
        source,
    }
}
