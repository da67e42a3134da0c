//! What an operator orders holds for running sessions within two seconds: a real manager, PoP, edge
//! and curl.

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::{
    harness::{DRIVERS, curl, wait_for},
    network::{Network, PASSWORD, Settings, USER},
    origin,
};

/// Within this time of an order the sessions it ends are over.
const AT_ONCE: Duration = Duration::from_secs(2);

/// What curl says of a connection that was reset.
const CURL_RECV_ERROR: i32 = 56;

/// A PoP whose shards wait by `io`, and the others.
fn start(io: &str) -> Network {
    let pop = format!("io = \"{io}\"\n");
    Network::start_with(|_| Settings {
        pop,
        ..Settings::default()
    })
}

/// Downloads that would run for days, by each protocol one, and that have begun.
fn downloads(network: &Network) -> Vec<Child> {
    let before = network.metric("titan_pop_bytes_down_total");
    let url = format!("http://{}/", origin::steady_download());
    let proxies = [
        format!("socks5h://{USER}:{PASSWORD}@{}", network.at.proxy),
        format!("http://{USER}:{PASSWORD}@{}", network.at.proxy),
    ]
    .map(|proxy| proxy.replace(' ', "%20"));
    let start = |proxy: &String| {
        curl(&["-x", proxy, "-o", "/dev/null", &url])
            .stderr(Stdio::null())
            .spawn()
            .expect("curl")
    };
    let running = proxies.iter().map(start).collect();
    wait_for("the downloads", || {
        let moved = network.metric("titan_pop_bytes_down_total") - before;
        let sessions = network.metric("titan_pop_sessions_active");
        (moved > 100_000 && sessions >= 2).then_some(())
    });
    running
}

/// Waits for all of them to be cut, which must not take long since the order.
fn assert_cut(downloads: Vec<Child>, since: Instant, what: &str) {
    for mut download in downloads {
        let status = wait_for("curl", || download.try_wait().expect("started"));
        let code = status.code().expect("not killed");
        // A response of known length that ends too soon is either of the two to curl.
        assert!([CURL_RECV_ERROR, 18].contains(&code), "{what}: {code}");
    }
    assert!(since.elapsed() < AT_ONCE, "{what}: {:?}", since.elapsed());
}

fn failed(network: &Network, reason: &str) -> u64 {
    network.metric(&format!(
        "titan_pop_sessions_failed_total{{reason=\"{reason}\"}}"
    ))
}

#[test]
fn a_running_download_ends_when_its_user_is_out() {
    for io in DRIVERS {
        let network = start(io);
        let set = ["user", "set", USER];
        let orders: [(&str, Vec<&str>, Vec<&str>); 3] = [
            (
                "user_disabled",
                [&set[..], &["--enabled", "false"]].concat(),
                [&set[..], &["--enabled", "true"]].concat(),
            ),
            (
                "password_changed",
                [&set[..], &["--password", "another one"]].concat(),
                [&set[..], &["--password", PASSWORD]].concat(),
            ),
            ("user_deleted", vec!["user", "remove", USER], vec![]),
        ];
        for (reason, order, undo) in orders {
            network.wait_until_served();
            let running = downloads(&network);
            let before = failed(&network, reason);
            let since = Instant::now();
            network.order(&order);
            assert_cut(running, since, &format!("{io} {reason}"));
            assert!(failed(&network, reason) >= before + 2, "{io} {reason}");
            let logged = network.pop.logged();
            assert!(
                logged.contains(reason) && !logged.contains(USER),
                "{logged}"
            );
            if !undo.is_empty() {
                network.order(&undo);
            }
        }
    }
}

#[test]
fn a_kicked_node_loses_its_sessions_and_comes_back() {
    for io in DRIVERS {
        let network = start(io);
        let running = downloads(&network);
        let nodes = network.titan(&["node", "list"]);
        let node = nodes[0]["id"].as_str().expect("a text").to_owned();
        let since = Instant::now();
        network.order(&["node", "kick", &node]);
        assert_cut(running, since, io);
        network.wait_until_served();
        let tunnels = network.tunnels();
        assert_eq!(tunnels[0]["node"], *node, "{io}: the same node");
    }
}
