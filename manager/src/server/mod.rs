//! The manager as a whole: opened, prepared, served, stopped.

mod bootstrap;
mod connections;

use std::{net::SocketAddr, num::NonZeroU32, path::Path, sync::Arc};

use ipnet::IpNet;
use tokio::net::{TcpListener, TcpSocket};

use crate::{
    api::{self, App},
    config::{Config, StoreUrl},
    error::ServerError,
    identity::{Passwords, TokenSigner},
    limits,
    store::{self, Store},
};

pub use bootstrap::Bootstrap;

/// A manager that listens. It answers once [`Server::run`] is polled.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    store: Arc<dyn Store>,
    passwords: Passwords,
    signer: TokenSigner,
    max_tunnels_per_pop: u32,
    trusted_proxies: Vec<IpNet>,
    token_requests_per_s: NonZeroU32,
}

impl Server {
    /// Takes the address, opens the store and, on first start, makes the signing key and the admin
    /// token.
    ///
    /// # Errors
    /// The address is taken, the store cannot be opened, or the token's file cannot be written.
    pub async fn bind(config: Config) -> Result<Self, ServerError> {
        let listen_error = |source| ServerError::Listen {
            address: config.listen,
            source,
        };
        let listener = listen(config.listen).map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let store = store::open(&config.store).await?;
        let signer = TokenSigner::load(&*store).await?;
        bootstrap::first_admin_token(&*store, &config.admin_token_file).await?;
        tracing::info!(%address, store = %config.store, token_key = signer.public_key(), "manager listens");
        Ok(Self {
            listener,
            address,
            store,
            passwords: Passwords::new(),
            signer,
            max_tunnels_per_pop: config.max_tunnels_per_pop,
            trusted_proxies: config.trusted_proxies,
            token_requests_per_s: config.token_requests_per_s,
        })
    }

    /// The address it listens on: the port is known even where 0 was configured.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What an operator in the same process can do without the API.
    pub fn bootstrap(&self) -> Bootstrap {
        Bootstrap::new(Arc::clone(&self.store), self.passwords.clone())
    }

    /// Serves until `shutdown` resolves, then lets requests in progress end.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let app = App::new(
            Arc::clone(&self.store),
            self.passwords,
            self.signer,
            self.max_tunnels_per_pop,
        )
        .with_callers(self.trusted_proxies, self.token_requests_per_s);
        let events = app.events.clone();
        let follower = tokio::spawn(events.clone().follow(self.store));
        let shutdown = async move {
            shutdown.await;
            events.stop();
        };
        connections::serve(self.listener, api::router(app), shutdown).await;
        // Not aborted: it may be in the middle of a look, which would hold the store a moment longer.
        let _ = follower.await;
        tracing::info!("manager stopped");
    }
}

/// Makes `new_token_file` hold the only admin token of the store that `config` names; every former
/// one is void. For operators who have lost theirs. The manager must not be running on an
/// embedded store.
///
/// # Errors
/// The store cannot be opened, or the file cannot be written.
pub async fn replace_admin_token(
    config: &Config,
    new_token_file: &Path,
) -> Result<(), ServerError> {
    let store = store::open(&config.store).await?;
    bootstrap::replace_admin_token(&*store, new_token_file).await?;
    Ok(())
}

/// Copies everything that lasts from the embedded store at `from` into the empty Redis at `to`, and
/// returns how much that was. No manager may be running on either.
///
/// # Errors
/// The stores are not of these kinds, the source is missing or in use, the target is not empty, or
/// either failed.
pub async fn migrate(from: &StoreUrl, to: &StoreUrl) -> Result<String, ServerError> {
    Ok(store::migrate(from, to).await?.to_string())
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restart must not wait for the former connections' TIME_WAIT to end.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(limits::BACKLOG)
}
