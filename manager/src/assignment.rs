//! Which PoP a node should connect to.

use titan_proto::control::{PopId, Region};

use crate::store::LivePop;

/// What speaks for one PoP or another.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish<'a> {
    /// The PoP the node was sent to the last time.
    pub(crate) last: Option<&'a PopId>,
    /// A PoP it could not reach just now.
    pub(crate) avoid: Option<&'a PopId>,
    /// The node's region.
    pub(crate) region: Option<Region>,
    /// A PoP with this many tunnels takes no more.
    pub(crate) max_tunnels: u32,
}

/// Picks among the PoPs that are online and take nodes: the former one; else, of those in the
/// node's region if there are any, the one with the fewest tunnels. `avoid` is the last resort.
pub(crate) fn choose<'a>(pops: &'a [LivePop], wish: &Wish<'_>) -> Option<&'a LivePop> {
    let takes_nodes =
        |pop: &&LivePop| pop.presence.accepting && pop.presence.tunnels < wish.max_tunnels;
    let is = |pop: &LivePop, id: Option<&PopId>| id == Some(&pop.id);
    // False sorts before true. The id makes the choice the same on every manager.
    pops.iter().filter(takes_nodes).min_by_key(|pop| {
        (
            is(pop, wish.avoid),
            !is(pop, wish.last),
            wish.region.is_none() || pop.presence.region != wish.region,
            pop.presence.tunnels,
            &pop.id,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::PopPresence;

    fn pop(id: &str, tunnels: u32) -> LivePop {
        let presence = PopPresence {
            tunnel_url: "ws://127.0.0.1:8081/tunnel".into(),
            proxy_addr: "127.0.0.1:1080".into(),
            version: "1".into(),
            region: None,
            tunnels,
            sessions: 0,
            accepting: true,
        };
        LivePop {
            id: id.parse().expect("an id"),
            presence,
        }
    }

    fn in_region(mut pop: LivePop, region: &str) -> LivePop {
        pop.presence.region = Some(region.parse().expect("a region"));
        pop
    }

    fn chosen(pops: &[LivePop], wish: Wish<'_>) -> Option<String> {
        let wish = Wish {
            max_tunnels: 100,
            ..wish
        };
        choose(pops, &wish).map(|pop| pop.id.to_string())
    }

    fn id(text: &str) -> PopId {
        text.parse().expect("an id")
    }

    #[test]
    fn the_emptiest_pop_gets_a_new_node() {
        let pops = [pop("a", 9), pop("b", 3), pop("c", 3)];
        assert_eq!(chosen(&pops, Wish::default()).as_deref(), Some("b"));
        assert_eq!(chosen(&[], Wish::default()), None);
    }

    #[test]
    fn a_node_returns_to_its_pop_while_that_takes_nodes() {
        let last = id("a");
        let wish = Wish {
            last: Some(&last),
            ..Wish::default()
        };
        let mut pops = [pop("a", 99), pop("b", 3)];
        assert_eq!(chosen(&pops, wish).as_deref(), Some("a"));
        pops[0].presence.tunnels = 100;
        assert_eq!(chosen(&pops, wish).as_deref(), Some("b"), "full");
        pops[0].presence.tunnels = 0;
        pops[0].presence.accepting = false;
        assert_eq!(chosen(&pops, wish).as_deref(), Some("b"), "draining");
    }

    #[test]
    fn what_was_out_of_reach_comes_last() {
        let (last, avoid) = (id("a"), id("a"));
        let wish = Wish {
            last: Some(&last),
            avoid: Some(&avoid),
            ..Wish::default()
        };
        assert_eq!(
            chosen(&[pop("a", 1), pop("b", 50)], wish).as_deref(),
            Some("b")
        );
        assert_eq!(
            chosen(&[pop("a", 1), pop("b", 100)], wish).as_deref(),
            Some("a")
        );
    }

    #[test]
    fn the_region_goes_before_the_load() {
        let pops = [
            pop("a", 1),
            in_region(pop("b", 50), "de"),
            in_region(pop("c", 2), "us"),
        ];
        let in_german = Wish {
            region: "de".parse().ok(),
            ..Wish::default()
        };
        assert_eq!(chosen(&pops, in_german).as_deref(), Some("b"));
        let elsewhere = Wish {
            region: "fr".parse().ok(),
            ..Wish::default()
        };
        assert_eq!(chosen(&pops, elsewhere).as_deref(), Some("a"));
    }
}
