//! Everything at once for a long time, while edges are killed: nothing may be lost, changed or left
//! behind.
//!
//! ```text
//!   clients ──▶ PoP, 2 shards ══▶ edges, killed and started again ──▶ site
//!      └─ every byte is checked at both ends ──────────────────────────┘
//! ```
//!
//! Clients and site are this process. The governor keeps what all processes use within a share of
//! one core. Every choice follows from a seed; what the machine makes of it does not.

mod datagrams;
mod edges;
mod governor;
mod ledger;
mod pattern;
mod site;
mod verdict;
mod watch;
mod work;

use std::{net::Ipv4Addr, path::Path, rc::Rc, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::{
    sync::{Mutex, watch as signal},
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};

use crate::{
    limits::{GOVERNOR_INTERVAL, POLL_INTERVAL, SOAK_REST, SOAK_SESSION_TIMEOUT},
    subject::{Io, Running, Stage, Subject, Titan},
    target,
};
use edges::Edges;
use governor::Governor;
use ledger::Ledger;
pub use ledger::{Kind, Totals};
use site::Site;
pub use verdict::{Check, Outcome};
pub use watch::Sample;
use work::{Client, Shared};

/// How long, and what.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// Minutes of load
    #[arg(long, default_value_t = 10.0)]
    pub minutes: f64,
    /// Edges
    #[arg(long, default_value_t = 3)]
    pub edges: usize,
    /// Shards of the PoP
    #[arg(long, default_value_t = 2)]
    pub shards: usize,
    /// Percent of one core that all processes together may use
    #[arg(long, default_value_t = 50.0)]
    pub cpu_percent: f64,
    /// Seconds between two kills of an edge, on average; 0 for none
    #[arg(long, default_value_t = 30.0)]
    pub kill_seconds: f64,
    /// Seconds between two looks at what is held
    #[arg(long, default_value_t = 60.0)]
    pub sample_seconds: f64,
    /// Seed of every choice
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Clients of each kind.
const CLIENTS: [(Kind, u64); 6] = [
    (Kind::Churn, 2),
    (Kind::Down, 4),
    (Kind::Up, 4),
    (Kind::Stalled, 8),
    (Kind::HalfClosed, 4),
    (Kind::Echo, 8),
];

/// Clients that send datagrams.
const DATAGRAM_CLIENTS: u64 = 2;

/// Runs manager, PoP, edges and load for the planned time and judges what is left.
///
/// # Errors
/// A program does not start, or ends although nobody killed it; the message holds what it logged.
pub async fn run(plan: &Plan, io: Io) -> Result<Outcome> {
    let titan = Titan {
        shards: plan.shards,
        edges: 0,
        io,
    };
    let stage = Stage {
        endpoints: target::start(Ipv4Addr::LOCALHOST.into(), None, None)?,
        link: None,
        tunnels: 0,
    };
    let running = Subject::Titan(titan).start(&stage).await?;
    let outcome = with(plan, io, &running).await;
    let logs = running.logs();
    running.stop().await;
    outcome.context(logs)
}

async fn with(plan: &Plan, io: Io, running: &Running) -> Result<Outcome> {
    let control = running.control().context("no control plane")?.clone();
    let directory = running.directory().to_owned();
    let mut edges = Edges::new(control, directory, io, plan.edges);
    edges.start_missing().await?;
    let edges = Mutex::new(edges);
    let soaked = soak(plan, running, &edges).await;
    edges.into_inner().stop().await;
    soaked
}

async fn soak(plan: &Plan, running: &Running, edges: &Mutex<Edges>) -> Result<Outcome> {
    let ledger = Rc::new(Ledger::default());
    let (stop, stopped) = signal::channel(false);
    let shared = Shared {
        via: running.route().via.clone(),
        site: Site::start(&ledger)?,
        ledger: Rc::clone(&ledger),
        governor: Rc::new(Governor::new(plan.cpu_percent)),
        stop: stopped,
    };
    // The first connection makes what there is once, such as a verified login.
    shared.via.dial(shared.site.address, None).await?;
    let notes = match datagrams::available(&shared).await {
        Ok(()) => Vec::new(),
        Err(error) => vec![format!("no datagrams: {error:#}")],
    };
    let post = Post::new(running)?;
    let idle = until_quiet(&post, edges, Duration::ZERO).await?;
    let mut clients = clients(&shared, plan.seed, notes.is_empty());
    let samples = load(plan, &post, edges, &shared, &mut clients).await?;
    stop.send(true)?;
    let ended = async { while clients.join_next().await.is_some() {} };
    // Each has a deadline of its own.
    let patience = SOAK_SESSION_TIMEOUT + SOAK_REST;
    timeout(patience, ended)
        .await
        .context("clients do not end")?;
    edges.lock().await.start_missing().await?;
    let minutes = Duration::from_secs_f64(plan.minutes * 60.0);
    let rest = until_as(&idle, &post, edges, minutes).await?;
    let found = (idle, samples, rest);
    Ok(Outcome::judge(plan.seed, found, ledger.totals(), notes))
}

fn clients(shared: &Shared, seed: u64, with_datagrams: bool) -> JoinSet<()> {
    let (mut clients, mut number) = (JoinSet::new(), seed << 16);
    for (kind, count) in CLIENTS {
        for _ in 0..count {
            number += 1;
            clients.spawn_local(Client::new(shared.clone(), number).run(kind));
        }
    }
    for _ in 0..if with_datagrams { DATAGRAM_CLIENTS } else { 0 } {
        number += 1;
        clients.spawn_local(datagrams::run(shared.clone(), number));
    }
    clients
}

/// Load, disturbance, governor and looks, for the planned time.
async fn load(
    plan: &Plan,
    post: &Post<'_>,
    edges: &Mutex<Edges>,
    shared: &Shared,
    clients: &mut JoinSet<()>,
) -> Result<Vec<Sample>> {
    let disturbed = async {
        if plan.kill_seconds > 0.0 {
            let mean = Duration::from_secs_f64(plan.kill_seconds);
            let parties = (&*shared.site, &*shared.ledger);
            let stop = shared.stop.clone();
            edges::disturb(edges, mean, plan.seed, parties, stop).await?;
        }
        std::future::pending::<Result<()>>().await
    };
    let mut samples = Vec::new();
    tokio::select! {
        ended = looks(plan, post, edges, shared, &mut samples) => ended?,
        ended = disturbed => ended?,
        () = govern(post, edges, shared) => {}
        Some(client) = clients.join_next() => client.context("a client panicked")?,
    }
    Ok(samples)
}

async fn govern(post: &Post<'_>, edges: &Mutex<Edges>, shared: &Shared) {
    let mut ticks = interval(GOVERNOR_INTERVAL);
    loop {
        ticks.tick().await;
        let mut pids = post.pids.clone();
        // While an edge is being started its clock is not looked at.
        if let Ok(edges) = edges.try_lock() {
            pids.extend(edges.pids());
        }
        shared.governor.look(&pids);
    }
}

/// Looks at what is held, every so often, until the time is over.
async fn looks(
    plan: &Plan,
    post: &Post<'_>,
    edges: &Mutex<Edges>,
    shared: &Shared,
    samples: &mut Vec<Sample>,
) -> Result<()> {
    let (start, whole) = (Instant::now(), Duration::from_secs_f64(plan.minutes * 60.0));
    let every = Duration::from_secs_f64(plan.sample_seconds);
    println!("{}", watch::HEAD);
    while start.elapsed() < whole {
        sleep(every.min(whole.saturating_sub(start.elapsed()))).await;
        let sample = post.look(start.elapsed(), edges).await?;
        let (totals, percent) = (shared.ledger.totals(), shared.governor.percent());
        println!("{}", sample.row(&totals, percent));
        samples.push(sample);
    }
    Ok(())
}

/// Where the PoP is looked at.
struct Post<'r> {
    running: &'r Running,
    pop: u32,
    /// Processes that are never killed, this one included.
    pids: Vec<u32>,
}

