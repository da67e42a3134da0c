//! From an assignment to an upgraded connection.
//!
//! The handshake runs on tokio's own socket under both kinds of I/O: it is a few hundred bytes once
//! per tunnel, and here every step can be given up at once.

use std::io;

use bytes::BytesMut;
use reqwest::Url;
use titan_proto::{
    addr::{Host, Target},
    control::Assignment,
    mux::SUBPROTOCOL,
    ws::upgrade,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{dial::dial, error::DialPopError, resolve::Resolver};

/// Connects to the PoP and upgrades to `titan.v1`. Gives what arrived behind the upgrade, too.
pub(super) async fn connect(
    assignment: &Assignment,
    resolver: &Resolver,
) -> Result<(TcpStream, BytesMut), DialPopError> {
    let endpoint = Endpoint::parse(&assignment.tunnel_url).map_err(DialPopError::Url)?;
    let addresses = resolver
        .resolve(&endpoint.target)
        .await
        .map_err(DialPopError::Connect)?;
    let mut stream = dial(addresses).await.map_err(DialPopError::Connect)?;
    let input = handshake(&mut stream, &endpoint, &assignment.token).await?;
    Ok((stream, input))
}

async fn handshake(
    stream: &mut TcpStream,
    endpoint: &Endpoint,
    token: &str,
) -> Result<BytesMut, DialPopError> {
    let key = rand::random();
    let host = endpoint.target.to_string();
    let request = upgrade::request(&host, &endpoint.path, key, Some(SUBPROTOCOL), Some(token));
    stream.write_all(&request).await?;
    let mut input = BytesMut::new();
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let response = upgrade::parse_response(&mut input, key, Some(SUBPROTOCOL));
        if response.map_err(DialPopError::Upgrade)?.is_some() {
            return Ok(input);
        }
    }
}

/// A tunnel URL, `ws://host:port/path`, in its parts.
#[derive(Debug, PartialEq, Eq)]
struct Endpoint {
    target: Target,
    path: String,
}

impl Endpoint {
    fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("{text:?}: {error}"))?;
        if url.scheme() != "ws" {
            return Err(format!("{text:?} is no ws:// URL"));
        }
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = Host::parse(host.as_bytes()).map_err(|error| format!("{text:?}: {error}"))?;
        let port = url.port_or_known_default().unwrap_or_default();
        let query = url
            .query()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        Ok(Self {
            target: Target::new(host, port),
            path: format!("{}{query}", url.path()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Result<(String, String), String> {
        Endpoint::parse(text).map(|endpoint| (endpoint.target.to_string(), endpoint.path))
    }

    #[test]
    fn tunnel_urls_are_taken_apart() {
        let expect = |target: &str, path: &str| Ok((target.to_owned(), path.to_owned()));
        assert_eq!(
            parts("ws://pop.example:8081/tunnel"),
            expect("pop.example:8081", "/tunnel")
        );
        assert_eq!(
            parts("ws://192.0.2.1/tunnel?a=b"),
            expect("192.0.2.1:80", "/tunnel?a=b")
        );
        assert_eq!(
            parts("ws://[2001:db8::1]:81"),
            expect("[2001:db8::1]:81", "/")
        );
    }

    #[test]
    fn other_urls_are_refused() {
        for bad in ["http://h/", "wss://h/", "h:80", "ws://", "ws://a b/"] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }
}
