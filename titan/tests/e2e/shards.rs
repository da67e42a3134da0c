//! Two shards: sessions land on tunnels of both, and clients move to where their tunnel lives.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::Value;

use crate::{
    client,
    harness::{DRIVERS, Up, curl, run},
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
    let url = format!("http://{}/debug/tunnels", up.info.pop_admin);
    let tunnels: Value = serde_json::from_slice(&run(&mut curl(&[&url])).stdout).expect("JSON");
    let mut sessions = BTreeMap::new();
    for tunnel in tunnels.as_array().expect("a list") {
        let shard = tunnel["shard"].as_u64().expect("a number");
        *sessions.entry(shard).or_default() += tunnel["sessions"].as_u64().expect("a number");
    }
    sessions
}
