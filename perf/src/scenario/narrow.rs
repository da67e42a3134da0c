//! A narrow link of 20 Mbit/s and 50 ms there and back, which one session fills.

use anyhow::{Context, Result};

use super::{Bench, delay::ONE_WAY};
use crate::{
    delay::Link,
    load::Route,
    narrow::{self, Direction},
    report::{Metric, WHOLE},
    subject::Stage,
};

/// Megabits per second: a home's upstream.
const RATE_MBIT: f64 = 20.0;

/// Measures every subject with the link between its sides, filled one way and then the other.
///
/// # Errors
/// A subject fails.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let link = Link {
        rate_mbit: Some(RATE_MBIT),
        ..Link::delaying(ONE_WAY)
    };
    let stage = Stage {
        link: Some(link),
        ..bench.stage()
    };
    for subject in bench.subjects.clone() {
        let name = subject.name();
        let running = subject.start(&stage).await?;
        let measured = one(bench, name, running.route()).await;
        running.stop().await;
        measured.with_context(|| format!("{name} on a narrow link"))?;
    }
    Ok(())
}

async fn one(bench: &mut Bench, name: &str, route: &Route) -> Result<()> {
    for direction in [Direction::Down, Direction::Up] {
        let (warm_up, duration) = (bench.lengths.narrow_warm_up, bench.lengths.narrow);
        let found = narrow::measure(route, direction, warm_up, duration).await;
        let found = found.with_context(|| format!("filled {direction:?}"))?;
        let [p50, p99] = [found.echo.p50_us, found.echo.p99_us].map(|micros| {
            #[expect(clippy::cast_precision_loss, reason = "below a minute")]
            let micros = micros as f64;
            micros / 1e3
        });
        let share = found.share(RATE_MBIT) * 100.0;
        let values = [p50, p99, share];
        for (metric, value) in metrics(direction).into_iter().zip(values) {
            bench.report.add(metric, name, WHOLE, value);
        }
        bench.say(&format!(
            "{name} filled {direction:?}: echo p50 {p50:.0} ms, p99 {p99:.0} ms ({} echoes), bulk \
             keeps {share:.1} %",
            found.echo.count
        ));
    }
    Ok(())
}

/// Median and 99th percentile of the echo, and what the bulk session keeps.
fn metrics(direction: Direction) -> [Metric; 3] {
    match direction {
        Direction::Down => [
            Metric::NarrowEchoDownP50,
            Metric::NarrowEchoDownP99,
            Metric::NarrowShareDown,
        ],
        Direction::Up => [
            Metric::NarrowEchoUpP50,
            Metric::NarrowEchoUpP99,
            Metric::NarrowShareUp,
        ],
    }
}
