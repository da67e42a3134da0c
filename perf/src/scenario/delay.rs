//! A long way between the two sides: 50 ms there and back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::Bench;
use crate::{
    delay::Link,
    load::{self, Plan, Route, Work},
    report::{Metric, WHOLE},
    sample::Roles,
    subject::Stage,
};

/// Half of the round trip.
pub(super) const ONE_WAY: Duration = Duration::from_millis(25);

/// Connections whose first byte is waited for; the median counts.
const CONNECTIONS: usize = 15;

/// Time for a window to grow that starts at 256 KiB and doubles every round trip, and for the
/// link to fill.
const WARM_UP: Duration = Duration::from_secs(2);

/// Measures every subject with the delay between its sides.
///
/// # Errors
/// A subject fails.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let stage = Stage {
        link: Some(Link::delaying(ONE_WAY)),
        ..bench.stage()
    };
    for subject in bench.subjects.clone() {
        let running = subject.start(&stage).await?;
        let measured = one(bench, subject.name(), running.route()).await;
        running.stop().await;
        measured.with_context(|| format!("{} with a delay", subject.name()))?;
    }
    Ok(())
}

async fn one(bench: &mut Bench, name: &str, route: &Route) -> Result<()> {
    let mut waits = Vec::new();
    for _ in 0..CONNECTIONS {
        let wait = first_byte(route).await?.as_secs_f64() * 1e3;
        bench
            .report
            .add(Metric::DelayedFirstByte, name, WHOLE, wait);
        waits.push(wait);
    }
    waits.sort_by(f64::total_cmp);
    let (down, up) = (
        throughput(bench, route, Work::Down).await?,
        throughput(bench, route, Work::Up).await?,
    );
    bench.report.add(Metric::DelayedDown, name, WHOLE, down);
    bench.report.add(Metric::DelayedUp, name, WHOLE, up);
    let wait = waits[CONNECTIONS / 2];
    bench.say(&format!(
        "{name}: first byte {wait:.1} ms, down {down:.0} MB/s, up {up:.0} MB/s"
    ));
    Ok(())
}

/// Time from the first SYN to the first byte of an answer.
async fn first_byte(route: &Route) -> Result<Duration> {
    let start = Instant::now();
    let mut stream = route.via.dial(route.endpoints.answer, None).await?;
    stream.write_all(b"x").await?;
    ensure!(stream.read(&mut [0]).await? == 1, "no answer");
    Ok(start.elapsed())
}

async fn throughput(bench: &Bench, route: &Route, work: Work) -> Result<f64> {
    let plan = Plan {
        work,
        sessions: 1,
        warm_up: WARM_UP,
        duration: bench.lengths.duration,
    };
    Ok(load::run(&plan, route, &Roles::default()).await?.rate() / 1e6)
}
