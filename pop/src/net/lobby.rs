//! Places for connections that have not said yet who they are.
//!
//! A stranger costs a descriptor, a task and a few kilobytes until it has said what it wants, and there
//! may be more strangers than an operator has memory for. So they have a bounded number of places. When
//! all are taken, whoever has had one for longest loses it: an honest handshake takes a few round trips
//! and is over long before, a slow one has had its chance. And one network has only so many places, so
//! that nobody can empty the room from a single address.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    rc::Rc,
};

use super::notify::Notify;

/// The places of one kind of stranger on one shard.
#[derive(Debug)]
pub struct Lobby {
    places: usize,
    places_per_network: usize,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those who have a place, by their serial numbers: the first came first.
    present: BTreeMap<u64, Rc<Notify>>,
    last_serial: u64,
    /// How many connections each network has here. Invariant: no entry is 0.
    networks: HashMap<IpAddr, usize>,
}

impl Lobby {
    /// A lobby with so many places, and so many for each network; 0 there means as many as there are.
    pub fn new(places: u32, places_per_network: u32) -> Rc<Self> {
        let count = |places: u32| usize::try_from(places).unwrap_or(usize::MAX);
        Rc::new(Self {
            places: count(places),
            places_per_network: match places_per_network {
                0 => usize::MAX,
                places => count(places),
            },
            state: RefCell::default(),
        })
    }

    /// A place for a connection from `peer`, if need be that of the oldest; `None` where the peer's network
    /// has all it may have.
    pub fn enter(self: &Rc<Self>, peer: IpAddr) -> Option<Place> {
        let mut state = self.state.borrow_mut();
        let network = network(peer);
        let here = state.networks.entry(network).or_default();
        if *here >= self.places_per_network {
            return None;
        }
        *here += 1;
        if state.present.len() >= self.places
            && let Some((_, oldest)) = state.present.pop_first()
        {
            oldest.notify();
        }
        state.last_serial += 1;
        let serial = state.last_serial;
        let turned_out = Rc::<Notify>::default();
        state.present.insert(serial, Rc::clone(&turned_out));
        Some(Place {
            lobby: Rc::clone(self),
            serial,
            network,
            turned_out,
        })
    }

    fn leave(&self, serial: u64, network: IpAddr) {
        let mut state = self.state.borrow_mut();
        state.present.remove(&serial);
        if let Some(here) = state.networks.get_mut(&network) {
            *here -= 1;
            if *here == 0 {
                state.networks.remove(&network);
            }
        }
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    lobby: Rc<Lobby>,
    serial: u64,
    network: IpAddr,
    turned_out: Rc<Notify>,
}

impl Place {
    /// Waits until the place is needed for somebody else; then the connection has to go.
    pub async fn turned_out(&self) {
        self.turned_out.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lobby.leave(self.serial, self.network);
    }
}

/// What belongs to one subscriber: an IPv4 address, or an IPv6 network of 64 bits, which is the least that
/// one gets (RFC 6177 §2).
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;

    fn is_turned_out(place: &Place) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        pin!(place.turned_out()).poll(&mut cx).is_ready()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_oldest_gives_way_when_all_places_are_taken() {
        let lobby = Lobby::new(2, 0);
        let [first, second, third] =
            std::array::from_fn(|_| lobby.enter(ip("192.0.2.1")).expect("no limit"));
        assert_eq!(
            [&first, &second, &third].map(is_turned_out),
            [true, false, false]
        );
        drop(second);
        let fourth = lobby.enter(ip("192.0.2.1")).expect("no limit");
        assert!(![&third, &fourth].into_iter().any(is_turned_out));
    }

    #[test]
    fn one_network_has_only_so_many_places() {
        let lobby = Lobby::new(100, 2);
        let mut held = vec![
            lobby.enter(ip("2001:db8::1")).expect("the first"),
            lobby.enter(ip("2001:db8::ffff:2")).expect("the second"),
        ];
        assert!(lobby.enter(ip("2001:db8::3")).is_none(), "the same /64");
        held.push(lobby.enter(ip("2001:db8:0:1::1")).expect("the next /64"));
        held.push(lobby.enter(ip("192.0.2.1")).expect("another"));
        held.push(lobby.enter(ip("::ffff:192.0.2.1")).expect("the same again"));
        assert!(lobby.enter(ip("192.0.2.1")).is_none());
        held.clear();
        assert!(lobby.state.borrow().networks.is_empty());
        assert!(lobby.enter(ip("2001:db8::3")).is_some());
    }
}
