//! One session beside others that are never read.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    limits::{
        BULK_CHUNK, CONNECTIONS_PER_ADDRESS, CONNECTS_AT_A_TIME, QUIET_INTERVAL, QUIET_PATIENCE,
        STALLED_RECEIVE_BUFFER,
    },
    load::Route,
    sample::{Resident, Roles, used},
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
    let growth = growth(&resident, &watched.resident()?);
    drop(others);
    sleep(duration / 2).await;
    let after = throughput(&mut stream, duration).await?;
    Ok(Stall {
        alone: [before, after],
        beside,
        growth,
    })
}

/// What thousands of sessions that are never read leave for others.
#[derive(Debug, Clone, Serialize)]
pub struct Many {
    /// Sessions that nobody reads.
    pub stalled: usize,
    /// Resident bytes of each role with all of them.
    pub resident: BTreeMap<String, u64>,
    /// Bytes by which that grew for them.
    pub growth: BTreeMap<String, i64>,
    /// Bytes per second of a session that is opened beside them.
    pub beside: f64,
}

/// Opens `stalled` sessions of which nobody reads a byte, waits until every buffer on the way is
/// full, and measures the memory, and the throughput of a new session from `source`: one
/// whose buffers are not small, as those of the stalled ones should be.
///
/// # Errors
/// A session cannot be made, or the new one breaks.
pub async fn many(
    route: &Route,
    watched: &Roles,
    stalled: usize,
    source: SocketAddr,
    duration: Duration,
) -> Result<Many> {
    let before = watched.resident()?;
    let mut others = Vec::with_capacity(stalled);
    let mut dials = JoinSet::new();
    for index in 0..stalled {
        if dials.len() >= CONNECTS_AT_A_TIME {
            others.push(dials.join_next().await.context("no task")???);
        }
        let (via, source) = (route.via.clone(), route.endpoints.source);
        dials.spawn(async move {
            let address = source_address(index / CONNECTIONS_PER_ADDRESS);
            let buffer = Some(STALLED_RECEIVE_BUFFER);
            via.dial_with(source, Some(address), buffer).await
        });
    }
    while let Some(stream) = dials.join_next().await {
        others.push(stream??);
    }
    until_quiet(watched).await?;
    let resident = watched.resident()?;
    let growth = growth(&before, &resident);
    let mut stream = route.via.dial(source, None).await?;
    let beside = throughput(&mut stream, duration).await?;
    Ok(Many {
        stalled: others.len(),
        resident,
        growth,
        beside,
    })
}

/// Waits until no process does much any more: what was to be moved has been moved. A program that
/// never comes to rest is measured as it is.
async fn until_quiet(watched: &Roles) -> Result<()> {
    let deadline = Instant::now() + QUIET_PATIENCE;
    while Instant::now() < deadline {
        let before = watched.cpu()?;
        sleep(QUIET_INTERVAL).await;
        let busy: Duration = used(&before, &watched.cpu()?).values().sum();
        if busy < QUIET_INTERVAL / 20 {
            break;
        }
    }
    Ok(())
}

/// By how much each role's memory grew.
fn growth(before: &Resident, after: &Resident) -> BTreeMap<String, i64> {
    let each = |(role, now): (&String, &u64)| {
        let before = before.get(role).copied().unwrap_or_default();
        (role.clone(), now.cast_signed() - before.cast_signed())
    };
    after.iter().map(each).collect()
}

/// Bytes per second that arrive within `duration`: none where the session has stalled, too.
async fn throughput(stream: &mut TcpStream, duration: Duration) -> Result<f64> {
    let mut buffer = vec![0; BULK_CHUNK];
    let (start, mut bytes) = (Instant::now(), 0);
    while let Ok(read) = timeout_at(start + duration, stream.read(&mut buffer)).await {
        let len = read?;
        ensure!(len > 0, "the source ended");
        bytes += len;
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    Ok(bytes as f64 / start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{limits::STALLED_SEND_BUFFER, target, via::Via};

    fn direct(send_buffer: Option<u32>) -> (Route, Roles) {
        let ip = Ipv4Addr::LOCALHOST.into();
        let endpoints = target::start(ip, None, send_buffer).unwrap();
        let via = Via::Direct;
        let mut watched = Roles::default();
        watched.add("me", std::process::id());
        (Route { via, endpoints }, watched)
    }

    #[tokio::test]
    async fn a_session_moves_beside_many() {
        let (route, watched) = direct(Some(STALLED_SEND_BUFFER));
        let other = direct(None).0.endpoints.source;
        let duration = Duration::from_millis(50);
        let found = many(&route, &watched, 100, other, duration).await.unwrap();
        assert_eq!(found.stalled, 100);
        assert!(found.beside > 0.0 && found.resident["me"] > 0, "{found:?}");
        assert!(found.growth.contains_key("me"), "{found:?}");
    }

    #[tokio::test]
    async fn a_stall_is_measured() {
        let (route, watched) = direct(None);
        let stall = measure(&route, &watched, 3, Duration::from_millis(50))
            .await
            .unwrap();
        assert!(
            stall.kept() > 0.0 && stall.growth.contains_key("me"),
            "{stall:?}"
        );
    }
}
