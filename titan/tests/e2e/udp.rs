//! UDP associations from client to target and back: real sockets, a real SOCKS5 client library.

use std::{
    collections::HashSet,
    fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    harness::{DRIVERS, Up, binary, run, wait_for},
    udp_client::{Association, To, echo, echo_of_both_families, header, socket, with_patience},
};

/// Datagrams that must arrive without a loss: enough for a debug build in a test, and what a
/// release build is held to.
const DATAGRAMS: usize = if cfg!(debug_assertions) {
    20_000
} else {
    100_000
};

/// How many of them are under way at a time: half of what the default buffer of the test's own
/// sockets holds.
const WINDOW: usize = 40;

#[test]
fn datagrams_of_every_size_come_back_by_both_families_and_by_name() {
    let (v4, v6) = (
        echo(Ipv4Addr::LOCALHOST.into()),
        echo(Ipv6Addr::LOCALHOST.into()),
    );
    let both = echo_of_both_families();
    for io in DRIVERS {
        let up = start(io);
        for proxy in proxies(&up) {
            let association = Association::open(&up, proxy);
            for to in [
                To::Address(v4),
                To::Address(v6),
                To::Name("localhost", both),
            ] {
                for len in [1, 512, 1472, 9000, association.most(&to)] {
                    let data = noise(len);
                    association.send(&to, &data);
                    let (source, echo) = association.receive();
                    assert!(echo == data, "{io}: {len} bytes by {proxy}");
                    match to {
                        To::Address(target) => assert_eq!(source, target),
                        To::Name(_, port) => {
                            assert!(source.ip().is_loopback() && source.port() == port);
                        }
                    }
                }
            }
        }
        // A client by IPv6 can send, and get, the most that UDP over IPv4 carries.
        let by_v6 = Association::open(&up, proxies(&up)[1]);
        assert_eq!(by_v6.most(&To::Address(v4)), 65_507);
    }
}

#[test]
fn fragments_and_strangers_are_dropped_and_counted() {
    let target = To::Address(echo(Ipv4Addr::LOCALHOST.into()));
    for io in DRIVERS {
        let up = start(io);
        let association = Association::open(&up, proxies(&up)[0]);
        association.send(&target, b"one");
        association.receive();
        let whole = [&header(&target)[..], b"in parts"].concat();
        for fragment in [1, 2, 0x83] {
            let mut part = whole.clone();
            part[2] = fragment;
            association.send_raw(&part);
        }
        let neighbour = socket(Ipv4Addr::LOCALHOST.into());
        let stranger = UdpSocket::bind("127.0.0.2:0").expect("a free port");
        for other in [&neighbour, &stranger] {
            other.send_to(&whole, association.relay).expect("a socket");
        }
        wait_for_drops(&up, "fragment", 3);
        wait_for_drops(&up, "wrong_source", 2);
        association.send(&target, b"two");
        assert_eq!(association.receive().1, b"two", "{io}");
        assert_eq!(up.metric("titan_pop_datagrams_up_total"), 2);
        assert_eq!(up.metric("titan_pop_datagrams_down_total"), 2);
    }
}

#[test]
fn an_association_ends_with_its_tcp_connection() {
    let target = To::Address(echo(Ipv4Addr::LOCALHOST.into()));
    for io in DRIVERS {
        let up = start(io);
        assert_eq!(udp_sockets(&up), 0);
        let associations: Vec<_> = (0..10)
            .map(|_| Association::open(&up, proxies(&up)[0]))
            .collect();
        for association in &associations {
            association.send(&target, b"hello");
            association.receive();
        }
        assert_eq!(up.metric("titan_pop_associations_active"), 10);
        // One at the PoP and one for each family at the edge.
        assert_eq!(udp_sockets(&up), 30, "{io}");
        drop(associations);
        wait_for("the associations' end", || {
            let active = up.metric("titan_pop_associations_active");
            (active == 0 && up.metric("titan_pop_sessions_active") == 0).then_some(())
        });
        wait_for("the sockets' end", || (udp_sockets(&up) == 0).then_some(()));
    }
}

#[test]
fn any_number_of_targets_answer_with_their_true_addresses() {
    let targets = [
        with_patience(UdpSocket::bind("127.0.0.1:0").expect("a free port")),
        with_patience(UdpSocket::bind("127.0.0.3:0").expect("a free port")),
    ];
    for io in DRIVERS {
        let up = start(io);
        let association = Association::open(&up, proxies(&up)[0]);
        let mut edges = Vec::new();
        for target in &targets {
            let address = target.local_addr().expect("bound");
            association.send(&To::Address(address), b"question");
            let mut question = [0; 16];
            let (len, edge) = target.recv_from(&mut question).expect("a question");
            assert_eq!(&question[..len], b"question");
            target.send_to(b"answer", edge).expect("a socket");
            assert_eq!(association.receive(), (address, b"answer".to_vec()), "{io}");
            edges.push(edge);
        }
        // To all of them the client is one address, and whoever knows it may speak to the client.
        assert_eq!(edges[0], edges[1]);
        let stranger = UdpSocket::bind("127.0.0.4:0").expect("a free port");
        stranger.send_to(b"unasked", edges[0]).expect("a socket");
        let from = stranger.local_addr().expect("bound");
        assert_eq!(association.receive(), (from, b"unasked".to_vec()), "{io}");
    }
}

