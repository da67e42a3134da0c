//! Every edge comes back at once.

use anyhow::{Context, Result};

use super::Bench;
use crate::{
    report::{Metric, WHOLE},
    storm,
    subject::{Subject, Titan},
};

/// A storm on a PoP and a manager that know no other edges.
///
/// # Errors
/// An edge does not get a tunnel.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let stage = bench.stage();
    for subject in bench.subjects.clone() {
        let Subject::Titan(titan) = &subject else {
            continue;
        };
        let alone = Subject::Titan(Titan {
            edges: 0,
            ..titan.clone()
        });
        let running = alone.start(&stage).await?;
        let control = running.control().context("no control plane")?.clone();
        let edges = bench.lengths.storm;
        let found = storm::run(&control.url, &control.enrolment_key, edges, running.roles()).await;
        let logs = running.logs();
        running.stop().await;
        let found = found.with_context(|| format!("a storm of {edges} edges\n{logs}"))?;
        let (name, elapsed) = (subject.name(), found.seconds);
        bench.report.add(Metric::StormTime, name, WHOLE, elapsed);
        let mut line = format!(
            "{edges} edges back in {elapsed:.2} s, {} retries",
            found.retries
        );
        for (role, micros) in &found.cpu_us_per_edge {
            bench.report.add(Metric::StormCpu, name, role, *micros);
            line += &format!(", {role} {micros:.0} µs each");
        }
        bench.say(&line);
    }
    Ok(())
}
