//! An edge with several tunnels, one of which is cut on the way.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use crate::{
    harness::wait_for,
    network::{Network, Settings},
    origin,
};

const TUNNELS: usize = 4;
const SESSIONS: usize = 40;

#[test]
fn a_cut_tunnel_takes_its_sessions_and_no_others() {
    let mut road = None;
    let network = Network::start_with(|at| {
        let road = road.insert(Road::to(at.tunnel));
        let url = format!("ws://{}/tunnel", road.addr);
        Settings {
            pop: format!("advertise_tunnel_url = \"{url}\"\n"),
            edge: format!("tunnels = {TUNNELS}\n"),
        }
    });
    let road = road.expect("it was built");
    network.wait_for_tunnels(TUNNELS);
    let echo = origin::echo();
    let mut clients: Vec<_> = (0..SESSIONS)
        .map(|_| network.open(echo).expect("served"))
        .collect();
    assert!(clients.iter_mut().all(|client| echoes(client).is_ok()));

    let (tunnel, sessions) = busiest(&network);
    road.cut(tunnel);
    wait_for("the tunnel's end and its successor", || {
        let tunnels = network.tunnels();
        let is_it = |at: &SocketAddr| *at == tunnel;
        let gone = !tunnels.iter().map(address).any(|at| is_it(&at));
        (gone && tunnels.len() == TUNNELS).then_some(())
    });
    let alive = clients
        .iter_mut()
        .filter_map(|client| echoes(client).ok())
        .count();
    assert_eq!(alive, SESSIONS - sessions, "the others' sessions go on");

    let nodes = network.titan(&["node", "list"]);
    let nodes = nodes.as_array().expect("a list");
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    assert_eq!(nodes[0]["online"], true);
    wait_for("the manager to hear of all tunnels", || {
        let pops = network.titan(&["pop", "list"]);
        (pops[0]["tunnels"] == TUNNELS).then_some(())
    });
}

/// Where the tunnel with the most sessions comes from, and how many it has.
fn busiest(network: &Network) -> (SocketAddr, usize) {
    let (at, sessions) = wait_for("no sessions but ours", || {
        let listed = network.tunnels();
        let all: usize = listed.iter().map(sessions).sum();
        let busiest = listed.iter().max_by_key(|tunnel| sessions(tunnel))?;
        (all == SESSIONS).then(|| (address(busiest), sessions(busiest)))
    });
    assert!(sessions < SESSIONS, "the tunnels share the sessions");
    (at, sessions)
}

fn sessions(tunnel: &serde_json::Value) -> usize {
    let number = tunnel["sessions"].as_u64().expect("a number");
    usize::try_from(number).expect("few")
}

fn address(tunnel: &serde_json::Value) -> SocketAddr {
    let text = tunnel["address"].as_str().expect("a text");
    text.parse().expect("an address")
}

/// Whether a session still carries bytes both ways.
fn echoes(client: &mut TcpStream) -> io::Result<()> {
    client.write_all(b"?")?;
    client.read_exact(&mut [0])
}

/// A way to the PoP on which single connections can be cut.
struct Road {
    addr: SocketAddr,
    /// Both ends of each connection, by the address that the PoP sees.
    lanes: Arc<Mutex<HashMap<SocketAddr, [TcpStream; 2]>>>,
}

impl Road {
    fn to(pop: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let lanes = Arc::<Mutex<HashMap<_, _>>>::default();
        let open = Arc::clone(&lanes);
        thread::spawn(move || {
            for edge in listener.incoming().flatten() {
                // While the PoP is down, edges see a connection that ends at once.
                let Ok(pop) = TcpStream::connect(pop) else {
                    continue;
                };
                let seen_as = pop.local_addr().expect("connected");
                let ends = [copy(&edge), copy(&pop)];
                open.lock().expect("no panic").insert(seen_as, ends);
                carry(copy(&edge), copy(&pop));
                carry(pop, edge);
            }
        });
        Self { addr, lanes }
    }

    /// Cuts the connection that the PoP knows by that address, at both ends.
    fn cut(&self, seen_as: SocketAddr) {
        let ends = self.lanes.lock().expect("no panic").remove(&seen_as);
        for end in ends.expect("such a connection") {
            // The second end may be gone by then: the first one's end is passed on.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

/// Passes bytes on in one direction until it ends.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        // However it ended, the other side shall know that it has.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

fn copy(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a descriptor")
}
