//! What idle units cost: memory for sessions and tunnels, CPU for tunnels with their heartbeats.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::{Bench, Lengths};
use crate::{
    hold::{self, Idle, Unit},
    report::Metric,
    subject::{Kind, Running, Stage, Subject, Titan},
};

/// Memory of idle sessions, of every subject. Each is started afresh: what load has left in an
/// allocator would hide what sessions take.
///
/// # Errors
/// A session cannot be held.
pub(super) async fn sessions(bench: &mut Bench) -> Result<()> {
    let stage = bench.stage();
    for subject in bench.subjects.clone() {
        let name = subject.name().to_owned();
        let (subject, count) = many_sessions(&bench.lengths, subject);
        let running = subject.start(&stage).await?;
        let measured = hold_sessions(bench, &running, count).await;
        let logs = running.logs();
        running.stop().await;
        measured.with_context(|| format!("{count} idle sessions through {name}\n{logs}"))?;
    }
    Ok(())
}

/// The subject as it can hold the sessions, and how many: an exit has two descriptors for each.
fn many_sessions(lengths: &Lengths, subject: Subject) -> (Subject, usize) {
    match subject {
        Subject::Titan(titan) => {
            let edges = lengths.idle_edges;
            (
                Subject::Titan(Titan { edges, ..titan }),
                lengths.idle_sessions,
            )
        }
        peer @ Subject::Peer(_) => (peer, lengths.idle_sessions.min(lengths.peer_sessions)),
    }
}

async fn hold_sessions(bench: &mut Bench, running: &Running, count: usize) -> Result<()> {
    let unit = Unit::Session(running.route().clone());
    let plan = hold::Plan {
        count,
        watched: count,
        duration: Duration::ZERO,
    };
    let idle = hold::measure(&unit, plan, running.roles()).await?;
    note(bench, Metric::MemoryPerSession, &running.name, &idle);
    Ok(())
}

/// Memory and CPU of idle tunnels.
///
/// # Errors
/// A tunnel cannot be held.
pub(super) async fn tunnels(bench: &mut Bench) -> Result<()> {
    let stage = bench.stage();
    for subject in bench.subjects.clone() {
        match &subject {
            Subject::Titan(titan) => {
                let alone = Subject::Titan(Titan {
                    edges: 0,
                    ..titan.clone()
                });
                let running = alone.start(&stage).await?;
                let measured = hold_tunnels(bench, &running).await;
                running.stop().await;
                measured.context("idle tunnels")?;
            }
            Subject::Peer(peer) if peer.kind() == Kind::Tunnel => {
                peer_tunnels(bench, &subject).await?;
            }
            Subject::Peer(_) => {}
        }
    }
    Ok(())
}

async fn hold_tunnels(bench: &mut Bench, running: &Running) -> Result<()> {
    let control = running.control().context("no control plane")?;
    let unit = Unit::Tunnel {
        manager_url: control.url.clone(),
        enrolment_key: control.enrolment_key.clone(),
    };
    let plan = hold::Plan {
        count: bench.lengths.idle_tunnels,
        watched: bench.lengths.many_tunnels,
        duration: bench.lengths.heartbeats,
    };
    let idle = hold::measure(&unit, plan, running.roles()).await?;
    note(bench, Metric::MemoryPerTunnel, &running.name, &idle);
    for (role, &percent) in &idle.cpu_percent {
        #[expect(clippy::cast_precision_loss, reason = "at most thousands")]
        let of_ten_thousand = percent * 10_000.0 / idle.watched as f64;
        let name = &running.name;
        let metrics = [Metric::CpuManyTunnels, Metric::CpuIdleTunnels];
        bench.report.add(metrics[0], name, role, percent);
        bench.report.add(metrics[1], name, role, of_ten_thousand);
        let (count, time) = (idle.watched, plan.duration);
        bench.say(&format!(
            "{count} idle tunnels: {role} {percent:.2} % of a core for {time:?}"
        ));
    }
    Ok(())
}

/// A peer's tunnels are part of its configuration: it is started without and with them.
async fn peer_tunnels(bench: &mut Bench, subject: &Subject) -> Result<()> {
    let count = bench.lengths.peer_tunnels;
    let mut resident = Vec::new();
    for tunnels in [0, count] {
        let stage = Stage {
            tunnels,
            ..bench.stage()
        };
        let running = subject.start(&stage).await?;
        sleep(bench.lengths.settle * 2).await;
        resident.push(running.roles().resident()?);
        running.stop().await;
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = |role: &String| (resident[1][role] as f64 - resident[0][role] as f64) / count as f64;
    let bytes_per_unit = resident[1]
        .keys()
        .map(|role| (role.clone(), each(role)))
        .collect();
    let idle = Idle {
        count,
        bytes_per_unit,
        watched: 0,
        cpu_percent: BTreeMap::new(),
    };
    note(bench, Metric::MemoryPerTunnel, subject.name(), &idle);
    Ok(())
}

fn note(bench: &mut Bench, metric: Metric, subject: &str, idle: &Idle) {
    for (role, bytes) in idle
        .bytes_per_unit
        .iter()
        .filter(|(role, _)| *role != "manager")
    {
        let kib = bytes / 1024.0;
        bench.report.add(metric, subject, role, kib);
        let (title, count) = (metric.title(), idle.count);
        bench.say(&format!(
            "{title}: {subject} {role} {kib:.2} KiB ({count} held)"
        ));
    }
}
