//! One session beside sessions that are never read: beside a few of them, and beside thousands.

use anyhow::{Context, Result};

use super::{Bench, targets};
use crate::{
    limits::STALLED_SEND_BUFFER,
    report::{Metric, WHOLE},
    stall::{self, Many},
    subject::{Running, Stage, Subject},
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
                let mib = mib(bytes);
                bench.report.add(Metric::StallGrowth, name, role, mib);
                line += &format!(", {role} grows by {mib:.1} MiB");
            }
            bench.say(&line);
        }
    }
    Ok(())
}

/// Thousands of stalled sessions, through this project's programs only: those without windows of
/// their own leave it to the kernel how much waits for each, up to 4 MiB, and would take what all
/// programs of the machine share.
///
/// # Errors
/// It does not serve on.
pub(super) async fn many(bench: &mut Bench) -> Result<()> {
    let buffer = format!("--send-buffer={STALLED_SEND_BUFFER}");
    let (target, endpoints) = targets(&[&buffer]).await?;
    let stage = Stage {
        endpoints,
        ..bench.stage()
    };
    for subject in bench.subjects.clone() {
        if let Subject::Titan(_) = &subject {
            let running = subject.start(&stage).await?;
            let measured = many_beside(bench, &running).await;
            let logs = running.logs();
            running.stop().await;
            measured.with_context(|| format!("thousands of stalled sessions\n{logs}"))?;
        }
    }
    target.stop().await;
    Ok(())
}

async fn many_beside(bench: &mut Bench, running: &Running) -> Result<()> {
    let (lengths, source) = (&bench.lengths, bench.endpoints.source);
    let (stalled, duration) = (lengths.many_stalled, lengths.duration);
    let found = stall::many(running.route(), running.roles(), stalled, source, duration).await?;
    let Many {
        stalled,
        resident,
        growth,
        beside,
    } = found;
    let (name, rate) = (&running.name, beside / 1e6);
    let metric = Metric::ManyStalledThroughput;
    bench.report.add(metric, name, WHOLE, rate);
    let mut line = format!("beside {stalled} stalled sessions a new one has {rate:.0} MB/s");
    for (role, &bytes) in resident.iter().filter(|(role, _)| *role != "manager") {
        let (now, grown) = (mib(bytes.cast_signed()), mib(growth[role]));
        bench.report.add(Metric::ManyStalledMemory, name, role, now);
        line += &format!(", {role} {now:.0} MiB ({grown:.0} for them)");
    }
    bench.say(&line);
    Ok(())
}

fn mib(bytes: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}
