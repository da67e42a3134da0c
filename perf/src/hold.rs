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
    /// Units held.
    pub count: usize,
    /// Resident bytes of each role for each unit.
    pub bytes_per_unit: BTreeMap<String, f64>,
    /// CPU of each role while all are idle, in percent of a core.
    pub cpu_percent: BTreeMap<String, f64>,
}

/// Holds `count` units for `duration` and measures what they cost `watched`.
///
/// A tenth of them are opened before memory is looked at first: what a process takes once, such as
/// the memory of its first password check, is not what a unit costs.
///
/// # Errors
/// A unit cannot be opened, or a watched process ends.
pub async fn measure(
    unit: &Unit,
    count: usize,
    duration: Duration,
    watched: &Roles,
) -> Result<Idle> {
    let first = count.div_ceil(10);
    let mut held = Held::open(unit, 0..first).await?;
    sleep(SETTLE).await;
    let before = watched.resident()?;
    held.holders
        .extend(Held::open(unit, first..count).await?.holders);
    sleep(SETTLE).await;
    let (after, start, cpu) = (watched.resident()?, Instant::now(), watched.cpu()?);
    sleep(duration).await;
    let (spent, elapsed) = (used(&cpu, &watched.cpu()?), start.elapsed().as_secs_f64());
    held.check()?;
    held.release().await;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = |role: &String, now: u64| {
        (now as f64 - before.get(role).map_or(0.0, |&then| then as f64)) / (count - first) as f64
    };
    let percent = |cpu: Duration| cpu.as_secs_f64() / elapsed * 100.0;
    Ok(Idle {
        count,
        bytes_per_unit: after
            .iter()
            .map(|(role, &now)| (role.clone(), each(role, now)))
            .collect(),
        cpu_percent: spent
            .into_iter()
            .map(|(role, cpu)| (role, percent(cpu)))
            .collect(),
    })
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

/// Time for one process to open its units: some 200 a second at the least.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time for processes to come to rest before their memory is looked at.
const SETTLE: Duration = Duration::from_secs(2);
