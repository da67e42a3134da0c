//! Usage is exact: what the manager tells is what clients and targets have counted, whoever was killed
//! meanwhile.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    client,
    harness::{metric, wait_for},
    network::Network,
    origin,
};

/// The user whose usage is looked at; the network's own user makes sessions while it starts.
const PAYER: &str = "dora";
const PASSWORD: &str = "a long enough one";

/// Longer than a PoP takes to bring what it has relayed to its disk.
const INTERVAL: Duration = Duration::from_millis(1500);

#[test]
fn a_thousand_sessions_are_counted_to_the_byte_whoever_is_killed() {
    const SESSIONS: usize = 1000;
    let mut network = start();
    let mut second = network.add_pop();
    let _second_edge = network.start_edge("second-edge");
    wait_for("an edge at the second PoP", || has_tunnel(second.at.admin));
    let (target, counted) = counting_target();
    let pops = [network.at.proxy, second.at.proxy];
    let clients = Clients::start(SESSIONS, pops, target);

    clients.wait_for(SESSIONS / 8);
    network.manager.kill();
    clients.wait_for(SESSIONS / 4);
    assert_eq!(second.process.terminate(), Some(0), "with the manager away");
    clients.wait_for(SESSIONS / 2);
    network.manager = network.start_manager();
    second.process = network.start_second_pop(&second.at);
    let _third_edge = network.start_edge("third-edge");
    wait_for("an edge at the second PoP", || has_tunnel(second.at.admin));
    clients.wait_for(SESSIONS * 3 / 4);
    network.manager.kill();
    clients.wait_for(SESSIONS * 7 / 8);
    network.manager = network.start_manager();
    let relayed = clients.join();

    // A clean stop leaves nothing behind.
    assert_eq!(second.process.terminate(), Some(0));
    assert_eq!(network.pop.terminate(), Some(0));
    let at_target = (
        counted.up.load(Ordering::SeqCst),
        counted.down.load(Ordering::SeqCst),
    );
    assert_eq!(relayed, at_target, "clients and targets agree");
    let usage = usage(&network);
    assert_eq!(totals(&usage), (relayed.0, relayed.1, SESSIONS as u64));
    assert_eq!(usage["connections"], 0);
    assert_eq!(
        series_sum(&network),
        (relayed.0, relayed.1, SESSIONS as u64)
    );
}

#[test]
fn a_killed_pop_loses_no_more_than_its_last_interval() {
    let mut network = start();
    let (target, _) = counting_target();
    // With the manager away all of it lies on the PoP's disk.
    network.manager.kill();
    let before = exchange(network.at.proxy, target, 40_000, 70_000).expect("served");
    thread::sleep(INTERVAL);
    let after = exchange(network.at.proxy, target, 1000, 2000).expect("served");
    network.pop.kill();
    network.manager = network.start_manager();
    network.pop = network.start_pop();
    wait_for("what was on disk", || {
        let (up, down, _) = totals(&usage(&network));
        (up >= before.0 && down >= before.1).then_some(())
    });
    assert_eq!(network.pop.terminate(), Some(0));
    let (up, down, sessions) = totals(&usage(&network));
    assert!((before.0..=before.0 + after.0).contains(&up), "{up}");
    assert!((before.1..=before.1 + after.1).contains(&down), "{down}");
    assert!((1..=2).contains(&sessions), "{sessions}");
}

#[test]
fn what_runs_is_seen_while_it_runs() {
    let network = start();
    let (proxy, echo) = (network.at.proxy, origin::echo());
    let mut client = client::socks5(proxy, PAYER, PASSWORD, echo).stream;
    let mut relay = |bytes: usize| {
        client.write_all(&vec![7; bytes]).expect("the proxy reads");
        client.read_exact(&mut vec![0; bytes]).expect("an echo");
    };
    relay(1000);
    let usage = wait_for("usage of a session that runs", || {
        let usage = usage(&network);
        (totals(&usage) == (1000, 1000, 1)).then_some(usage)
    });
    assert_eq!(usage["connections"], 1);
    wait_for("bandwidth", || {
        relay(500);
        let usage = self::usage(&network);
        (usage["up_bytes_per_second"].as_u64() >= Some(500)).then_some(())
    });
    let top = network.titan(&["usage", "--top"]);
    assert_eq!(top["users"][0]["name"], PAYER, "{top}");
    let csv = network.titan_text(&["usage", PAYER, "--series", "1h", "--csv"]);
    assert!(
        csv.starts_with("start,up_bytes,down_bytes,sessions\r\n"),
        "{csv}"
    );
    assert!(csv.lines().count() > 24 * 60, "every hour of sixty days");
    assert!(
        network
            .titan_text(&["usage", PAYER])
            .contains("B down, 1 sessions")
    );
    drop(client);
    wait_for("the session's end", || {
        (self::usage(&network)["connections"] == 0).then_some(())
    });
    assert_eq!(metric(network.at.admin, "titan_pop_usage_paused"), 0);
}

/// A network with a user who has relayed nothing.
fn start() -> Network {
    let network = Network::start();
    network.titan(&["user", "add", PAYER, "--password", PASSWORD]);
    // Known to the PoP from here on, whether the manager is there or not.
    client::socks5_password_status(network.at.proxy, PAYER, PASSWORD);
    network
}

