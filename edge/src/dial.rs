//! Connections to one of several addresses: Happy Eyeballs, RFC 8305.
//!
//! Connections are made with tokio under both kinds of I/O. An attempt that loses the race is
//! dropped, which closes its socket at once; a `connect` on the ring would hold its descriptor until
//! the kernel gives up, two minutes later.

use std::{collections::VecDeque, future::Future, io, net::SocketAddr};

use socket2::{SockRef, TcpKeepalive};
use titan_proto::reason::Reason;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    limits::{
        ATTEMPT_DELAY, DIAL_TIMEOUT, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES,
        MAX_DIAL_ADDRESSES,
    },
    net::reason,
};

/// Connects to the address that answers first.
///
/// # Errors
///
/// The reason of the most telling failure, [`Reason::TimedOut`] after [`DIAL_TIMEOUT`].
pub(crate) async fn dial(addresses: Vec<SocketAddr>) -> Result<TcpStream, Reason> {
    let winner = race(interleave(addresses), connect);
    match timeout(DIAL_TIMEOUT, winner).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(reason(&error)),
        Err(_) => Err(Reason::TimedOut),
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// Orders addresses as RFC 8305 §4 says: the resolver's order within a family, families in turn,
/// beginning with that of the resolver's first choice.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut turn, mut other): (VecDeque<_>, VecDeque<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut ordered = Vec::with_capacity(turn.len() + other.len());
    while let Some(address) = turn.pop_front() {
        ordered.push(address);
        if !other.is_empty() {
            std::mem::swap(&mut turn, &mut other);
        }
    }
    ordered.truncate(MAX_DIAL_ADDRESSES);
    ordered
}

/// Starts one attempt after another, [`ATTEMPT_DELAY`] apart or as soon as the last one has failed,
/// and gives the first that succeeds. The others are dropped.
async fn race<T, F>(
    addresses: Vec<SocketAddr>,
    mut connect: impl FnMut(SocketAddr) -> F,
) -> io::Result<T>
where
    T: 'static,
    F: Future<Output = io::Result<T>> + 'static,
{
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        match waiting.next() {
            Some(address) => drop(attempts.spawn_local(connect(address))),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        let more = waiting.len() > 0;
        let finished = tokio::select! {
            finished = attempts.join_next() => finished,
            () = sleep(ATTEMPT_DELAY), if more => continue,
        };
        match finished {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => failure = more_telling(failure, error),
            Some(Err(panicked)) => failure = io::Error::other(panicked),
            None => {}
        }
    }
}

/// "No route" from one family says little where the other family had a route and was refused.
fn more_telling(known: io::Error, new: io::Error) -> io::Error {
    let uninformative = matches!(
        reason(&known),
        Reason::NetworkUnreachable | Reason::GeneralFailure
    );
    if uninformative { new } else { known }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc, time::Duration};

    use tokio::{task::LocalSet, time::Instant};

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Runs a race of `outcomes`, each the time an attempt takes and its end, and returns the
    /// winner's address, the time it all took in milliseconds and when each attempt began.
    async fn run(
        outcomes: Vec<(&'static str, u64, Result<(), io::ErrorKind>)>,
    ) -> (Result<SocketAddr, io::ErrorKind>, u128, Vec<u128>) {
        let start = Instant::now();
        let begun = Rc::new(RefCell::new(Vec::new()));
        let addresses = addresses(&outcomes.iter().map(|o| o.0).collect::<Vec<_>>());
        let log = begun.clone();
        let attempt = move |address: SocketAddr| {
            let (_, ms, end) = outcomes[log.borrow().len()];
            log.borrow_mut().push(start.elapsed().as_millis());
            async move {
                sleep(Duration::from_millis(ms)).await;
                end.map(|()| address).map_err(io::Error::from)
            }
        };
        let winner = LocalSet::new().run_until(race(addresses, attempt)).await;
        let elapsed = start.elapsed().as_millis();
        let begun = begun.borrow().clone();
        (winner.map_err(|error| error.kind()), elapsed, begun)
    }

    const V6: &str = "[2001:db8::1]:80";
    const V4: &str = "192.0.2.1:80";
    const V4_TOO: &str = "192.0.2.2:80";

    #[test]
    fn families_take_turns() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"]);
        let wanted = addresses(&["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]);
        assert_eq!(interleave(given), wanted);
        let given = addresses(&["1.0.0.1:1", "[::1]:1", "[::2]:1"]);
        let wanted = addresses(&["1.0.0.1:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(interleave(given), wanted);
        let many: Vec<SocketAddr> = (1..100).map(|n| ([1, 0, 0, n], 1).into()).collect();
        assert_eq!(interleave(many).len(), MAX_DIAL_ADDRESSES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_first_address_is_tried_alone() {
        let (winner, took, begun) = run(vec![(V6, 100, Ok(())), (V4, 1, Ok(()))]).await;
        assert_eq!(winner, Ok(V6.parse().unwrap()));
        assert_eq!((took, begun), (100, vec![0]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_costs_one_delay() {
        let silent = 60_000;
        let (winner, took, begun) = run(vec![
            (V6, silent, Ok(())),
            (V4, silent, Ok(())),
            (V4_TOO, 20, Ok(())),
        ])
        .await;
        assert_eq!(winner, Ok(V4_TOO.parse().unwrap()));
        assert_eq!((took, begun), (520, vec![0, 250, 500]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_slower_start_wins_if_it_answers_first() {
        let (winner, took, _) = run(vec![(V6, 300, Ok(())), (V4, 100, Ok(()))]).await;
        assert_eq!((winner, took), (Ok(V6.parse().unwrap()), 300));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_starts_the_next_attempt_at_once() {
        let unreachable = Err(io::ErrorKind::NetworkUnreachable);
        let (winner, took, begun) = run(vec![(V6, 5, unreachable), (V4, 10, Ok(()))]).await;
        assert_eq!(winner, Ok(V4.parse().unwrap()));
        assert_eq!((took, begun), (15, vec![0, 5]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_most_telling_failure_is_reported() {
        let unreachable = Err(io::ErrorKind::NetworkUnreachable);
        let refused = Err(io::ErrorKind::ConnectionRefused);
        for order in [
            vec![(V6, 1, unreachable), (V4, 1, refused)],
            vec![(V4, 1, refused), (V6, 1, unreachable)],
        ] {
            let (winner, _, _) = run(order).await;
            assert_eq!(winner, Err(io::ErrorKind::ConnectionRefused));
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_and_an_open_one_connects() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let local = LocalSet::new();
        let stream = local.run_until(dial(vec![address])).await.unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(SockRef::from(&stream).keepalive().unwrap());
        drop((stream, listener));
        let refused = local.run_until(dial(vec![address])).await.err();
        assert_eq!(refused, Some(Reason::ConnectionRefused));
    }
}
