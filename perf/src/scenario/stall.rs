//! One session beside sessions that are never read.

use anyhow::{Context, Result};

use super::Bench;
use crate::{
    report::{Metric, WHOLE},
    stall,
};

/// Measures every subject, started afresh each time.
///
/// # Errors
/// A subject fails.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let stage = bench.stage();
    for _ in 0..bench.lengths.stall_rounds {
        for subject in bench.subjects.clone() {
            let running = subject.start(&stage).await?;
            let (route, roles) = (running.route().clone(), running.roles().clone());
            let lengths = &bench.lengths;
            let found = stall::measure(&route, &roles, lengths.stalled, lengths.duration).await;
            running.stop().await;
            let found = found.with_context(|| format!("stalls through {}", subject.name()))?;
            let (name, kept) = (subject.name(), found.kept() * 100.0);
            bench.report.add(Metric::StallKept, name, WHOLE, kept);
            let mut line = format!("{name} keeps {kept:.1} %");
            for (role, &bytes) in found.growth.iter().filter(|(role, _)| *role != "manager") {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                let mib = bytes as f64 / f64::from(1 << 20);
                bench.report.add(Metric::StallGrowth, name, role, mib);
                line += &format!(", {role} grows by {mib:.1} MiB");
            }
            bench.say(&line);
        }
    }
    Ok(())
}