fn has_tunnel(admin: SocketAddr) -> Option<()> {
    // The PoP may not listen yet.
    TcpStream::connect(admin).ok()?;
    (metric(admin, "titan_pop_tunnels_active") > 0).then_some(())
}

fn usage(network: &Network) -> Value {
    network.titan(&["usage", PAYER])
}

fn totals(usage: &Value) -> (u64, u64, u64) {
    sums(&usage["total"])
}

fn sums(value: &Value) -> (u64, u64, u64) {
    let number = |field: &str| value[field].as_u64().expect("a number");
    (number("up_bytes"), number("down_bytes"), number("sessions"))
}

/// All points of the finest series together.
fn series_sum(network: &Network) -> (u64, u64, u64) {
    let series = network.titan(&["usage", PAYER, "--series", "5m"]);
    let points = series["points"].as_array().expect("points");
    points.iter().map(sums).fold((0, 0, 0), |sum, point| {
        (sum.0 + point.0, sum.1 + point.1, sum.2 + point.2)
    })
}

/// Bytes that targets have received and sent.
#[derive(Default)]
struct Counted {
    up: AtomicU64,
    down: AtomicU64,
}

/// A target that is told in eight bytes how many more it gets and how many it shall send, and counts
/// all of them.
fn counting_target() -> (SocketAddr, Arc<Counted>) {
    let counted = Arc::<Counted>::default();
    let counters = Arc::clone(&counted);
    let serve = move |mut stream: TcpStream| -> io::Result<()> {
        let mut lengths = [0; 8];
        stream.read_exact(&mut lengths)?;
        let [up, down] = [&lengths[..4], &lengths[4..]]
            .map(|length| u64::from(u32::from_be_bytes(length.try_into().expect("four bytes"))));
        let received = io::copy(&mut (&mut stream).take(up), &mut io::sink())?;
        counters.up.fetch_add(8 + received, Ordering::SeqCst);
        let sent = io::copy(&mut io::repeat(b'x').take(down), &mut stream)?;
        counters.down.fetch_add(sent, Ordering::SeqCst);
        Ok(())
    };
    let addr = origin::start(move |stream| {
        // What a client does not get shows at the client.
        let _ = serve(stream);
    });
    (addr, counted)
}

/// One session through a PoP; the bytes that went up and came down, or nothing where there was no
/// session. One that has begun must end well.
fn exchange(proxy: SocketAddr, target: SocketAddr, up: u32, down: u32) -> Option<(u64, u64)> {
    let user = format!("{PAYER}-confirm");
    let asked = client::try_socks5(proxy, &user, PASSWORD, target).ok()?;
    if asked.reply != 0 {
        return None;
    }
    let mut stream = asked.stream;
    let mut request = [up.to_be_bytes(), down.to_be_bytes()].concat();
    request.resize(8 + up as usize, b'y');
    stream.write_all(&request).expect("the proxy reads");
    let received = io::copy(&mut stream, &mut io::sink()).expect("a clean end");
    assert_eq!(received, u64::from(down));
    Some((request.len() as u64, received))
}

/// Clients that make sessions one after the other, on both PoPs.
struct Clients {
    threads: Vec<thread::JoinHandle<(u64, u64)>>,
    done: Arc<AtomicUsize>,
}

impl Clients {
    fn start(sessions: usize, pops: [SocketAddr; 2], target: SocketAddr) -> Self {
        const AT_ONCE: usize = 8;
        let (begun, done) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let threads = (0..AT_ONCE).map(|_| {
            let (begun, done) = (Arc::clone(&begun), Arc::clone(&done));
            thread::spawn(move || {
                let mut relayed = (0, 0);
                loop {
                    let number = begun.fetch_add(1, Ordering::SeqCst);
                    if number >= sessions {
                        return relayed;
                    }
                    let (up, down) = one_of(number, pops, target);
                    relayed = (relayed.0 + up, relayed.1 + down);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        Self {
            threads: threads.collect(),
            done: Arc::clone(&done),
        }
    }

    /// Waits until that many sessions have ended.
    fn wait_for(&self, count: usize) {
        wait_for("sessions", || {
            (self.done.load(Ordering::SeqCst) >= count).then_some(())
        });
    }

    /// Bytes up and down of all sessions.
    fn join(self) -> (u64, u64) {
        let relayed = self
            .threads
            .into_iter()
            .map(|thread| thread.join().expect("sessions"));
        relayed.fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1))
    }
}

/// Session `number`, of a size that its number gives, on the PoP whose turn it is or on the other.
fn one_of(number: usize, pops: [SocketAddr; 2], target: SocketAddr) -> (u64, u64) {
    // Knuth's multiplicative hash: any size up to 64 KiB, the same in every run.
    let size = |salt: u32| {
        let number = u32::try_from(number).expect("a small number");
        (number * 2 + salt).wrapping_mul(2_654_435_761) >> 16
    };
    let mut turns = pops.iter().cycle().skip(number % 2);
    wait_for("a session", || {
        exchange(*turns.next().expect("endless"), target, size(0), size(1))
    })
}
