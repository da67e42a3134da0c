//! Rates: a user gets what was sold and no more, however many sessions and shards there are, and
//! nobody else notices.

mod common;

use std::{
    num::NonZeroU64,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use common::{Client, DRIVERS, Edge, Manner, PASSWORD, World, client::basic, eventually, within};
use titan_pop::{config::IoChoice, limits::RATE_BURST_MIN};
use titan_proto::{addr::Target, control::UserLimits, socks5::encode_udp_header};
use tokio::{io::AsyncReadExt, net::UdpSocket};

/// Bytes a second of the user under test.
const RATE: u64 = 5_000_000;

fn down(rate: u64) -> UserLimits {
    UserLimits {
        down_bytes_per_second: NonZeroU64::new(rate),
        ..UserLimits::default()
    }
}

/// Two shards, and on each a tunnel.
async fn start(io: IoChoice) -> (World, [Edge; 2]) {
    let world = World::start_with(io, |config| config.shards = 2).await;
    world.manager.set_user("bob", PASSWORD, |_| {});
    let edges = [world.edge().await, world.edge().await];
    (world, edges)
}

/// Downloads that never end, as many as are dropped with it.
struct Downloads {
    received: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Downloads {
    async fn start(world: &World, user: &str, sessions: usize) -> Self {
        let received = Arc::<AtomicU64>::default();
        let mut tasks = Vec::new();
        for _ in 0..sessions {
            let mut client = world.client().await;
            assert_eq!(client.socks5_login(user, PASSWORD).await, 0);
            assert_eq!(client.socks5_connect("endless.test").await, 0);
            tasks.push(tokio::spawn(read(client, Arc::clone(&received))));
        }
        Self { received, tasks }
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Waits until so many bytes have come; gives the time.
    async fn reach(&self, bytes: u64) -> Instant {
        eventually("bytes", async || self.received() >= bytes).await;
        Instant::now()
    }

    /// Bytes a second over so many bytes from here on.
    async fn rate(&self, bytes: u64) -> f64 {
        let (start, before) = (Instant::now(), self.received());
        let end = self.reach(before + bytes).await;
        (self.received() - before) as f64 / (end - start).as_secs_f64()
    }
}

impl Drop for Downloads {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|task| task.abort());
    }
}

async fn read(mut client: Client, received: Arc<AtomicU64>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(bytes @ 1..) = client.stream.read(&mut buffer).await {
        received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

fn assert_rate(measured: f64, rate: u64, what: &str) {
    let ratio = measured / rate as f64;
    assert!((0.95..1.05).contains(&ratio), "{what}: {ratio} of the rate");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_gets_the_rate_with_one_session_and_with_twenty_and_others_keep_theirs() {
    for io in DRIVERS {
        let (world, _edges) = start(io).await;
        let set = |user: &mut titan_proto::control::UserRecord| user.limits = down(RATE);
        world.manager.set_user(common::USER, PASSWORD, set);
        for sessions in [1, 20] {
            let limited = Downloads::start(&world, common::USER, sessions).await;
            limited.reach(RATE / 5).await;
            let alone = limited.rate(2 * RATE).await;
            assert_rate(alone, RATE, &format!("{io:?}, {sessions} sessions"));
            let free = Downloads::start(&world, "bob", 2).await;
            let (limited, free) = tokio::join!(limited.rate(2 * RATE), free.rate(20 * RATE));
            assert_rate(
                limited,
                RATE,
                &format!("{io:?}, {sessions} sessions beside others"),
            );
            assert!(
                free > 4.0 * RATE as f64,
                "{io:?}: others get {free} bytes a second"
            );
        }
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_a_user_share_the_rate_fairly() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let set = |user: &mut titan_proto::control::UserRecord| user.limits = down(RATE);
        world.manager.set_user(common::USER, PASSWORD, set);
        let (first, second) = (
            Downloads::start(&world, common::USER, 1).await,
            Downloads::start(&world, common::USER, 1).await,
        );
        first.reach(RATE / 5).await;
        let (first, second) = tokio::join!(first.rate(RATE), second.rate(RATE));
        let ratio = first / second;
        assert!(
            (0.8..1.25).contains(&ratio),
            "{io:?}: {first} beside {second}"
        );
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_rate_holds_for_running_sessions_at_once() {
    for io in DRIVERS {
        let (world, _edges) = start(io).await;
        let limited = Downloads::start(&world, common::USER, 4).await;
        limited.reach(4 * RATE).await;
        for rate in [RATE, RATE / 5] {
            let set = |user: &mut titan_proto::control::UserRecord| user.limits = down(rate);
            world.manager.set_user(common::USER, PASSWORD, set);
            // What is on its way, and the burst of the new rate.
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_rate(limited.rate(2 * rate).await, rate, &format!("{io:?}"));
        }
        world.manager.set_user(common::USER, PASSWORD, |_| {});
        let free = limited.rate(20 * RATE).await;
        assert!(free > 4.0 * RATE as f64, "{io:?}: {free} without a limit");
        world.stop().await;
    }
}

#[tokio::test]
async fn uploads_have_a_rate_too() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let mut edge = world.edge_that(Manner::Holds).await;
        world.manager.set_user(common::USER, PASSWORD, |user| {
            user.limits.up_bytes_per_second = NonZeroU64::new(RATE);
        });
        let mut client = world.client().await;
        assert_eq!(client.socks5("", "holds.test").await, 0);
        let upload = tokio::spawn(async move {
            let block = vec![7; 1 << 16];
            for _ in 0..400 {
                client.send(&block).await;
            }
            client
        });
        edge.saw(|news| news.held >= 1_000_000).await;
        let (start, before) = (Instant::now(), edge.held());
        edge.saw(|news| news.held >= before + 10_000_000).await;
        let rate = (edge.held() - before) as f64 / start.elapsed().as_secs_f64();
        assert_rate(rate, RATE, &format!("{io:?}"));
        upload.abort();
        world.stop().await;
    }
}

#[tokio::test]
async fn forwarded_responses_have_the_users_rate() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        let set = |user: &mut titan_proto::control::UserRecord| user.limits = down(1_000_000);
        world.manager.set_user(common::USER, PASSWORD, set);
        let content = "x".repeat(3_000_000);
        let script = format!("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n{content}");
        let request = format!(
            "POST http://script.test/ HTTP/1.1\r\nHost: script.test\r\n{}Content-Length: {}\r\n\r\n",
            basic(common::USER, PASSWORD),
            script.len()
        );
        let mut client = world.client().await;
        let asked = Instant::now();
        client.send(request + &script).await;
        client.head().await;
        let begun = Instant::now();
        assert_eq!(client.read(3_000_000).await.len(), 3_000_000);
        // The burst of a tenth of a second comes at once; a busy machine makes nothing faster.
        let (most, least) = (asked.elapsed(), begun.elapsed());
        assert!(
            most >= Duration::from_secs_f64(2.9 * 0.95),
            "{io:?}: {most:?}"
        );
        assert!(
            least <= Duration::from_secs_f64(2.9 * 1.05),
            "{io:?}: {least:?}"
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn datagrams_beyond_the_rate_are_dropped_and_counted() {
    for io in DRIVERS {
        let world = World::start(io).await;
        let _edge = world.edge().await;
        world.manager.set_user(common::USER, PASSWORD, |user| {
            user.limits.up_bytes_per_second = NonZeroU64::new(1000);
        });
        let mut control = world.client().await;
        let unknown = ([0, 0, 0, 0], 0).into();
        let (code, relay) = control.socks5_associate("", unknown).await;
        assert_eq!(code, 0);
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let mut datagram = Vec::new();
        let target: Target = "192.0.2.1:7".parse().expect("valid");
        encode_udp_header(&target, &mut datagram);
        datagram.resize(datagram.len() + 1024, 7);
        // One more than the burst holds, and a few that the time for all this may earn.
        let sent = RATE_BURST_MIN / 1024 + 16;
        for number in 1..=sent {
            socket.send_to(&datagram, relay).await.expect("sends");
            // One by one, so that no socket's buffer drops any.
            let dropped = "datagrams_dropped{reason=\"rate_limited\"}";
            eventually("the datagram", async || {
                world.metric("datagrams_up").await + world.metric(dropped).await == number
            })
            .await;
        }
        let passed = world.metric("datagrams_up").await;
        let most = RATE_BURST_MIN / 1024;
        assert!((most..sent).contains(&passed), "{io:?}: {passed} of {sent}");
        within("the end", control.finish()).await;
        world.stop().await;
    }
}
