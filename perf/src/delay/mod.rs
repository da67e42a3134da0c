//! A link with a delay: a TCP relay that stands between two programs and lets bytes through later.
//!
//! ```text
//!   near ──▶ read, stamp ──▶ [ waits to be sent | under way ] ──▶ write when due ──▶ far
//!                              at most `queue`    delay × rate
//! ```
//!
//! All connections share one line for each direction, as they would share a broadband link: what
//! they send waits in one queue, first come, first served. What finds the queue full stays in the
//! sender's socket.
//!
//! The relay ends TCP on both sides, so that what each end sees of congestion control is a quick
//! line; the delay, the rate and the holding up of what follows a loss are the link's own. A new
//! connection pays the round trip of its handshake, too.

mod link;
mod pipe;

use std::{io, net::SocketAddr, rc::Rc};

use anyhow::Result;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    task::{JoinSet, spawn_local},
    time::{Instant, sleep_until},
};

use crate::limits::LINK_SOCKET_BUFFER;
pub use link::Link;
use pipe::{Line, Pipe};

/// Both directions of the link.
#[derive(Clone)]
struct Lines {
    link: Link,
    up: Rc<Line>,
    down: Rc<Line>,
}

/// Listens at the first address of each pair and relays every connection to the second, all over
/// one link; does not return. Needs a [`LocalSet`](tokio::task::LocalSet).
///
/// # Errors
/// An address is taken.
pub async fn serve(pairs: &[(SocketAddr, SocketAddr)], link: Link) -> Result<()> {
    let lines = Lines {
        link,
        up: Line::new(link),
        down: Line::new(link),
    };
    let mut listening = JoinSet::new();
    for &(listen, to) in pairs {
        let listener = listener(listen, &link)?;
        listening.spawn_local(accept(listener, to, lines.clone()));
    }
    while let Some(ended) = listening.join_next().await {
        ended??;
    }
    Ok(())
}

async fn accept(listener: TcpListener, to: SocketAddr, lines: Lines) -> io::Result<()> {
    loop {
        let (near, _) = listener.accept().await?;
        let lines = lines.clone();
        // What becomes of a connection its two ends will notice.
        spawn_local(async move { relay(near, to, &lines).await });
    }
}

fn listener(address: SocketAddr, link: &Link) -> io::Result<TcpListener> {
    let socket = socket(link)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

/// A socket of the relay. With a rate, what the kernel would hold for us is queue, too, and is kept
/// small on both sides.
fn socket(link: &Link) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    if link.rate_mbit.is_some() {
        let size = u32::try_from(LINK_SOCKET_BUFFER).unwrap_or(u32::MAX);
        socket.set_recv_buffer_size(size)?;
        socket.set_send_buffer_size(size)?;
    }
    Ok(socket)
}

async fn relay(near: TcpStream, to: SocketAddr, lines: &Lines) -> io::Result<()> {
    let (accepted, one_way) = (Instant::now(), lines.link.one_way());
    near.set_nodelay(true)?;
    // The SYN is under way; the answer to it comes back before the near end could have sent.
    sleep_until(accepted + one_way).await;
    let far = socket(&lines.link)?.connect(to).await?;
    far.set_nodelay(true)?;
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let established = accepted + 2 * one_way;
    let (up, down) = (
        Pipe::new(&lines.up, established),
        Pipe::new(&lines.down, accepted),
    );
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

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        task::LocalSet,
    };

    use super::*;
    use crate::{process::free_address, target, via::Via};

    /// Runs `client` against an echo behind `link`.
    async fn behind<T>(link: Link, client: impl AsyncFnOnce(TcpStream) -> T) -> T {
        LocalSet::new()
            .run_until(async {
                let echo = target::start(Ipv4Addr::LOCALHOST.into(), None, None)
                    .unwrap()
                    .echo;
                let near = free_address().unwrap();
                spawn_local(async move { serve(&[(near, echo)], link).await });
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

    const SLOW: Link = Link {
        one_way_ms: 5.0,
        rate_mbit: Some(20.0),
        queue_kib: 64,
        loss_percent: 0.0,
        chunk: None,
        seed: 1,
    };

    /// A byte beside another connection that fills the link waits for the delay and the queue, and
    /// for nothing that is hidden in the relay or its sockets.
    #[tokio::test]
    async fn connections_share_the_line_and_wait_for_its_queue_only() {
        let local = LocalSet::new();
        local
            .run_until(async {
                let targets = target::start(Ipv4Addr::LOCALHOST.into(), None, None).unwrap();
                let (sink, echo) = (free_address().unwrap(), free_address().unwrap());
                let pairs = [(sink, targets.sink), (echo, targets.echo)];
                spawn_local(async move { serve(&pairs, SLOW).await });
                let dial = |to| crate::process::until_ok("it", move || direct(to));
                let (bulk, mut echo) = (dial(sink).await.unwrap(), dial(echo).await.unwrap());
                spawn_local(async move {
                    let mut bulk = bulk;
                    while bulk.write_all(&[0; 16 * 1024]).await.is_ok() {}
                });
                let mut waits = Vec::new();
                for _ in 0..15 {
                    waits.push(round_trip(&mut echo).await);
                }
                // The first few find the queue filling up.
                let mut waits = waits.split_off(5);
                waits.sort_unstable();
                // 64 KiB at 2.5 MB/s and twice 5 ms: 36 ms; the kernel's part of the queue is
                // the filling connection's own.
                let median = waits[5];
                assert!(median >= Duration::from_millis(25), "{waits:?}");
                assert!(median <= Duration::from_millis(45), "{waits:?}");
            })
            .await;
    }

    /// A receiver that does not read stops the sender: the link stores no more than it says.
    #[tokio::test]
    async fn what_does_not_fit_stays_with_the_sender() {
        let (sent, patience) = (Rc::new(std::cell::Cell::new(0)), Duration::from_millis(200));
        let local = LocalSet::new();
        local
            .run_until(async {
                let far = TcpSocket::new_v4().unwrap();
                far.set_recv_buffer_size(16 * 1024).unwrap();
                far.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
                let far = far.listen(1).unwrap();
                let (to, near) = (far.local_addr().unwrap(), free_address().unwrap());
                spawn_local(async move { serve(&[(near, to)], SLOW).await });
                let near = crate::process::until_ok("it", move || narrow(near)).await;
                let (mut near, _unread) = (near.unwrap(), far.accept().await.unwrap());
                let count = Rc::clone(&sent);
                let fill = async {
                    loop {
                        count.set(count.get() + near.write(&[0; 1024]).await.unwrap());
                    }
                };
                // Ends when nothing was taken for a while.
                tokio::select! {
                    () = fill => {}
                    () = until_still(&sent, patience) => {}
                }
            })
            .await;
        let most = SLOW.holds() + 4 * 2 * 16 * 1024;
        assert!(sent.get() <= most, "{} bytes of {most}", sent.get());
        assert!(sent.get() >= SLOW.queue(), "{} bytes", sent.get());
    }

    async fn until_still(count: &std::cell::Cell<usize>, patience: Duration) {
        let mut before = usize::MAX;
        while count.get() != before {
            before = count.get();
            tokio::time::sleep(patience).await;
        }
    }

    async fn direct(to: SocketAddr) -> Result<TcpStream> {
        Via::Direct.dial(to, None).await
    }

    /// A connection whose own buffers are small.
    async fn narrow(to: SocketAddr) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.set_send_buffer_size(16 * 1024)?;
        Ok(socket.connect(to).await?)
    }
}
