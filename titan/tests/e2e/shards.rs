//! Two shards: sessions land on tunnels of both, and clients move to where their tunnel lives.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::Value;

use crate::{
    client,
    harness::{DRIVERS, Up, curl, run, wait_for},
    origin,
};

#[test]
fn sessions_use_the_tunnels_of_both_shards() {
    let echo = origin::echo();
    for io in DRIVERS {
        let up = start_two_shards("8", io);
        let clients = open_sessions(&up, echo);
        let sessions = sessions_by_shard(&up);
        assert_eq!(
            sessions.values().sum::<u64>(),
            clients.len() as u64,
            "{io}: {sessions:?}"
        );
        assert!(
            sessions.len() == 2 && sessions.values().all(|n| *n > 0),
            "{io}: {sessions:?}"
        );
    }
}

#[test]
fn clients_move_once_to_the_shard_of_the_only_tunnel() {
    let echo = origin::echo();
    for io in DRIVERS {
        let up = start_two_shards("1", io);
        let clients = open_sessions(&up, echo);
        let sessions = sessions_by_shard(&up);
        assert_eq!(
            sessions.values().copied().collect::<Vec<_>>(),
            [clients.len() as u64],
            "{io}"
        );
        // The kernel spreads clients evenly over the shards' listeners; every one moves at most once.
        let moved = up.metric("titan_pop_client_handovers_total");
        assert!(
            moved > 0 && moved < clients.len() as u64,
            "{io}: {moved} hand-overs"
        );
    }
}

#[test]
fn an_edge_with_several_tunnels_serves_both_shards_without_hand_overs() {
    let echo = origin::echo();
    for io in DRIVERS {
        let options = ["--io", io, "--shards", "2", "--tunnels", "4"];
        let up = Up::start(&[&["--allow-private"], &options[..]].concat());
        wait_for("all tunnels", || (tunnels(&up).len() == 4).then_some(()));
        let clients = open_sessions(&up, echo);
        let tunnels = tunnels(&up);
        let on = |shard: u64| tunnels.iter().filter(|t| t["shard"] == shard).count();
        assert_eq!((on(0), on(1)), (2, 2), "{io}: {tunnels:?}");
        let sessions: Vec<_> = tunnels.iter().map(sessions).collect();
        assert!(sessions.iter().all(|n| *n > 0), "{io}: {sessions:?}");
        assert_eq!(sessions.iter().sum::<u64>(), clients.len() as u64, "{io}");
        // Every client finds a tunnel where it is.
        assert_eq!(up.metric("titan_pop_client_handovers_total"), 0, "{io}");
        assert_eq!(up.metric("titan_pop_tunnels_active"), 4, "{io}");
        let node = &tunnels[0]["node"];
        assert!(tunnels.iter().all(|t| t["node"] == *node), "{io}: one node");
    }
}

/// Two shards and so many edges.
fn start_two_shards(edges: &str, io: &str) -> Up {
    let shards = ["--shards", "2", "--edges", edges];
    Up::start(&[&["--allow-private", "--io", io], &shards[..]].concat())
}

/// Opens a hundred sessions and has each carry bytes both ways.
fn open_sessions(up: &Up, echo: SocketAddr) -> Vec<TcpStream> {
    let (proxy, user, password) = (up.info.proxy, &up.info.user, &up.info.password);
    let open = |_| client::socks5(proxy, user, password, echo).stream;
    let mut clients: Vec<_> = (0..100).map(open).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client
            .write_all(&number.to_be_bytes())
            .expect("the proxy reads");
        let mut answer = [0; size_of::<usize>()];
        client.read_exact(&mut answer).expect("an echo");
        assert_eq!(answer, number.to_be_bytes());
    }
    clients
}

/// Sessions now running, by the shard of their tunnel.
fn sessions_by_shard(up: &Up) -> BTreeMap<u64, u64> {
    let mut sessions_by_shard = BTreeMap::new();
    for tunnel in tunnels(up) {
        let shard = tunnel["shard"].as_u64().expect("a number");
        *sessions_by_shard.entry(shard).or_default() += sessions(&tunnel);
    }
    sessions_by_shard
}

/// The PoP's tunnels as it lists them.
fn tunnels(up: &Up) -> Vec<Value> {
    let url = format!("http://{}/debug/tunnels", up.info.pop_admin);
    serde_json::from_slice(&run(&mut curl(&[&url])).stdout).expect("a list")
}

fn sessions(tunnel: &Value) -> u64 {
    tunnel["sessions"].as_u64().expect("a number")
}