#[test]
fn many_datagrams_arrive_without_a_loss() {
    let target = To::Address(echo(Ipv4Addr::LOCALHOST.into()));
    for io in DRIVERS {
        let up = start(io);
        let association = Association::open(&up, proxies(&up)[0]);
        let mut data = noise(1200);
        for burst in (0..DATAGRAMS).step_by(WINDOW) {
            for number in burst..burst + WINDOW {
                data[..8].copy_from_slice(&(number as u64).to_be_bytes());
                association.send(&target, &data);
            }
            for number in burst..burst + WINDOW {
                let (_, echo) = association.receive();
                data[..8].copy_from_slice(&(number as u64).to_be_bytes());
                assert!(echo == data, "{io}: datagram {number}");
            }
        }
        let sent = DATAGRAMS.next_multiple_of(WINDOW) as u64;
        for direction in ["up", "down"] {
            let datagrams = format!("titan_pop_datagrams_{direction}_total");
            assert_eq!(up.metric(&datagrams), sent);
            let bytes = format!("titan_pop_bytes_{direction}_total");
            assert_eq!(up.metric(&bytes), sent * 1200);
        }
    }
}

#[test]
fn the_edges_own_network_is_out_of_reach() {
    let up = Up::start(&[]);
    let target = socket(Ipv4Addr::LOCALHOST.into());
    let association = Association::open(&up, proxies(&up)[0]);
    let port = target.local_addr().expect("bound").port();
    for to in [
        To::Address((Ipv4Addr::LOCALHOST, port).into()),
        To::Name("localhost", port),
    ] {
        association.send(&to, b"to the inside");
    }
    // The end comes behind them, so the edge has judged both when it has confirmed it.
    drop(association);
    wait_for("the association's end", || {
        (up.metric("titan_pop_sessions_active") == 0).then_some(())
    });
    assert_eq!(up.metric("titan_pop_datagrams_up_total"), 2);
    target.set_nonblocking(true).expect("a socket");
    assert!(target.recv_from(&mut [0; 16]).is_err(), "it got through");
}

#[test]
fn a_client_library_asks_a_name_server_through_the_association() {
    let packages = python_packages();
    for io in DRIVERS {
        let up = start(io);
        let proxy = proxies(&up)[0];
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/ask_dns.py");
        let output = run(Command::new("python3")
            .arg(script)
            .args([proxy.ip().to_string(), proxy.port().to_string()])
            .args([&up.info.user, &up.info.password])
            .env("PYTHONPATH", &packages));
        let answers = String::from_utf8(output.stdout).expect("text");
        assert_eq!(answers, "100 answers by address, 100 by name\n", "{io}");
        assert_eq!(up.metric("titan_pop_datagrams_down_total"), 200);
    }
}

/// A network whose proxy is reached by both families.
fn start(io: &str) -> Up {
    Up::start(&["--allow-private", "--io", io, "--proxy", "[::]:0"])
}

/// The proxy's address by IPv4 and by IPv6; by IPv4 alone where it listens so.
fn proxies(up: &Up) -> [SocketAddr; 2] {
    let port = up.info.proxy.port();
    [
        (Ipv4Addr::LOCALHOST, port).into(),
        (Ipv6Addr::LOCALHOST, port).into(),
    ]
}

fn wait_for_drops(up: &Up, reason: &str, count: u64) {
    let name = format!("titan_pop_datagrams_dropped_total{{reason=\"{reason}\"}}");
    wait_for(reason, || (up.metric(&name) == count).then_some(()));
}

/// How many UDP sockets the process has, by proc(5).
fn udp_sockets(up: &Up) -> usize {
    let inode = |line: &str| line.split_whitespace().nth(9).map(str::to_owned);
    let table = |name: &str| fs::read_to_string(format!("/proc/net/{name}")).expect("a table");
    let udp: HashSet<String> = [table("udp"), table("udp6")]
        .iter()
        .flat_map(|table| table.lines().skip(1).filter_map(inode))
        .collect();
    let descriptors = fs::read_dir(format!("/proc/{}/fd", up.process.pid())).expect("it runs");
    let links = descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    links
        .filter(|link| {
            let text = link.to_string_lossy();
            let inode = text.strip_prefix("socket:[");
            inode.is_some_and(|inode| udp.contains(inode.trim_end_matches(']')))
        })
        .count()
}

/// Where PySocks and dnslib lie; installs them if they are missing.
fn python_packages() -> PathBuf {
    let target = binary("titan")
        .parent()
        .and_then(Path::parent)
        .map(Path::to_owned);
    let packages = target
        .expect("target/debug/titan")
        .join("test-tools/python");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/install-socks-client.sh");
    run(Command::new(script).arg(&packages));
    packages
}

/// Bytes that do not repeat soon.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let word = std::iter::from_fn(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        Some(state.to_le_bytes()[0])
    });
    word.take(len).collect()
}
