//! From which address a request comes: its peer's, or what a trusted proxy says of it.
//!
//! It decides who is blocked and whose wrong tokens are counted together. It lets nobody in.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr},
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use ipnet::IpNet;

use super::App;
use crate::limits;

/// The address at the other end of a request's connection; the server puts it with each request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerAddress(pub(crate) IpAddr);

/// The address that a request comes from.
pub(super) struct ClientAddress(pub(super) IpAddr);

impl FromRequestParts<App> for ClientAddress {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(Self(client_address(parts, &app.trusted_proxies)))
    }
}

/// See [`ClientAddress`].
pub(super) fn client_address(parts: &Parts, trusted: &[IpNet]) -> IpAddr {
    let peer = parts.extensions.get::<PeerAddress>();
    // Only a request that did not come over a connection has no peer.
    let peer = peer.map_or(IpAddr::from(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
    last_untrusted(peer.to_canonical(), &parts.headers, trusted)
}

/// Each proxy appends whom it was asked by, so the list is believed from its end for as long as those
/// who appended are trusted. Anything before was perhaps made up by the first who is not.
fn last_untrusted(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address));
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let entries = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    let mut caller = peer;
    for entry in entries.take(limits::MAX_FORWARDED) {
        if !is_trusted(caller) {
            break;
        }
        match entry.trim().parse::<IpAddr>() {
            Ok(address) => caller = address.to_canonical(),
            Err(_) => break,
        }
    }
    caller
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn caller(peer: &str, lines: &[&'static str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_static(line));
        }
        let trusted: Vec<IpNet> = trusted
            .iter()
            .map(|net| net.parse().expect("a net"))
            .collect();
        last_untrusted(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn a_stranger_is_who_connects_whatever_it_says() {
        assert_eq!(caller("192.0.2.1", &["127.0.0.1"], &[]), "192.0.2.1");
        assert_eq!(
            caller("192.0.2.1", &["127.0.0.1"], &["10.0.0.0/8"]),
            "192.0.2.1"
        );
    }

    #[test]
    fn a_proxy_is_believed_and_those_before_it_are_not() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(
            caller("10.0.0.1", &["127.0.0.1, 192.0.2.1"], &trusted),
            "192.0.2.1"
        );
        assert_eq!(
            caller("10.0.0.1", &["127.0.0.1", "192.0.2.1, 10.0.0.2"], &trusted),
            "192.0.2.1"
        );
        assert_eq!(
            caller("10.0.0.1", &["127.0.0.1, nonsense"], &trusted),
            "10.0.0.1"
        );
        assert_eq!(caller("10.0.0.1", &[], &trusted), "10.0.0.1");
        assert_eq!(
            caller("10.0.0.1", &["::ffff:192.0.2.1"], &trusted),
            "192.0.2.1"
        );
    }
}
