//! A key press beside a session that fills a narrow link.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    limits::{BULK_CHUNK, CONNECT_TIMEOUT, NARROW_ECHOES},
    load::{self, Latency, Meter, Route},
};

/// Which way the bulk data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From target to client.
    Down,
    /// From client to target.
    Up,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Beside {
    /// Of 64 bytes there and back, beside the bulk data.
    pub echo: Latency,
    /// Payload bytes per second that the other session got through, as its receiver counts them.
    pub bulk: f64,
}

impl Beside {
    /// What the bulk session keeps of a link of `rate_mbit`.
    pub fn share(&self, rate_mbit: f64) -> f64 {
        self.bulk / (rate_mbit * 1e6 / 8.0)
    }
}

/// Fills the way to the targets with one session for `warm_up` and `duration`, and measures the
/// echoes of [`NARROW_ECHOES`] others during the latter.
///
/// # Errors
/// A session cannot be made or breaks, or nothing moves.
pub async fn measure(
    route: &Route,
    direction: Direction,
    warm_up: Duration,
    duration: Duration,
) -> Result<Beside> {
    let meter = Arc::new(Meter::default());
    let mut echoes = JoinSet::new();
    for _ in 0..NARROW_ECHOES {
        let echo = route.via.dial(route.endpoints.echo, None).await?;
        echoes.spawn(load::echo(echo, Arc::clone(&meter)));
    }
    let recorded = async {
        sleep(warm_up).await;
        meter.record_latency(true);
        sleep(duration).await;
        meter.take_latency()
    };
    let (bulk, latency) = match direction {
        Direction::Down => tokio::join!(down(route, warm_up, duration), recorded),
        Direction::Up => tokio::join!(up(route, warm_up + duration), recorded),
    };
    if let Some(ended) = echoes.try_join_next() {
        ended?.context("an echo session broke")?;
    }
    let echo = latency.context("no echo came back beside the bulk data")?;
    let bulk = bulk.context("the bulk session")?;
    Ok(Beside { echo, bulk })
}

/// Counts what arrives after the warm-up.
async fn down(route: &Route, warm_up: Duration, duration: Duration) -> Result<f64> {
    let mut stream = route.via.dial(route.endpoints.source, None).await?;
    let start = Instant::now() + warm_up;
    count(&mut stream, start).await?;
    let bytes = count(&mut stream, start + duration).await?;
    rate(bytes, start.elapsed())
}

/// Bytes that arrive until `end`.
async fn count(stream: &mut TcpStream, end: Instant) -> Result<usize> {
    let (mut buffer, mut bytes) = (vec![0; BULK_CHUNK], 0);
    while let Ok(read) = timeout_at(end, stream.read(&mut buffer)).await {
        let len = read?;
        ensure!(len > 0, "the source ended");
        bytes += len;
    }
    Ok(bytes)
}

/// Sends for `duration`, ends its direction, and waits until the sink, which has then read
/// everything, ends its own: what the buffers on the way hold counts when it has arrived.
async fn up(route: &Route, duration: Duration) -> Result<f64> {
    let mut stream = route.via.dial(route.endpoints.sink, None).await?;
    let (start, buffer, mut bytes) = (Instant::now(), vec![0; BULK_CHUNK], 0);
    while let Ok(written) = timeout_at(start + duration, stream.write(&buffer)).await {
        bytes += written?;
    }
    stream.shutdown().await?;
    let patience = Instant::now() + duration + CONNECT_TIMEOUT;
    let end = timeout_at(patience, stream.read(&mut [0])).await;
    ensure!(end.context("the sink never ends")?? == 0, "the sink speaks");
    rate(bytes, start.elapsed())
}

fn rate(bytes: usize, elapsed: Duration) -> Result<f64> {
    ensure!(bytes > 0, "nothing moved");
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(bytes as f64 / elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;
    use crate::{
        delay::{self, Link},
        process::{free_address, until_ok},
        target::{self, Endpoints},
        via::Via,
    };

    /// Straight through the link the share is all there is, and an echo waits for the queue.
    #[tokio::test]
    async fn the_link_itself_is_fair() {
        let link = Link {
            rate_mbit: Some(RATE),
            ..Link::delaying(Duration::from_millis(5))
        };
        LocalSet::new()
            .run_until(async {
                let targets = target::start(Ipv4Addr::LOCALHOST.into(), None, None).unwrap();
                let mut pairs = Vec::new();
                let endpoints = Endpoints::try_from_fn(|service| {
                    let near = free_address()?;
                    pairs.push((near, targets.of(service)));
                    Ok(near)
                });
                let endpoints = endpoints.unwrap();
                spawn_local(async move { delay::serve(&pairs, link).await });
                let via = Via::Direct;
                let dial = || via.dial(endpoints.echo, None);
                until_ok("the link", dial).await.unwrap();
                let route = Route { via, endpoints };
                let (warm_up, duration) = (Duration::from_millis(100), Duration::from_millis(400));
                for direction in [Direction::Down, Direction::Up] {
                    let found = measure(&route, direction, warm_up, duration).await.unwrap();
                    let share = found.share(RATE);
                    assert!((0.75..1.15).contains(&share), "{direction:?} {found:?}");
                    assert!(found.echo.p50_us >= 10_000, "{direction:?} {found:?}");
                }
            })
            .await;
    }

    const RATE: f64 = 40.0;
}
