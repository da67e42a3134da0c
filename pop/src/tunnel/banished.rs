//! Nodes that were sent away, for as long as a token from before could still be shown.

use std::collections::VecDeque;

use titan_proto::control::NodeId;

use crate::{
    limits::{BANISHED_NODES, SENT_AWAY_KEPT_S},
    mesh::SentAway,
};

/// The last nodes that were sent away, oldest first. A node may come back with a token that is newer,
/// if the manager gives it one.
#[derive(Debug, Default)]
pub struct Banished(VecDeque<SentAway>);

impl Banished {
    /// Remembers one more.
    pub fn note(&mut self, sent_away: SentAway) {
        self.0
            .retain(|known| sent_away.at_s.saturating_sub(known.at_s) < SENT_AWAY_KEPT_S);
        if self.0.len() >= BANISHED_NODES {
            self.0.pop_front();
        }
        self.0.push_back(sent_away);
    }

    /// Whether a token of this node, issued at that time in seconds since the Unix epoch, is from before
    /// it was sent away.
    pub fn covers(&self, node: NodeId, issued_at_s: u64) -> bool {
        self.0
            .iter()
            .any(|sent_away| sent_away.node == node && issued_at_s <= sent_away.at_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u64) -> NodeId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        NodeId::from_public_key(&key)
    }

    fn sent_away(number: u64, at_s: u64) -> SentAway {
        let (node, why) = (node(number), "kicked");
        SentAway { node, at_s, why }
    }

    #[test]
    fn a_token_from_before_is_void_and_a_newer_one_is_not() {
        let mut banished = Banished::default();
        banished.note(sent_away(1, 1000));
        assert!(banished.covers(node(1), 999) && banished.covers(node(1), 1000));
        assert!(!banished.covers(node(1), 1001) && !banished.covers(node(2), 999));
    }

    #[test]
    fn what_no_token_can_reach_is_forgotten_and_the_rest_is_bounded() {
        let mut banished = Banished::default();
        banished.note(sent_away(0, 1000));
        banished.note(sent_away(0, 1000 + SENT_AWAY_KEPT_S));
        assert_eq!(banished.0.len(), 1);
        for number in 0..2 * BANISHED_NODES as u64 {
            banished.note(sent_away(number, 1000 + SENT_AWAY_KEPT_S));
        }
        assert_eq!(banished.0.len(), BANISHED_NODES);
    }
}
