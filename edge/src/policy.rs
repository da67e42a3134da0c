//! Which addresses an edge connects to. Asked after a name is resolved, of every address, so that
//! no name can lead into the network of the edge's owner.

use std::net::{IpAddr, SocketAddr};

use titan_proto::{addr::is_public, reason::Reason};

/// What the edge's owner allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    allow_private: bool,
}

impl Policy {
    pub(crate) fn new(allow_private: bool) -> Self {
        Self { allow_private }
    }

    /// Keeps the addresses that may be connected to, in their order.
    ///
    /// # Errors
    ///
    /// [`Reason::DeniedByPolicy`] where there were addresses and none of them is allowed,
    /// [`Reason::NameNotFound`] where there were none.
    pub(crate) fn filter(self, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Reason> {
        if addresses.is_empty() {
            return Err(Reason::NameNotFound);
        }
        addresses.retain(|address| self.allows(address.ip()));
        if addresses.is_empty() {
            Err(Reason::DeniedByPolicy)
        } else {
            Ok(addresses)
        }
    }

    /// Whether that address may be spoken to.
    pub(crate) fn allows(self, ip: IpAddr) -> bool {
        self.allow_private || is_public(ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_owners_network_is_out_of_reach() {
        let policy = Policy::new(false);
        for private in [
            "127.0.0.1:80",
            "10.0.0.1:80",
            "192.168.1.1:80",
            "169.254.169.254:80",
            "100.64.0.1:80",
            "0.0.0.0:80",
            "224.0.0.1:80",
            "[::1]:80",
            "[::]:80",
            "[fe80::1]:80",
            "[fd00::1]:80",
            "[::ffff:127.0.0.1]:80",
            "[::ffff:10.0.0.1]:80",
            "[64:ff9b::7f00:1]:80",
            "[2002:7f00:1::]:80",
        ] {
            let denied = policy.filter(addresses(&[private]));
            assert_eq!(denied, Err(Reason::DeniedByPolicy), "{private}");
        }
    }

    #[test]
    fn of_mixed_addresses_only_the_public_ones_are_used() {
        let mixed = addresses(&[
            "10.0.0.1:80",
            "1.1.1.1:80",
            "[fd00::1]:80",
            "[2606:4700::1]:80",
        ]);
        let kept = addresses(&["1.1.1.1:80", "[2606:4700::1]:80"]);
        assert_eq!(Policy::new(false).filter(mixed.clone()), Ok(kept));
        assert_eq!(Policy::new(true).filter(mixed.clone()), Ok(mixed));
    }

    #[test]
    fn no_address_at_all_is_not_a_matter_of_policy() {
        assert_eq!(
            Policy::new(false).filter(Vec::new()),
            Err(Reason::NameNotFound)
        );
    }
}
