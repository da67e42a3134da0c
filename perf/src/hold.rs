//! Thousands of idle sessions or tunnels, held open by processes of their own: one process may not
//! have as many files open as there are units.

use std::{collections::BTreeMap, net::SocketAddr, ops::Range, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    fleet::{Fleet, Manager},
    limits::{CONNECTIONS_PER_ADDRESS, CONNECTS_AT_A_TIME, REQUESTS_AT_A_TIME, UNITS_PER_HOLDER},
    load::Route,
    process::Process,
    sample::{Roles, used},
    via::{Via, source_address},
};

/// What is held open.
#[derive(Debug, Clone)]
pub enum Unit {
    /// Sessions to the echo service that have talked once.
    Session(Route),
    /// Tunnels of simulated edges.
    Tunnel {
        /// The manager.
        manager_url: String,
        /// The key that the edges enrol with.
        enrolment_key: String,
    },
}

/// Processes that hold units open until they are released.
#[derive(Debug)]
pub struct Held {
    holders: Vec<Process>,
}

impl Held {
    /// Opens the units of these numbers in as many processes as it takes, and returns when all are
    /// idle.
    ///
    /// # Errors
    /// A unit could not be opened.
    pub async fn open(unit: &Unit, numbers: Range<usize>) -> Result<Self> {
        let this = std::env::current_exe()?;
        let mut holders = Vec::new();
        for first in numbers.clone().step_by(UNITS_PER_HOLDER) {
            let units = UNITS_PER_HOLDER.min(numbers.end - first);
            let args = arguments(unit, first, units)?;
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let log = Path::new("/dev/stderr");
            let mut holder = Process::start(&this, &args, &[], log)?;
            holder.line(PATIENCE).await.context("opening idle units")?;
            holders.push(holder);
        }
        Ok(Self { holders })
    }

    /// Opens the units of further numbers.
    ///
    /// # Errors
    /// A unit could not be opened.
    pub async fn grow(&mut self, unit: &Unit, numbers: Range<usize>) -> Result<()> {
        self.holders
            .extend(Self::open(unit, numbers).await?.holders);
        Ok(())
    }

    /// Fails if a process, and with it its units, has gone.
    ///
    /// # Errors
    /// One has.
    pub fn check(&mut self) -> Result<()> {
        self.holders.iter_mut().try_for_each(Process::check)
    }

    /// Closes every unit.
    pub async fn release(self) {
        for holder in self.holders {
            holder.stop().await;
        }
    }
}

/// What idle units cost.
#[derive(Debug, Clone, Serialize)]
pub struct Idle {
    /// Units held while memory was looked at.
    pub count: usize,
    /// Resident bytes of each role for each unit.
    pub bytes_per_unit: BTreeMap<String, f64>,
    /// Units held while the CPU was.
    pub watched: usize,
    /// CPU of each role while all of those are idle, in percent of a core.
    pub cpu_percent: BTreeMap<String, f64>,
}

/// How many units, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Units held while memory is looked at.
    pub count: usize,
    /// Units held while the CPU clocks are watched; at least `count`.
    pub watched: usize,
    /// For how long.
    pub duration: Duration,
}

/// Holds units and measures what they cost `roles`.
///
/// A tenth of them are opened before memory is looked at first: what a process takes once, such as
/// the memory of its first password check, is not what a unit costs.
///
/// # Errors
/// A unit cannot be opened, or a watched process ends.
pub async fn measure(unit: &Unit, plan: Plan, roles: &Roles) -> Result<Idle> {
    let Plan { count, .. } = plan;
    let (first, watched) = (count.div_ceil(10), plan.watched.max(count));
    let mut held = Held::open(unit, 0..first).await?;
    sleep(SETTLE).await;
    let before = roles.resident()?;
    held.grow(unit, first..count).await?;
    sleep(SETTLE).await;
    let after = roles.resident()?;
    if watched > count {
        held.grow(unit, count..watched).await?;
        sleep(SETTLE).await;
    }
    let cpu_percent = cpu_percent(roles, plan.duration).await?;
    held.check()?;
    held.release().await;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = |role: &String, now: u64| {
        (now as f64 - before.get(role).map_or(0.0, |&then| then as f64)) / (count - first) as f64
    };
    Ok(Idle {
        count,
        bytes_per_unit: after
            .iter()
            .map(|(role, &now)| (role.clone(), each(role, now)))
            .collect(),
        watched,
        cpu_percent,
    })
}

