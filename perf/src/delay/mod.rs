//! A link with a delay: a TCP relay that stands between two programs and lets bytes through later.
//!
//! ```text
//!   near ──▶ read, stamp ──▶ [ waits to be sent | under way ] ──▶ write when due ──▶ far
//!                              at most `queue`    delay × rate
//! ```
//!
//! The relay ends TCP on both sides, so that what each end sees of congestion control is a quick
//! line; the delay, the rate and the holding up of what follows a loss are the link's own. A new
//! connection pays the round trip of its handshake, too.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    task::spawn_local,
    time::{Instant, sleep_until},
};

use crate::limits::{LINK_BYTES, LINK_READ, LINK_READ_LIMITED};

/// What the link is like, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq, clap::Args)]
pub struct Link {
    /// Milliseconds from one end to the other
    #[arg(long = "delay-ms", default_value_t = 25.0)]
    pub one_way_ms: f64,
    /// Megabits per second; without it, as fast as the machine
    #[arg(long)]
    pub rate_mbit: Option<f64>,
    /// KiB that wait at the slow end when there is a rate
    #[arg(long, default_value_t = 64)]
    pub queue_kib: usize,
    /// Of 100 segments, how many are lost: each holds up what follows for a round trip
    #[arg(long = "loss-percent", default_value_t = 0.0)]
    pub loss_percent: f64,
    /// Bytes of each write at most, to break messages up
    #[arg(long = "chunk")]
    pub chunk: Option<usize>,
    /// Seed of the losses
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

impl Link {
    /// A link that only delays, by `one_way`.
    pub fn delaying(one_way: Duration) -> Self {
        Self {
            one_way_ms: one_way.as_secs_f64() * 1e3,
            rate_mbit: None,
            queue_kib: 64,
            loss_percent: 0.0,
            chunk: None,
            seed: 1,
        }
    }

    /// The arguments that describe this link to another `titan-perf`.
    pub fn args(&self) -> Vec<String> {
        let mut args = vec![
            format!("--delay-ms={}", self.one_way_ms),
            format!("--queue-kib={}", self.queue_kib),
            format!("--loss-percent={}", self.loss_percent),
            format!("--seed={}", self.seed),
        ];
        args.extend(self.rate_mbit.map(|rate| format!("--rate-mbit={rate}")));
        args.extend(self.chunk.map(|chunk| format!("--chunk={chunk}")));
        args
    }

    fn one_way(&self) -> Duration {
        Duration::from_secs_f64(self.one_way_ms / 1e3)
    }

    /// Time that `len` bytes take to be sent.
    fn sending(&self, len: usize) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a read is below 2^52")]
        let bits = len as f64 * 8.0;
        self.rate_mbit.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(bits / (rate * 1e6))
        })
    }

    fn read_size(&self) -> usize {
        let whole = if self.rate_mbit.is_some() {
            LINK_READ_LIMITED
        } else {
            LINK_READ
        };
        self.chunk.map_or(whole, |chunk| chunk.clamp(1, whole))
    }
}

/// Listens at `listen` and relays every connection to `to`; does not return. Needs a
/// [`LocalSet`](tokio::task::LocalSet).
///
/// # Errors
/// The address is taken.
pub async fn serve(listen: SocketAddr, to: SocketAddr, link: Link) -> Result<()> {
    let listener = listener(listen, &link)?;
    loop {
        let (near, _) = listener.accept().await?;
        // What becomes of a connection its two ends will notice.
        spawn_local(async move { relay(near, to, link).await });
    }
}

fn listener(address: SocketAddr, link: &Link) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    if link.rate_mbit.is_some() {
        // What the kernel would hold for us is queue, too.
        socket.set_recv_buffer_size(16 * 1024)?;
    }
    socket.bind(address)?;
    socket.listen(4096)
}

async fn relay(near: TcpStream, to: SocketAddr, link: Link) -> io::Result<()> {
    let accepted = Instant::now();
    near.set_nodelay(true)?;
    // The SYN is under way; the answer to it comes back before the near end could have sent.
    sleep_until(accepted + link.one_way()).await;
    let socket = TcpSocket::new_v4()?;
    if link.rate_mbit.is_some() {
        socket.set_recv_buffer_size(16 * 1024)?;
    }
    let far = socket.connect(to).await?;
    far.set_nodelay(true)?;
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let established = accepted + 2 * link.one_way();
    let (up, down) = (Pipe::new(link, established), Pipe::new(link, accepted));
    let tasks = [
        spawn_local(Rc::clone(&up).fill(near_read)),
        spawn_local(up.drain(far_write)),
        spawn_local(Rc::clone(&down).fill(far_read)),
        spawn_local(down.drain(near_write)),
    ];
    for task in tasks {
        // A direction that failed closes its sockets' halves; the other end sees it.
        let _ = task.await;
    }
    Ok(())
}

/// One direction of one connection.
struct Pipe {
    link: Link,
    /// Stamped with the time at which they arrive; an empty one is the end.
    under_way: RefCell<VecDeque<(Instant, Bytes)>>,
    held: Cell<usize>,
    /// When the sender's line is free again.
    free_at: Cell<Instant>,
    arrived_last: Cell<Instant>,
    losses: RefCell<SmallRng>,
    filled: Notify,
    drained: Notify,
}

impl Pipe {
    fn new(link: Link, opens: Instant) -> Rc<Self> {
        Rc::new(Self {
            link,
            under_way: RefCell::default(),
            held: Cell::new(0),
            free_at: Cell::new(opens),
            arrived_last: Cell::new(opens),
            losses: RefCell::new(SmallRng::seed_from_u64(link.seed)),
            filled: Notify::new(),
            drained: Notify::new(),
        })
    }

