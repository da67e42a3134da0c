//! What a second shard costs: bulk data through a PoP with two beside one with one.

use anyhow::{Context, Result, ensure};

use super::Bench;
use crate::{
    load::{self, Plan, Work},
    report::Metric,
    subject::{Running, Subject, Titan},
};

/// Edges of either PoP, so that both shards own tunnels and clients come to the wrong one.
const EDGES: usize = 4;

/// The counter of clients that were handed to another shard.
const HANDOVERS: &str = "titan_pop_client_handovers_total";

/// Measures both PoPs in turn, `rounds` times.
///
/// # Errors
/// One of them fails under load, or does not count hand-overs.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let stage = bench.stage();
    for subject in bench.subjects.clone() {
        let Subject::Titan(titan) = &subject else {
            continue;
        };
        let mut running = Vec::new();
        for shards in [1, 2] {
            let titan = Titan {
                shards,
                edges: EDGES,
                io: titan.io,
            };
            running.push(Subject::Titan(titan).start(&stage).await?);
        }
        let measured = rounds(bench, &running).await;
        for running in running {
            running.stop().await;
        }
        measured.context("two shards beside one")?;
    }
    Ok(())
}

async fn rounds(bench: &mut Bench, running: &[Running]) -> Result<()> {
    for round in 1..=bench.lengths.rounds {
        for (work, metric) in [
            (Work::Down, Metric::TwoShardsDown),
            (Work::Up, Metric::TwoShardsUp),
        ] {
            let mut costs = Vec::new();
            for running in running {
                costs.push(bulk(bench, running, work).await?);
            }
            let ([one, _], [two, handovers]) = (costs[0], costs[1]);
            let name = &running[0].name;
            bench.report.add(metric, name, "pop", two / one);
            let grown = Metric::TwoShardsHandovers;
            bench.report.add(grown, name, "pop", handovers);
            bench.say(&format!(
                "{round} {work:?}: one shard {one:.2} s/GB, two {two:.2} ({:.2}), {handovers} \
                 handed over meanwhile",
                two / one
            ));
        }
    }
    Ok(())
}

/// CPU seconds of the PoP for each GB, and the clients that were handed over while bytes moved.
async fn bulk(bench: &Bench, running: &Running, work: Work) -> Result<[f64; 2]> {
    let lengths = &bench.lengths;
    let plan = Plan {
        work,
        sessions: lengths.sessions,
        warm_up: lengths.warm_up,
        duration: lengths.duration,
    };
    let pop = running.control().and_then(|control| control.pop.as_ref());
    let pop = pop.context("the PoP has no admin port")?;
    // From the end of the warm-up, when every session has found its shard.
    let counted = async {
        tokio::time::sleep(lengths.warm_up).await;
        let before = pop.page().await?.get(HANDOVERS)?;
        tokio::time::sleep(lengths.duration / 2).await;
        anyhow::Ok(pop.page().await?.get(HANDOVERS)? - before)
    };
    let load = load::run(&plan, running.route(), running.roles());
    let (outcome, handovers) = tokio::join!(load, counted);
    let outcome = outcome.with_context(|| running.logs())?;
    let cpu = outcome.cpu_per_unit("pop").context("there is no PoP")?;
    ensure!(cpu > 0.0, "the PoP used no CPU for {work:?}");
    Ok([cpu * 1e9, handovers?])
}