impl<'r> Post<'r> {
    fn new(running: &'r Running) -> Result<Self> {
        let pop = running.roles().pids("pop");
        let mut pids: Vec<u32> = running.roles().all().map(|(_, pid)| pid).collect();
        pids.push(std::process::id());
        Ok(Self {
            running,
            pop: *pop.first().context("there is no PoP")?,
            pids,
        })
    }

    async fn look(&self, since: Duration, edges: &Mutex<Edges>) -> Result<Sample> {
        let control = self.running.control().context("no control plane")?;
        let scrape = control.pop.as_ref().context("no admin port")?;
        let edges = edges.lock().await.pids();
        Sample::take(since, self.pop, scrape, &edges).await
    }
}

/// Waits until no session runs.
async fn until_quiet(post: &Post<'_>, edges: &Mutex<Edges>, since: Duration) -> Result<Sample> {
    let deadline = Instant::now() + SOAK_REST;
    loop {
        let sample = post.look(since, edges).await?;
        if sample.sessions == 0.0 && sample.handshakes == 0.0 {
            return Ok(sample);
        }
        ensure!(
            Instant::now() < deadline,
            "sessions run before there is load"
        );
        sleep(POLL_INTERVAL).await;
    }
}

/// Waits until everything is as it was before, for at most [`SOAK_REST`]; what is left then is for
/// the verdict.
async fn until_as(
    idle: &Sample,
    post: &Post<'_>,
    edges: &Mutex<Edges>,
    since: Duration,
) -> Result<Sample> {
    let deadline = Instant::now() + SOAK_REST;
    loop {
        let sample = post.look(since, edges).await?;
        let most = |files: &[usize]| files.iter().max().copied();
        let is_as = sample.sessions <= idle.sessions
            && sample.handshakes <= idle.handshakes
            && sample.pop_files <= idle.pop_files
            && most(&sample.edge_files) <= most(&idle.edge_files);
        if is_as || Instant::now() >= deadline {
            return Ok(sample);
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Writes what was found.
///
/// # Errors
/// The file cannot be written.
pub fn write(outcome: &Outcome, path: &Path) -> Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let text = serde_json::to_string_pretty(outcome)?;
    std::fs::write(path, text + "\n").with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;
    use crate::via::Via;

    /// Runs every kind of client against the site through `via` for a moment.
    async fn through(via: impl AsyncFnOnce(&Site) -> Via) -> Totals {
        LocalSet::new()
            .run_until(async {
                let ledger = Rc::new(Ledger::default());
                let (stop, stopped) = signal::channel(false);
                let site = Site::start(&ledger).unwrap();
                let shared = Shared {
                    via: via(&site).await,
                    site,
                    ledger: Rc::clone(&ledger),
                    governor: Rc::new(Governor::new(100.0)),
                    stop: stopped,
                };
                let mut clients = clients(&shared, 7, false);
                sleep(Duration::from_millis(300)).await;
                stop.send(true).unwrap();
                while let Some(client) = clients.join_next().await {
                    client.unwrap();
                }
                ledger.totals()
            })
            .await
    }

    #[tokio::test]
    async fn a_clean_way_brings_every_kind_to_its_end() {
        let totals = through(async |_| Via::Direct).await;
        for (kind, _) in CLIENTS {
            assert!(totals.done.contains_key(&kind), "{kind:?}: {totals:?}");
        }
        assert_eq!((totals.failed, totals.mismatches), (0, 0), "{totals:?}");
        assert!(totals.bytes > 1_000_000, "{totals:?}");
    }
}