/// What each role uses within `duration`, in percent of a core.
async fn cpu_percent(roles: &Roles, duration: Duration) -> Result<BTreeMap<String, f64>> {
    let (start, before) = (Instant::now(), roles.cpu()?);
    if duration.is_zero() {
        return Ok(BTreeMap::new());
    }
    sleep(duration).await;
    let (spent, elapsed) = (used(&before, &roles.cpu()?), start.elapsed().as_secs_f64());
    let percent = |cpu: Duration| cpu.as_secs_f64() / elapsed * 100.0;
    Ok(spent
        .into_iter()
        .map(|(role, cpu)| (role, percent(cpu)))
        .collect())
}

/// Opens sessions `first` to `first + count` in this process, says so, and holds them until the
/// standard input ends.
///
/// # Errors
/// A session could not be opened.
pub async fn sessions(route: &Route, first: usize, count: usize) -> Result<()> {
    let mut streams = Vec::with_capacity(count);
    let mut connects = JoinSet::new();
    for index in first..first + count {
        if connects.len() >= CONNECTS_AT_A_TIME {
            streams.push(connects.join_next().await.context("no task")???);
        }
        connects.spawn(session(route.via.clone(), route.endpoints.echo, index));
    }
    while let Some(stream) = connects.join_next().await {
        streams.push(stream??);
    }
    println!("{}", streams.len());
    input_ends().await
}

async fn session(via: Via, echo: SocketAddr, index: usize) -> Result<TcpStream> {
    let source = source_address(index / CONNECTIONS_PER_ADDRESS);
    let mut stream = via.dial(echo, Some(source)).await?;
    stream.write_all(b"x").await?;
    stream.read_exact(&mut [0]).await.context("no echo")?;
    Ok(stream)
}

/// Opens tunnels of the edges `first` to `first + count` in this process, says so, and holds them
/// until the standard input ends.
///
/// # Errors
/// The manager refuses an edge, or a tunnel was lost meanwhile.
pub async fn tunnels(manager_url: &str, key: &str, first: usize, count: usize) -> Result<()> {
    let manager = Manager::new(manager_url)?;
    let mut fleet = Fleet::enrol(manager, key, first, count).await?;
    fleet.connect(REQUESTS_AT_A_TIME).await?;
    println!("{count}");
    input_ends().await?;
    anyhow::ensure!(fleet.lost() == 0, "{} tunnels were lost", fleet.lost());
    Ok(())
}

fn arguments(unit: &Unit, first: usize, count: usize) -> Result<Vec<String>> {
    let (first, count) = (format!("--first={first}"), format!("--count={count}"));
    Ok(match unit {
        Unit::Session(route) => {
            let route = serde_json::to_string(route)?;
            vec![
                "hold-sessions".into(),
                first,
                count,
                format!("--route={route}"),
            ]
        }
        Unit::Tunnel {
            manager_url,
            enrolment_key,
        } => vec![
            "hold-tunnels".into(),
            first,
            count,
            format!("--manager={manager_url}"),
            format!("--enrolment-key={enrolment_key}"),
        ],
    })
}

async fn input_ends() -> Result<()> {
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await?;
    Ok(())
}

/// Time for one process to open its units: some 100 a second at the least.
const PATIENCE: Duration = Duration::from_secs(90);

/// Time for processes to come to rest before their memory is looked at.
const SETTLE: Duration = Duration::from_secs(2);
