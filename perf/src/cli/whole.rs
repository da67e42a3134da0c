//! Parts that start what they measure, and those that show what was found.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    counts::{self, Baseline},
    load::Work,
    report::{Report, chart, compare, page, table},
    scenario::{Bench, Lengths, Scenario, seconds},
    soak,
    subject::{Io, Peer, Subject, Titan},
};

#[derive(Args)]
pub(super) struct FlameArgs {
    /// Kinds of load; all without any
    work: Vec<Work>,
    /// Time of each recording
    #[arg(long = "seconds", value_parser = seconds, default_value = "4")]
    duration: Duration,
    /// How PoP and edge wait for their sockets
    #[arg(long, default_value = "auto")]
    io: Io,
    /// Directory for the graphs
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/out"))]
    out: PathBuf,
}

#[derive(Args)]
pub(super) struct CompareArgs {
    /// The first
    a: PathBuf,
    /// The second
    b: PathBuf,
}

#[derive(Args)]
pub(super) struct ShowArgs {
    /// The file
    report: PathBuf,
    /// Directory for the charts
    #[arg(long)]
    charts: Option<PathBuf>,
    /// Markdown file whose figures to replace
    #[arg(long)]
    page: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct CountsArgs {
    /// Replace the baseline
    #[arg(long)]
    write_baseline: bool,
}

#[derive(Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    lengths: Lengths,
    /// Run only these scenarios
    #[arg(long, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Run only beside these peers; "none" for none
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Shards of the PoP
    #[arg(long, default_value_t = 1)]
    shards: usize,
    /// Edges that share the load where a scenario does not say how many
    #[arg(long, default_value_t = 1)]
    edges: usize,
    /// How PoP and edge wait for their sockets
    #[arg(long, default_value = "auto")]
    io: Io,
    /// File for the figures
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/out/report.json"))]
    out: PathBuf,
}

#[derive(Args)]
pub(super) struct SoakArgs {
    #[command(flatten)]
    plan: soak::Plan,
    /// How PoP and edges wait for their sockets
    #[arg(long, default_value = "auto")]
    io: Io,
    /// File for what is found
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/out/soak.json"))]
    out: PathBuf,
}

impl SoakArgs {
    pub(super) async fn run(self) -> Result<()> {
        let outcome = soak::run(&self.plan, self.io).await?;
        soak::write(&outcome, &self.out)?;
        println!("\n{}", outcome.text());
        println!("found: {}", self.out.display());
        let broken = outcome.broken();
        let broken: Vec<_> = broken.iter().map(|check| &*check.what).collect();
        ensure!(broken.is_empty(), "does not hold: {}", broken.join("; "));
        Ok(())
    }
}

impl RunArgs {
    pub(super) async fn run(self) -> Result<()> {
        let subjects = self.subjects()?;
        let lengths = &self.lengths;
        let settings = [
            ("rounds", lengths.rounds.to_string()),
            ("seconds", lengths.duration.as_secs_f64().to_string()),
            ("sessions", lengths.sessions.to_string()),
            ("idle sessions", lengths.idle_sessions.to_string()),
            ("idle tunnels", lengths.idle_tunnels.to_string()),
            ("many tunnels", lengths.many_tunnels.to_string()),
            ("stalled", lengths.stalled.to_string()),
            ("many stalled", lengths.many_stalled.to_string()),
            ("datagrams", lengths.datagrams.count.to_string()),
            ("storm", lengths.storm.to_string()),
            ("shards", self.shards.to_string()),
            ("edges", self.edges.to_string()),
            ("io", format!("{:?}", self.io).to_lowercase()),
        ];
        let settings = settings
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec();
        let report = Report::new(settings)?;
        let scenarios = if self.only.is_empty() {
            Scenario::ALL.to_vec()
        } else {
            self.only
        };
        let bench = Bench::new(subjects, self.lengths, report).await?;
        let report = bench.run(&scenarios).await;
        report.write(&self.out)?;
        println!("{}\n{}", report.machine.line(), table::markdown(&report));
        println!("figures: {}", self.out.display());
        ensure!(
            report.failures.is_empty(),
            "failed: {}",
            report.failures.join("; ")
        );
        Ok(())
    }

    fn subjects(&self) -> Result<Vec<Subject>> {
        let titan = Titan {
            shards: self.shards,
            io: self.io,
            edges: self.edges,
        };
        let mut subjects = vec![Subject::Titan(titan)];
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
        for peer in Peer::all(directory.as_ref())? {
            if self.peers.is_empty() || self.peers.iter().any(|name| name == peer.name()) {
                subjects.push(Subject::Peer(peer));
            }
        }
        Ok(subjects)
    }
}

impl FlameArgs {
    pub(super) async fn run(self) -> Result<()> {
        let titan = Titan {
            shards: 1,
            io: self.io,
            edges: 1,
        };
        let report = Report::new(Vec::new())?;
        let bench = Bench::new(vec![Subject::Titan(titan)], Lengths::default(), report).await?;
        let works = if self.work.is_empty() {
            Work::ALL.to_vec()
        } else {
            self.work
        };
        for file in bench.draw(&works, self.duration, &self.out).await? {
            println!("{}", file.display());
        }
        Ok(())
    }
}

impl CompareArgs {
    pub(super) fn run(&self) -> Result<()> {
        let (a, b) = (Report::read(&self.a)?, Report::read(&self.b)?);
        println!("{}", compare::markdown(&a, &b));
        for what in compare::unsteady(&a, &b) {
            println!("! {what}");
        }
        Ok(())
    }
}

impl ShowArgs {
    pub(super) fn run(&self) -> Result<()> {
        let report = Report::read(&self.report)?;
        println!("{}", table::markdown(&report));
        if let Some(charts) = &self.charts {
            chart::write_all(&report, charts)?;
        }
        self.page
            .as_ref()
            .map_or(Ok(()), |path| page::update(&report, path))
    }
}

impl CountsArgs {
    pub(super) fn run(&self) -> Result<()> {
        let now = counts::count_all(&counts::build()?)?;
        let before = Baseline::read().ok();
        for (driver, now) in &now {
            let before = before
                .as_ref()
                .and_then(|baseline| baseline.instructions.get(driver));
            let change = before.map_or(String::new(), |before| {
                format!(" {:+.1} %", (now / before - 1.0) * 100.0)
            });
            println!("{driver:<16} {now:>10.1}{change}");
        }
        if self.write_baseline {
            let tolerance_percent =
                before.map_or(TOLERANCE_PERCENT, |before| before.tolerance_percent);
            Baseline {
                rustc: counts::rustc()?,
                tolerance_percent,
                instructions: now,
            }
            .write()?;
        }
        Ok(())
    }
}

/// What a new baseline tolerates: above the digits that a change elsewhere in a function moves,
/// below what a person would notice.
const TOLERANCE_PERCENT: f64 = 5.0;
