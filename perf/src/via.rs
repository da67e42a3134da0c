//! The ways to a target: straight, through SOCKS5, through HTTP CONNECT.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use titan_proto::{
    addr::Target,
    credentials::Credentials,
    socks5::{ClientHandshake, ClientStep, Command},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::limits::{CONNECT_TIMEOUT, MAX_PROXY_ANSWER};

/// A user's name and password at a proxy.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Without the password: it may be a real user's.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl std::str::FromStr for Login {
    type Err = anyhow::Error;

    /// Reads `user:password`.
    fn from_str(text: &str) -> Result<Self> {
        let (user, password) = text.split_once(':').context("expected user:password")?;
        Ok(Self {
            user: user.into(),
            password: password.into(),
        })
    }
}

/// How connections reach their target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Via {
    /// A plain TCP connection to the target, or to a relay that stands for it.
    Direct,
    /// RFC 1928 with RFC 1929.
    Socks5 {
        /// The proxy.
        proxy: SocketAddr,
        /// What to log in with, if anything.
        login: Option<Login>,
    },
    /// RFC 9110 §9.3.6.
    Connect {
        /// The proxy.
        proxy: SocketAddr,
        /// What to log in with, if anything.
        login: Option<Login>,
    },
}

impl Via {
    /// Connects to `target`, from `source` if given. The target is reachable when this returns, or
    /// the proxy is an optimistic one. What the target has said by then may be lost: of the
    /// services only the source speaks first, and it never ends.
    ///
    /// # Errors
    /// The connection failed, was refused, or took longer than [`CONNECT_TIMEOUT`].
    pub async fn dial(&self, target: SocketAddr, source: Option<Ipv4Addr>) -> Result<TcpStream> {
        self.dial_with(target, source, None).await
    }

    /// As [`dial`](Self::dial), with a receive buffer of so many bytes.
    ///
    /// # Errors
    /// Those of [`dial`](Self::dial).
    pub async fn dial_with(
        &self,
        target: SocketAddr,
        source: Option<Ipv4Addr>,
        receive_buffer: Option<u32>,
    ) -> Result<TcpStream> {
        timeout(
            CONNECT_TIMEOUT,
            self.connect(target, source, receive_buffer),
        )
        .await
        .context("the connection took too long")?
    }

    async fn connect(
        &self,
        target: SocketAddr,
        source: Option<Ipv4Addr>,
        receive_buffer: Option<u32>,
    ) -> Result<TcpStream> {
        match self {
            Self::Direct => tcp(target, source, receive_buffer).await,
            Self::Socks5 { proxy, login } => {
                let mut stream = tcp(*proxy, source, receive_buffer).await?;
                socks5(&mut stream, Command::Connect, target, login.as_ref()).await?;
                Ok(stream)
            }
            Self::Connect { proxy, login } => {
                let mut stream = tcp(*proxy, source, receive_buffer).await?;
                http_connect(&mut stream, target, login.as_ref()).await?;
                Ok(stream)
            }
        }
    }
}

/// Asks a SOCKS5 proxy for a relay of datagrams (RFC 1928 §4) and gives its address and the
/// connection for whose life it relays.
///
/// # Errors
/// The proxy is not there or refuses, or it took longer than [`CONNECT_TIMEOUT`].
pub async fn associate(
    proxy: SocketAddr,
    login: Option<&Login>,
) -> Result<(TcpStream, SocketAddr)> {
    let asked = async {
        let mut stream = tcp(proxy, None, None).await?;
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let bound = socks5(&mut stream, Command::UdpAssociate, unknown, login).await?;
        let bound = bound
            .socket_addr()
            .context("the relay's address is a name")?;
        // Zeros stand for the address that the proxy was asked at.
        let ip = Some(bound.ip()).filter(|ip| !ip.is_unspecified());
        let relay = SocketAddr::new(ip.unwrap_or(proxy.ip()), bound.port());
        Ok((stream, relay))
    };
    timeout(CONNECT_TIMEOUT, asked)
        .await
        .context("the proxy does not answer")?
}

/// The `index`th of many source addresses, 127.1.0.1 onwards.
pub fn source_address(index: usize) -> Ipv4Addr {
    let address = u32::try_from(index).unwrap_or(0);
    let (network, host) = (address / 254, address % 254);
    Ipv4Addr::from(0x7f01_0001 + network * 256 + host)
}

async fn tcp(
    to: SocketAddr,
    source: Option<Ipv4Addr>,
    receive_buffer: Option<u32>,
) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(size) = receive_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    if let Some(source) = source {
        socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
    }
    let stream = socket
        .connect(to)
        .await
        .with_context(|| format!("connecting to {to}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks for `command`, one message after the other, as common clients do it, and gives the address
/// that the proxy has bound.
async fn socks5(
    stream: &mut TcpStream,
    command: Command,
    target: SocketAddr,
    login: Option<&Login>,
) -> Result<Target> {
    let credentials = login.map(|login| Credentials {
        username: login.user.clone(),
        password: login.password.clone(),
    });
    let mut client = ClientHandshake::new(credentials, command, Target::from(target))?;
    stream.write_all(&client.greeting()).await?;
    let mut input = BytesMut::with_capacity(64);
    loop {
        match client.advance(&mut input)? {
            ClientStep::Done(bound) => return Ok(bound),
            ClientStep::Send(bytes) => stream.write_all(&bytes).await?,
            ClientStep::NeedMore => {
                ensure!(stream.read_buf(&mut input).await? > 0, "the proxy hung up");
            }
        }
    }
}

async fn http_connect(
    stream: &mut TcpStream,
    target: SocketAddr,
    login: Option<&Login>,
) -> Result<()> {
    let authorization = login.map_or_else(String::new, |Login { user, password }| {
        let text = BASE64.encode(format!("{user}:{password}"));
        format!("Proxy-Authorization: Basic {text}\r\n")
    });
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut input = BytesMut::with_capacity(512);
    while !input.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        ensure!(stream.read_buf(&mut input).await? > 0, "the proxy hung up");
        ensure!(
            input.len() < MAX_PROXY_ANSWER,
            "the proxy's answer has no end"
        );
    }
    if input.get(9..12) != Some(b"200") {
        let line = input
            .as_ref()
            .split(|&byte| byte == b'\r')
            .next()
            .unwrap_or_default();
        bail!("the proxy answers {:?}", String::from_utf8_lossy(line));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_change_and_stay_in_127() {
        assert_eq!(source_address(0), Ipv4Addr::new(127, 1, 0, 1));
        assert_eq!(source_address(1), Ipv4Addr::new(127, 1, 0, 2));
        let last = source_address(100_000);
        assert!(last.is_loopback() && last.octets()[3] != 0 && last.octets()[3] != 255);
    }
}
