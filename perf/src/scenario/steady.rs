//! Steady load on everything, one after the other, several times over: what a GB, an echo and a
//! connection cost each side.

use anyhow::{Context, Result};

use super::{Bench, Lengths};
use crate::{
    load::{self, Outcome, Plan, Route, Work},
    report::{Metric, WHOLE},
    sample::Resident,
    subject::{Running, Stage},
    via::Via,
};

/// Measures every kind of work on every subject, `rounds` times in turn, so that what else goes on
/// in the machine meets all of them.
///
/// # Errors
/// A subject fails under load.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let stage = bench.stage();
    let mut running = Vec::new();
    for subject in &bench.subjects {
        running.push(subject.start(&stage).await?);
    }
    let measured = rounds(bench, &mut running).await;
    for subject in running {
        subject.stop().await;
    }
    measured
}

async fn rounds(bench: &mut Bench, running: &mut [Running]) -> Result<()> {
    let fresh = running.iter().map(|subject| subject.fresh().clone());
    let fresh: Vec<Resident> = fresh.collect();
    for round in 1..=bench.lengths.rounds {
        let mut peaks = fresh.clone();
        for work in Work::ALL {
            for (subject, peak) in running.iter_mut().zip(&mut peaks) {
                let route = subject.route().clone();
                let outcome = load_one(&bench.lengths, work, &route, subject).await?;
                note(bench, work, &subject.name, &outcome);
                bench.say(&line(round, work, &subject.name, &outcome));
                if matches!(work, Work::Down | Work::Up) {
                    raise(peak, &outcome.peak);
                }
            }
        }
        for ((subject, fresh), peak) in running.iter().zip(&fresh).zip(&peaks) {
            note_memory(bench, &subject.name, fresh, peak);
        }
        for subject in running.iter_mut() {
            http_connect(bench, round, subject).await?;
        }
    }
    Ok(())
}

/// New connections by HTTP CONNECT, where the subject is this project's.
async fn http_connect(bench: &mut Bench, round: usize, subject: &mut Running) -> Result<()> {
    let Via::Socks5 { proxy, login } = subject.route().via.clone() else {
        return Ok(());
    };
    if subject.control().is_none() {
        return Ok(());
    }
    let endpoints = subject.route().endpoints;
    let route = Route {
        via: Via::Connect { proxy, login },
        endpoints,
    };
    let outcome = load_one(&bench.lengths, Work::Churn, &route, subject).await?;
    let metric = Metric::CpuPerHttpConnect;
    add_cpu(bench, metric, &subject.name, &outcome, 1e6);
    bench.say(&line(round, Work::Churn, "titan by HTTP CONNECT", &outcome));
    Ok(())
}

/// Raises each role's peak to another one.
fn raise(peak: &mut Resident, other: &Resident) {
    for (role, &bytes) in other {
        let most = peak.entry(role.clone()).or_default();
        *most = bytes.max(*most);
    }
}

fn note_memory(bench: &mut Bench, subject: &str, fresh: &Resident, peak: &Resident) {
    let mut line = format!("{subject} under bulk load:");
    for (role, &bytes) in peak.iter().filter(|(role, _)| *role != "manager") {
        let grown = bytes.saturating_sub(fresh.get(role).copied().unwrap_or_default());
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let mib = grown as f64 / f64::from(1 << 20);
        bench.report.add(Metric::BulkMemory, subject, role, mib);
        line += &format!(" {role} {mib:.1} MiB");
    }
    bench.say(&line);
}

async fn load_one(
    lengths: &Lengths,
    work: Work,
    route: &Route,
    subject: &mut Running,
) -> Result<Outcome> {
    let plan = Plan {
        work,
        sessions: lengths.sessions,
        warm_up: lengths.warm_up,
        duration: lengths.duration,
    };
    let outcome = load::run(&plan, route, subject.roles()).await;
    outcome.with_context(|| format!("{work:?} through {}\n{}", subject.name, subject.logs()))
}

fn note(bench: &mut Bench, work: Work, subject: &str, outcome: &Outcome) {
    let (cpu, scale) = match work {
        Work::Down => (Metric::CpuPerGbDown, 1e9),
        Work::Up => (Metric::CpuPerGbUp, 1e9),
        Work::Echo => (Metric::CpuPerEcho, 1e6),
        Work::Churn => (Metric::CpuPerConnection, 1e6),
    };
    add_cpu(bench, cpu, subject, outcome, scale);
    let latency = |pick: fn(&load::Latency) -> u64| {
        #[expect(clippy::cast_precision_loss, reason = "below a minute")]
        outcome
            .latency
            .as_ref()
            .map_or(f64::NAN, |latency| pick(latency) as f64)
    };
    let (metric, value) = match work {
        Work::Down => (Metric::ThroughputDown, outcome.rate() / 1e6),
        Work::Up => (Metric::ThroughputUp, outcome.rate() / 1e6),
        Work::Echo => (Metric::EchoP99, latency(|latency| latency.p99_us)),
        Work::Churn => (Metric::ConnectionP99, latency(|latency| latency.p99_us)),
    };
    bench.report.add(metric, subject, WHOLE, value);
}

fn add_cpu(bench: &mut Bench, metric: Metric, subject: &str, outcome: &Outcome, scale: f64) {
    for role in outcome.cpu.keys().filter(|role| *role != "manager") {
        if let Some(cpu) = outcome.cpu_per_unit(role) {
            bench.report.add(metric, subject, role, cpu * scale);
        }
    }
}

/// What is shown while it runs.
fn line(round: usize, work: Work, subject: &str, outcome: &Outcome) -> String {
    let (scale, unit) = match work {
        Work::Down | Work::Up => (1e9, "s/GB"),
        Work::Echo => (1e6, "µs/echo"),
        Work::Churn => (1e6, "µs/connection"),
    };
    let sides: Vec<_> = outcome
        .cpu
        .keys()
        .filter(|role| *role != "manager")
        .filter_map(|role| Some(format!("{role} {:.2}", outcome.cpu_per_unit(role)? * scale)))
        .collect();
    let failed = match outcome.failures {
        0 => String::new(),
        failures => format!(", {failures} FAILED"),
    };
    let rate = match work {
        Work::Down | Work::Up => format!("{:.0} MB/s", outcome.rate() / 1e6),
        Work::Echo | Work::Churn => format!("{:.0}/s", outcome.rate()),
    };
    let work = format!("{work:?}").to_lowercase();
    format!(
        "{round} {work:<5} {subject:<8} {} {unit} ({rate}{failed})",
        sides.join(", ")
    )
}

impl Bench {
    /// A stage without a link or further tunnels.
    pub(super) fn stage(&self) -> Stage {
        Stage {
            endpoints: self.endpoints,
            link: None,
            tunnels: 0,
        }
    }
}
