//! From the store's URL to the clients that connect to it.

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisResult,
    TlsCertificates, TlsMode,
    cluster::ClusterClientBuilder,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::Mutex;

use super::link::Source;
use crate::{
    config::{RedisKind, RedisUrl},
    limits,
};

/// The source of connections to the Redis at `url`.
pub(super) fn source(url: &RedisUrl) -> RedisResult<Source> {
    match &url.kind {
        RedisKind::Server => server(url),
        RedisKind::Sentinel { master } => sentinel(url, master),
        RedisKind::Cluster => cluster(url),
    }
}

fn server(url: &RedisUrl) -> RedisResult<Source> {
    let (host, port) = &url.hosts[0];
    let info = connection_info(url, host, *port)?;
    let client = match certificates(url) {
        Some(certificates) => Client::build_with_tls(info, certificates)?,
        None => Client::open(info)?,
    };
    Ok(Source::Server(Box::new(client)))
}

fn sentinel(url: &RedisUrl, master: &str) -> RedisResult<Source> {
    let sentinels = url
        .hosts
        .iter()
        .map(|(host, port)| address(url, host, *port));
    let mut builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?
        .set_client_to_redis_db(url.database);
    if let Some(user) = &url.user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = &url.password {
        builder = builder.set_client_to_redis_password(password.expose());
    }
    if url.tls {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(certificates) = certificates(url) {
        builder = builder
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    Ok(Source::Sentinel(Box::new(Mutex::new(builder.build()?))))
}

fn cluster(url: &RedisUrl) -> RedisResult<Source> {
    let nodes = url
        .hosts
        .iter()
        .map(|(host, port)| connection_info(url, host, *port));
    let mut builder = ClusterClientBuilder::new(nodes.collect::<RedisResult<Vec<_>>>()?)
        // The client would also repeat commands whose answer got lost; `Link` repeats those that may be.
        .retries(0)
        .connection_timeout(limits::REDIS_CONNECT_TIMEOUT)
        .response_timeout(limits::REDIS_RESPONSE_TIMEOUT);
    if url.tls {
        builder = builder.tls(TlsMode::Secure);
    }
    if let Some(certificates) = certificates(url) {
        builder = builder.certs(certificates);
    }
    Ok(Source::Cluster(Box::new(builder.build()?)))
}

fn connection_info(url: &RedisUrl, host: &str, port: u16) -> RedisResult<ConnectionInfo> {
    let mut login = RedisConnectionInfo::default().set_db(url.database);
    if let Some(user) = &url.user {
        login = login.set_username(user);
    }
    if let Some(password) = &url.password {
        login = login.set_password(password.expose());
    }
    Ok(address(url, host, port)
        .into_connection_info()?
        .set_redis_settings(login))
}

fn address(url: &RedisUrl, host: &str, port: u16) -> ConnectionAddr {
    let host = host.to_owned();
    match url.tls {
        true => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
        false => ConnectionAddr::Tcp(host, port),
    }
}

fn certificates(url: &RedisUrl) -> Option<TlsCertificates> {
    let root_cert = Some(url.ca.clone()?);
    Some(TlsCertificates {
        client_tls: None,
        root_cert,
    })
}
