//! One session beside others that are never read.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use serde::Serialize;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{
    limits::{BULK_CHUNK, CONNECTIONS_PER_ADDRESS},
    load::Route,
    sample::Roles,
    via::source_address,
};

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Stall {
    /// Bytes per second of the session alone, before and after.
    pub alone: [f64; 2],
    /// Bytes per second of the session beside the others.
    pub beside: f64,
    /// Bytes by which each role's memory grew for the others.
    pub growth: BTreeMap<String, i64>,
}

impl Stall {
    /// What the session keeps of its throughput.
    pub fn kept(&self) -> f64 {
        self.beside / f64::midpoint(self.alone[0], self.alone[1])
    }
}

/// Measures a session's throughput alone, beside `stalled` sessions of which nobody reads a byte,
/// and alone again.
///
/// # Errors
/// A session cannot be made or breaks.
pub async fn measure(
    route: &Route,
    watched: &Roles,
    stalled: usize,
    duration: Duration,
) -> Result<Stall> {
    let mut stream = route.via.dial(route.endpoints.source, None).await?;
    // Windows grow and pools fill before anything is compared.
    throughput(&mut stream, duration / 2).await?;
    let before = throughput(&mut stream, duration).await?;
    let resident = watched.resident()?;
    let mut others = Vec::with_capacity(stalled);
    for index in 0..stalled {
        let source = Some(source_address(index / CONNECTIONS_PER_ADDRESS));
        others.push(route.via.dial(route.endpoints.source, source).await?);
    }
    // Until every buffer on the way is full.
    sleep(duration / 2).await;
    let beside = throughput(&mut stream, duration).await?;
    let growth = watched.resident()?.into_iter().map(|(role, now)| {
        let before = resident.get(&role).copied().unwrap_or_default();
        (role, now.cast_signed() - before.cast_signed())
    });
    let growth = growth.collect();
    drop(others);
    sleep(duration / 2).await;
    let after = throughput(&mut stream, duration).await?;
    Ok(Stall {
        alone: [before, after],
        beside,
        growth,
    })
}

async fn throughput(stream: &mut TcpStream, duration: Duration) -> Result<f64> {
    let mut buffer = vec![0; BULK_CHUNK];
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < duration {
        let len = stream.read(&mut buffer).await?;
        anyhow::ensure!(len > 0, "the source ended");
        bytes += len;
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(bytes as f64 / start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{target, via::Via};

    #[tokio::test]
    async fn a_stall_is_measured() {
        let endpoints = target::start(Ipv4Addr::LOCALHOST.into(), None).unwrap();
        let route = Route {
            via: Via::Direct,
            endpoints,
        };
        let mut watched = Roles::default();
        watched.add("me", std::process::id());
        let stall = measure(&route, &watched, 3, Duration::from_millis(50))
            .await
            .unwrap();
        assert!(
            stall.kept() > 0.0 && stall.growth.contains_key("me"),
            "{stall:?}"
        );
    }
}
