//! Load: what clients do, and what it costs the processes between them and the target.

mod bulk;
mod meter;
mod talk;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    limits::MEMORY_INTERVAL,
    sample::{self, Cpu, Resident, Roles},
    target::{Endpoints, Service},
    via::Via,
};
pub use meter::{Latency, Meter, histogram_us};
pub(crate) use talk::echo;

/// What each client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Reads from the source as fast as it comes.
    Down,
    /// Writes to the sink as fast as it takes.
    Up,
    /// Sends 64 bytes and waits for them to come back, over and over.
    Echo,
    /// Connects, sends a byte, reads the answer and the end, over and over.
    Churn,
}

impl Work {
    /// Every kind of work.
    pub const ALL: [Self; 4] = [Self::Down, Self::Up, Self::Echo, Self::Churn];

    /// The service that the work is done with.
    pub fn service(self) -> Service {
        match self {
            Self::Down => Service::Source,
            Self::Up => Service::Sink,
            Self::Echo => Service::Echo,
            Self::Churn => Service::Answer,
        }
    }
}

/// Where clients go, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The way.
    pub via: Via,
    /// The services as they are called that way: those of a relay are the relay's own.
    pub endpoints: Endpoints,
}

/// How much load there is, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What the clients do.
    pub work: Work,
    /// Clients at a time.
    pub sessions: usize,
    /// Load before the measurement: windows grow, buffers are made, pages are touched.
    pub warm_up: Duration,
    /// The measurement.
    pub duration: Duration,
}

/// What was measured.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Bytes for [`Work::Down`] and [`Work::Up`], echoes, or connections.
    pub units: u64,
    /// Connections that failed. Only [`Work::Churn`] goes on after one.
    pub failures: u64,
    /// Time between the two looks at the clocks.
    pub elapsed: Duration,
    /// CPU time that each role used in that time.
    pub cpu: Cpu,
    /// Most resident memory that each role had in that time.
    pub peak: Resident,
    /// How long each echo or connection took.
    pub latency: Option<Latency>,
}

impl Outcome {
    /// CPU seconds of `role` for one unit.
    pub fn cpu_per_unit(&self, role: &str) -> Option<f64> {
        let cpu = self.cpu.get(role)?.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        Some(cpu / self.units as f64)
    }

    /// Units in a second of wall-clock time.
    pub fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let units = self.units as f64;
        units / self.elapsed.as_secs_f64()
    }
}

/// Runs the clients of `plan` in this process and measures what `watched` uses for them.
///
/// # Errors
/// A session cannot be made or breaks, nothing moves, or a watched process ends.
pub async fn run(plan: &Plan, route: &Route, watched: &Roles) -> Result<Outcome> {
    let meter = Arc::new(Meter::default());
    let mut clients = JoinSet::new();
    let target = route.endpoints.of(plan.work.service());
    for index in 0..plan.sessions {
        let (via, meter) = (route.via.clone(), Arc::clone(&meter));
        match plan.work {
            Work::Churn => drop(clients.spawn(talk::churn(via, target, index, meter))),
            work => {
                let stream = via.dial(target, None).await?;
                match work {
                    Work::Down => clients.spawn(bulk::down(stream, meter)),
                    Work::Up => clients.spawn(bulk::up(stream, meter)),
                    Work::Echo | Work::Churn => clients.spawn(echo(stream, meter)),
                };
            }
        }
    }
    let outcome = tokio::select! {
        outcome = measure(plan, &meter, watched) => outcome?,
        Some(ended) = clients.join_next() => {
            return Err(ended?.err().context("a session ended")?.context("a session broke"));
        }
    };
    clients.shutdown().await;
    ensure!(outcome.units > 0, "nothing moved in {:?}", plan.duration);
    Ok(outcome)
}

async fn measure(plan: &Plan, meter: &Meter, watched: &Roles) -> Result<Outcome> {
    sleep(plan.warm_up).await;
    meter.record_latency(matches!(plan.work, Work::Echo | Work::Churn));
    let (start, cpu, units, failures) = (
        Instant::now(),
        watched.cpu()?,
        meter.units(),
        meter.failures(),
    );
    let peak = peak_until(start + plan.duration, watched).await?;
    Ok(Outcome {
        units: meter.units() - units,
        failures: meter.failures() - failures,
        elapsed: start.elapsed(),
        cpu: sample::used(&cpu, &watched.cpu()?),
        peak,
        latency: meter.take_latency(),
    })
}

/// Looks at the resident memory until `end` and gives the most that each role had.
async fn peak_until(end: Instant, watched: &Roles) -> Result<Resident> {
    let mut peak = watched.resident()?;
    while Instant::now() < end {
        sleep_until(end.min(Instant::now() + MEMORY_INTERVAL)).await;
        for (role, bytes) in watched.resident()? {
            let most = peak.entry(role).or_default();
            *most = bytes.max(*most);
        }
    }
    Ok(peak)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::target;

    async fn outcome(work: Work) -> Outcome {
        let endpoints = target::start(Ipv4Addr::LOCALHOST.into(), None, None).unwrap();
        let route = Route {
            via: Via::Direct,
            endpoints,
        };
        let plan = Plan {
            work,
            sessions: 4,
            warm_up: Duration::ZERO,
            duration: Duration::from_millis(50),
        };
        let mut watched = Roles::default();
        watched.add("me", std::process::id());
        run(&plan, &route, &watched).await.unwrap()
    }

    #[tokio::test]
    async fn every_kind_of_work_moves_something() {
        for work in Work::ALL {
            let outcome = outcome(work).await;
            assert_eq!(outcome.failures, 0, "{work:?}");
            assert!(outcome.cpu_per_unit("me").unwrap() > 0.0, "{work:?}");
            assert!(outcome.rate() > 0.0, "{work:?}");
            assert!(outcome.peak["me"] > 0, "{work:?}");
            let has_latency = matches!(work, Work::Echo | Work::Churn);
            assert_eq!(outcome.latency.is_some(), has_latency, "{work:?}");
        }
    }

    #[tokio::test]
    async fn a_target_that_is_not_there_is_an_error() {
        let nowhere = "127.0.0.1:1".parse().unwrap();
        let endpoints = Endpoints::try_from_fn(|_| Ok(nowhere)).unwrap();
        let route = Route {
            via: Via::Direct,
            endpoints,
        };
        let plan = Plan {
            work: Work::Down,
            sessions: 1,
            warm_up: Duration::ZERO,
            duration: Duration::from_millis(10),
        };
        assert!(run(&plan, &route, &Roles::default()).await.is_err());
    }
}
