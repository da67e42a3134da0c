//! Blocks, and under which ids those are found that concern somebody.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use titan_proto::control::{BlockTarget, NodeId, Note};

use super::UnixTime;

/// A node or a network that is turned away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    /// Who is turned away.
    pub(crate) target: BlockTarget,
    /// Why.
    pub(crate) reason: Option<Note>,
    /// When it was made.
    pub(crate) created_at: UnixTime,
}

/// Names a block. It follows from the target, so that nobody is blocked twice and whether somebody is
/// blocked takes a look-up for each network that could hold it, however many blocks there are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlockId(pub(super) String);

impl BlockId {
    /// The id of the block of this target.
    pub(crate) fn of(target: &BlockTarget) -> Self {
        match target {
            BlockTarget::Node(node) => Self(format!("node-{node}")),
            BlockTarget::Address(net) => Self::of_net(*net),
        }
    }

    /// The ids of all blocks that would concern `node` or `address`.
    pub(crate) fn concerning(node: Option<NodeId>, address: IpAddr) -> Vec<Self> {
        let node = node.map(|node| Self::of(&BlockTarget::Node(node)));
        // A client of IPv4 on a socket of IPv6 is one of IPv4 all the same.
        let address = address.to_canonical();
        let widest = IpNet::from(address).max_prefix_len();
        let nets = (0..=widest).filter_map(|len| IpNet::new(address, len).ok());
        node.into_iter().chain(nets.map(Self::of_net)).collect()
    }

    /// The id as text; one of a path's segments.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn of_net(net: IpNet) -> Self {
        let len = net.prefix_len();
        Self(match net.network() {
            IpAddr::V4(address) => format!("ip4-{}-{len}", hex::encode(address.octets())),
            IpAddr::V6(address) => format!("ip6-{}-{len}", hex::encode(address.octets())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> BlockId {
        BlockId::of(&BlockTarget::Address(text.parse().expect("a network")))
    }

    fn is_concerned(address: &str, text: &str) -> bool {
        BlockId::concerning(None, address.parse().expect("an address")).contains(&net(text))
    }

    #[test]
    fn an_address_is_found_in_every_network_that_holds_it() {
        assert_eq!(net("192.0.2.77/24").as_str(), "ip4-c0000200-24");
        for wide in ["0.0.0.0/0", "192.0.0.0/8", "192.0.2.0/24", "192.0.2.1/32"] {
            assert!(is_concerned("192.0.2.1", wide), "{wide}");
            assert!(is_concerned("::ffff:192.0.2.1", wide), "mapped, {wide}");
        }
        assert!(is_concerned("2001:db8::1", "2001:db8::/32"));
        for other in ["192.0.3.0/24", "192.0.2.2/32", "::/0"] {
            assert!(!is_concerned("192.0.2.1", other), "{other}");
        }
    }

    #[test]
    fn a_node_is_found_by_its_id() {
        let node = NodeId::from_public_key(&[7; 32]);
        let address = IpAddr::from([192, 0, 2, 1]);
        let block = BlockId::of(&BlockTarget::Node(node));
        assert!(BlockId::concerning(Some(node), address).contains(&block));
        let other = NodeId::from_public_key(&[8; 32]);
        assert!(!BlockId::concerning(Some(other), address).contains(&block));
    }
}
