//! The far end of every measurement: servers that do one thing each.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
};

use crate::limits::{BULK_CHUNK, MAX_UDP_PAYLOAD};

/// What a server does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Sends zeros until the client goes.
    Source,
    /// Reads and forgets.
    Sink,
    /// Sends back what comes.
    Echo,
    /// Answers the first byte with one byte and ends the connection.
    Answer,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 4] = [Self::Source, Self::Sink, Self::Echo, Self::Answer];
}

/// Where each service listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// [`Service::Source`].
    pub source: SocketAddr,
    /// [`Service::Sink`].
    pub sink: SocketAddr,
    /// [`Service::Echo`].
    pub echo: SocketAddr,
    /// [`Service::Answer`].
    pub answer: SocketAddr,
    /// Where UDP datagrams are sent back; absent behind what carries TCP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datagrams: Option<SocketAddr>,
}

impl Endpoints {
    /// The address of `service`.
    pub fn of(&self, service: Service) -> SocketAddr {
        match service {
            Service::Source => self.source,
            Service::Sink => self.sink,
            Service::Echo => self.echo,
            Service::Answer => self.answer,
        }
    }

    /// Endpoints with the address that `place` gives each service.
    ///
    /// # Errors
    /// Those of `place`.
    pub fn try_from_fn(mut place: impl FnMut(Service) -> Result<SocketAddr>) -> Result<Self> {
        Ok(Self {
            source: place(Service::Source)?,
            sink: place(Service::Sink)?,
            echo: place(Service::Echo)?,
            answer: place(Service::Answer)?,
            datagrams: None,
        })
    }
}

/// Starts the servers on free ports of `ip` (or on five ports from `first_port`) as tasks of the
/// current runtime. With `send_buffer`, every connection has a send buffer of so many bytes.
///
/// # Errors
/// A port is taken.
pub fn start(ip: IpAddr, first_port: Option<u16>, send_buffer: Option<u32>) -> Result<Endpoints> {
    let mut port = first_port;
    let mut next = || {
        let address = SocketAddr::new(ip, port.unwrap_or(0));
        port = port.map(|port| port + 1);
        address
    };
    let mut endpoints = Endpoints::try_from_fn(|service| {
        let address = next();
        let listener =
            listen(address, send_buffer).with_context(|| format!("{service:?} at {address}"))?;
        let address = listener.local_addr()?;
        tokio::spawn(accept(listener, service));
        Ok(address)
    })?;
    endpoints.datagrams = Some(start_datagrams(next())?);
    Ok(endpoints)
}

/// Starts an echo of datagrams at `address` as a task of the current runtime and gives its address.
///
/// # Errors
/// The port is taken.
pub fn start_datagrams(address: SocketAddr) -> Result<SocketAddr> {
    let socket = std::net::UdpSocket::bind(address).context("the echo of datagrams")?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    let address = socket.local_addr()?;
    tokio::spawn(echo_datagrams(socket));
    Ok(address)
}

fn listen(address: SocketAddr, send_buffer: Option<u32>) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    if let Some(size) = send_buffer {
        // Accepted connections inherit it.
        socket.set_send_buffer_size(size)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// Sends every datagram back to where it came from.
async fn echo_datagrams(socket: UdpSocket) {
    let mut buffer = vec![0; MAX_UDP_PAYLOAD];
    loop {
        // An error is that of an earlier datagram, whose sender has gone.
        if let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..len], from).await;
        }
    }
}

async fn accept(listener: TcpListener, service: Service) {
    loop {
        match listener.accept().await {
            // How a client's connection ends is the client's affair.
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, service))),
            Err(error) => {
                eprintln!("target: accept: {error}");
                tokio::time::sleep(crate::limits::POLL_INTERVAL).await;
            }
        }
    }
}

async fn serve(mut stream: TcpStream, service: Service) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match service {
        Service::Source => loop {
            stream.write_all(&ZEROS).await?;
        },
        Service::Sink => {
            stream.readable().await?;
            let mut buffer = vec![0; BULK_CHUNK];
            while stream.read(&mut buffer).await? > 0 {}
            Ok(())
        }
        Service::Echo => echo(stream).await,
        Service::Answer => {
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            stream.write_all(&byte).await?;
            stream.shutdown().await
        }
    }
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    // An idle connection has no business with a buffer: thousands of them are held open.
    stream.readable().await?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..len]).await?;
    }
}

static ZEROS: [u8; BULK_CHUNK] = [0; BULK_CHUNK];

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    async fn connect(service: Service) -> TcpStream {
        let endpoints = start(Ipv4Addr::LOCALHOST.into(), None, None).unwrap();
        TcpStream::connect(endpoints.of(service)).await.unwrap()
    }

    #[tokio::test]
    async fn the_source_sends_and_the_sink_reads() {
        let mut source = connect(Service::Source).await;
        let mut buffer = vec![1; 1 << 20];
        source.read_exact(&mut buffer).await.unwrap();
        assert!(buffer.iter().all(|&byte| byte == 0));
        let mut sink = connect(Service::Sink).await;
        // More than the kernel's buffers hold.
        sink.write_all(&vec![1; 16 << 20]).await.unwrap();
        sink.shutdown().await.unwrap();
        assert_eq!(sink.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn the_echo_echoes_until_the_end() {
        let mut echo = connect(Service::Echo).await;
        echo.write_all(b"hello").await.unwrap();
        echo.shutdown().await.unwrap();
        let mut answer = String::new();
        echo.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "hello");
    }

    #[tokio::test]
    async fn the_answer_is_one_byte_and_the_end() {
        let mut answer = connect(Service::Answer).await;
        answer.write_all(b"x").await.unwrap();
        let mut bytes = Vec::new();
        answer.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(bytes, b"x");
    }
}