    /// Reads, stamps, and waits while the queue is full.
    async fn fill(self: Rc<Self>, mut from: OwnedReadHalf) -> io::Result<()> {
        let size = self.link.read_size();
        loop {
            self.wait_for_room().await;
            let mut buffer = BytesMut::with_capacity(size);
            // The end and a failure are the end; either has its place in the order.
            let read = from.read_buf(&mut buffer).await;
            let bytes = buffer.freeze();
            self.push(bytes);
            if !matches!(read, Ok(len) if len > 0) {
                return Ok(());
            }
        }
    }

    async fn wait_for_room(&self) {
        while self.held.get() >= LINK_BYTES {
            self.drained.notified().await;
        }
        if self.link.rate_mbit.is_some() {
            // Full: until what waits has shrunk to the queue's length.
            let queue = self.link.sending(self.link.queue_kib * 1024);
            sleep_until(
                self.free_at
                    .get()
                    .checked_sub(queue)
                    .unwrap_or_else(Instant::now),
            )
            .await;
        }
    }

    fn push(&self, bytes: Bytes) {
        let start = self.free_at.get().max(Instant::now());
        let sent = start + self.link.sending(bytes.len());
        self.free_at.set(sent);
        let mut arrives = sent + self.link.one_way();
        if self.is_lost(bytes.len()) {
            arrives += 2 * self.link.one_way();
        }
        let arrives = arrives.max(self.arrived_last.get());
        self.arrived_last.set(arrives);
        self.held.set(self.held.get() + bytes.len());
        self.under_way.borrow_mut().push_back((arrives, bytes));
        self.filled.notify_one();
    }

    /// Whether one of the segments that `len` bytes fill is lost.
    fn is_lost(&self, len: usize) -> bool {
        let kept = 1.0 - self.link.loss_percent / 100.0;
        let segments = i32::try_from(len.div_ceil(SEGMENT)).unwrap_or(i32::MAX);
        self.link.loss_percent > 0.0
            && self
                .losses
                .borrow_mut()
                .random_bool(1.0 - kept.max(0.0).powi(segments))
    }

    async fn drain(self: Rc<Self>, mut to: OwnedWriteHalf) -> io::Result<()> {
        loop {
            let next = self.under_way.borrow_mut().pop_front();
            let Some((arrives, bytes)) = next else {
                self.filled.notified().await;
                continue;
            };
            sleep_until(arrives).await;
            if bytes.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&bytes).await?;
            self.held.set(self.held.get() - bytes.len());
            self.drained.notify_one();
        }
    }
}

/// Payload of a segment of Ethernet, for the probability of a loss.
const SEGMENT: usize = 1448;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::task::LocalSet;

    use super::*;
    use crate::{process::free_address, target, via::Via};

    /// Runs `client` against an echo behind `link`.
    async fn behind<T>(link: Link, client: impl AsyncFnOnce(TcpStream) -> T) -> T {
        LocalSet::new()
            .run_until(async {
                let echo = target::start(Ipv4Addr::LOCALHOST.into(), None)
                    .unwrap()
                    .echo;
                let near = free_address().unwrap();
                spawn_local(serve(near, echo, link));
                let dial = || Via::Direct.dial(near, None);
                let stream = crate::process::until_ok("the link", dial).await.unwrap();
                client(stream).await
            })
            .await
    }

    async fn round_trip(stream: &mut TcpStream) -> Duration {
        let start = Instant::now();
        stream.write_all(b"ping").await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        start.elapsed()
    }

    #[tokio::test]
    async fn a_round_trip_takes_twice_the_delay_and_the_first_pays_the_handshake() {
        let link = Link::delaying(Duration::from_millis(20));
        behind(link, async |mut stream| {
            let first = round_trip(&mut stream).await;
            assert!(first >= Duration::from_millis(75), "{first:?}");
            let second = round_trip(&mut stream).await;
            assert!(second >= Duration::from_millis(40), "{second:?}");
            assert!(second < Duration::from_millis(75), "{second:?}");
        })
        .await;
    }

    #[tokio::test]
    async fn bytes_come_through_whole_and_in_order_under_loss_and_chunking() {
        let link = Link {
            loss_percent: 5.0,
            chunk: Some(7),
            ..Link::delaying(Duration::from_millis(1))
        };
        behind(link, async |stream| {
            let sent: Vec<u8> = (0..=255).cycle().take(8 * 1024).collect();
            let (mut read, mut write) = stream.into_split();
            let bytes = sent.clone();
            spawn_local(async move {
                write.write_all(&bytes).await.unwrap();
                write.shutdown().await.unwrap();
            });
            let mut received = Vec::new();
            read.read_to_end(&mut received).await.unwrap();
            assert!(received == sent);
        })
        .await;
    }

    #[tokio::test]
    async fn a_rate_is_kept() {
        let link = Link {
            rate_mbit: Some(80.0),
            ..Link::delaying(Duration::from_millis(1))
        };
        behind(link, async |mut stream| {
            let start = Instant::now();
            let len = 1_000_000;
            let (mut read, mut write) = stream.split();
            let bytes = vec![1; len];
            let mut back = vec![0; len];
            let (sent, received) =
                tokio::join!(write.write_all(&bytes), read.read_exact(&mut back));
            sent.unwrap();
            received.unwrap();
            let took = start.elapsed();
            // 8 Mbit at 80 Mbit/s.
            assert!(took >= Duration::from_millis(95), "{took:?}");
        })
        .await;
    }
}
