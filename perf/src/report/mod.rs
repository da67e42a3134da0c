//! What a run has found, as it is kept: figures with every single measurement, and where they are
//! from.

pub mod chart;
pub mod compare;
mod machine;
pub mod page;
pub mod table;

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub use machine::Machine;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Start of the run, RFC 3339, UTC.
    pub date: String,
    /// Where it ran.
    pub machine: Machine,
    /// What was measured, and how long.
    pub settings: Vec<(String, String)>,
    /// What was found.
    pub figures: Vec<Figure>,
    /// Scenarios that failed, and why.
    #[serde(default)]
    pub failures: Vec<String>,
}

/// One quantity of one side of one subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Which quantity.
    pub metric: Metric,
    /// Whose: `titan`, `haproxy`, ….
    pub subject: String,
    /// Which side's: `pop`, `edge`, `relay`, …; [`WHOLE`] where it is the whole subject's.
    pub role: String,
    /// Every measurement, in the order they were made.
    pub runs: Vec<f64>,
}

/// Role of a figure that no single side can be charged with.
pub const WHOLE: &str = "whole";

/// Subject and role of the plain relay that ratios refer to.
pub const REFERENCE: (&str, &str) = ("haproxy", "relay");

/// The quantities, in the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// CPU for bulk data from target to client.
    CpuPerGbDown,
    /// CPU for bulk data from client to target.
    CpuPerGbUp,
    /// CPU for 64 bytes there and back.
    CpuPerEcho,
    /// CPU for a connection with password, one byte each way, and its end.
    CpuPerConnection,
    /// The same by HTTP CONNECT.
    CpuPerHttpConnect,
    /// Bulk throughput of all sessions, down.
    ThroughputDown,
    /// Bulk throughput of all sessions, up.
    ThroughputUp,
    /// 99th percentile of a small echo.
    EchoP99,
    /// 99th percentile of a connection.
    ConnectionP99,
    /// Resident memory of an idle session.
    MemoryPerSession,
    /// Resident memory of an idle tunnel.
    MemoryPerTunnel,
    /// CPU of idle tunnels with their heartbeats.
    CpuIdleTunnels,
    /// What one session keeps of its throughput beside sessions that are never read.
    StallKept,
    /// By how much memory grew for those.
    StallGrowth,
    /// Connection and first answered byte with a delayed link.
    DelayedFirstByte,
    /// Throughput of one session, down, with a delayed link.
    DelayedDown,
    /// Throughput of one session, up, with a delayed link.
    DelayedUp,
    /// Time until every edge of a storm is back.
    StormTime,
    /// CPU for each edge of a storm.
    StormCpu,
    /// Requests per second of wrk against nginx through the HTTP proxy.
    WrkProxyRate,
    /// CPU for each of them.
    WrkProxyCpu,
    /// Requests that failed.
    WrkProxyFailed,
    /// Requests per second of wrk against the manager.
    WrkApiRate,
    /// CPU for each of them.
    WrkApiCpu,
    /// Requests that failed.
    WrkApiFailed,
}

impl Metric {
    /// What it is called.
    pub fn title(self) -> &'static str {
        match self {
            Self::CpuPerGbDown => "CPU per GB down",
            Self::CpuPerGbUp => "CPU per GB up",
            Self::CpuPerEcho => "CPU per 64-byte echo",
            Self::CpuPerConnection => "CPU per new connection",
            Self::CpuPerHttpConnect => "CPU per new connection, HTTP CONNECT",
            Self::ThroughputDown => "bulk throughput down",
            Self::ThroughputUp => "bulk throughput up",
            Self::EchoP99 => "64-byte echo, p99",
            Self::ConnectionP99 => "new connection, p99",
            Self::MemoryPerSession => "memory per idle session",
            Self::MemoryPerTunnel => "memory per idle tunnel",
            Self::CpuIdleTunnels => "CPU of 10,000 idle tunnels",
            Self::StallKept => "throughput kept beside stalled sessions",
            Self::StallGrowth => "memory grown by stalled sessions",
            Self::DelayedFirstByte => "connect and first byte at 50 ms RTT",
            Self::DelayedDown => "one session down at 50 ms RTT",
            Self::DelayedUp => "one session up at 50 ms RTT",
            Self::StormTime => "all edges of a storm back within",
            Self::StormCpu => "CPU per reconnecting edge",
            Self::WrkProxyRate => "wrk through the HTTP proxy",
            Self::WrkProxyCpu => "CPU per request through the HTTP proxy",
            Self::WrkProxyFailed => "failed requests through the HTTP proxy",
            Self::WrkApiRate => "wrk against the manager",
            Self::WrkApiCpu => "CPU per request to the manager",
            Self::WrkApiFailed => "failed requests to the manager",
        }
    }

    /// Its unit.
    pub fn unit(self) -> &'static str {
        match self {
            Self::CpuPerGbDown | Self::CpuPerGbUp => "s/GB",
            Self::CpuPerEcho
            | Self::CpuPerConnection
            | Self::CpuPerHttpConnect
            | Self::StormCpu
            | Self::WrkProxyCpu
            | Self::WrkApiCpu
            | Self::EchoP99
            | Self::ConnectionP99 => "µs",
            Self::ThroughputDown | Self::ThroughputUp | Self::DelayedDown | Self::DelayedUp => {
                "MB/s"
            }
            Self::MemoryPerSession | Self::MemoryPerTunnel => "KiB",
            Self::StallGrowth => "MiB",
            Self::StallKept | Self::CpuIdleTunnels => "%",
            Self::DelayedFirstByte => "ms",
            Self::StormTime => "s",
            Self::WrkProxyRate | Self::WrkApiRate => "1/s",
            Self::WrkProxyFailed | Self::WrkApiFailed => "",
        }
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        matches!(
            self,
            Self::ThroughputDown
                | Self::ThroughputUp
                | Self::StallKept
                | Self::DelayedDown
                | Self::DelayedUp
                | Self::WrkProxyRate
                | Self::WrkApiRate
        )
    }
}

impl Figure {
    /// The median of the runs.
    pub fn median(&self) -> f64 {
        median(self.runs.clone())
    }

    /// How far the runs lie apart, as a part of their median.
    pub fn spread(&self) -> f64 {
        let min = self.runs.iter().copied().fold(f64::INFINITY, f64::min);
        let max = self.runs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (max - min) / self.median()
    }
}

impl Report {
    /// An empty report of now and here.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn new(settings: Vec<(String, String)>) -> Result<Self> {
        Ok(Self {
            date: machine::now()?,
            machine: Machine::here()?,
            settings,
            figures: Vec::new(),
            failures: Vec::new(),
        })
    }

    /// Adds one measurement.
    pub fn add(&mut self, metric: Metric, subject: &str, role: &str, value: f64) {
        let is_it = |figure: &&mut Figure| {
            (figure.metric, &*figure.subject, &*figure.role) == (metric, subject, role)
        };
        match self.figures.iter_mut().find(is_it) {
            Some(figure) => figure.runs.push(value),
            None => self.figures.push(Figure {
                metric,
                subject: subject.to_owned(),
                role: role.to_owned(),
                runs: vec![value],
            }),
        }
    }

    /// The figure of one side of one subject.
    pub fn get(&self, metric: Metric, subject: &str, role: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| {
            (figure.metric, &*figure.subject, &*figure.role) == (metric, subject, role)
        })
    }

    /// The figure of one side in units of HAProxy's: the median of the ratios of measurements that
    /// were made one after the other, so that a slow minute of the machine drops out.
    pub fn ratio(&self, metric: Metric, subject: &str, role: &str) -> Option<f64> {
        let (reference, its_role) = REFERENCE;
        let haproxy = self.get(metric, reference, its_role)?;
        let figure = self.get(metric, subject, role)?;
        let pairs = figure.runs.iter().zip(&haproxy.runs);
        let runs: Vec<f64> = pairs
            .filter(|&(_, &haproxy)| haproxy > 0.0)
            .map(|(side, haproxy)| side / haproxy)
            .collect();
        (subject != reference && !runs.is_empty()).then(|| median(runs))
    }

    /// Every metric that there is a figure of, in the table's order.
    pub fn metrics(&self) -> Vec<Metric> {
        let mut metrics: Vec<_> = self.figures.iter().map(|figure| figure.metric).collect();
        metrics.sort_unstable();
        metrics.dedup();
        metrics
    }

    /// Reads a report.
    ///
    /// # Errors
    /// The file cannot be read or is no report.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Writes the report.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text + "\n").with_context(|| path.display().to_string())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A report with PoP, edge and HAProxy, and the two runs of each that are given.
    pub(crate) fn report(pop: [f64; 2], edge: [f64; 2], haproxy: [f64; 2]) -> Report {
        let mut report = Report::new(Vec::new()).unwrap();
        let sides = [
            ("titan", "pop", pop),
            ("titan", "edge", edge),
            ("haproxy", "relay", haproxy),
        ];
        for (subject, role, runs) in sides {
            for value in runs {
                report.add(Metric::CpuPerEcho, subject, role, value);
            }
        }
        report
    }

    #[test]
    fn measurements_of_one_figure_are_gathered() {
        let report = report([1.0, 3.0], [4.0, 4.0], [2.0, 2.0]);
        assert_eq!(report.figures.len(), 3);
        let pop = report.get(Metric::CpuPerEcho, "titan", "pop").unwrap();
        assert_eq!((pop.median(), pop.spread()), (2.0, 1.0));
        assert_eq!(report.metrics(), [Metric::CpuPerEcho]);
    }

    #[test]
    fn a_ratio_compares_what_was_measured_together() {
        let report = report([1.0, 30.0], [8.0, 10.0], [2.0, 20.0]);
        let ratio = |role| report.ratio(Metric::CpuPerEcho, "titan", role);
        assert_eq!((ratio("pop"), ratio("edge")), (Some(1.0), Some(2.25)));
        assert_eq!(report.ratio(Metric::CpuPerEcho, "haproxy", "relay"), None);
    }

    #[test]
    fn a_report_survives_its_file() {
        let report = report([1.0, 3.0], [4.0, 4.0], [2.0, 2.0]);
        let file = tempfile::NamedTempFile::new().unwrap();
        report.write(file.path()).unwrap();
        assert_eq!(Report::read(file.path()).unwrap(), report);
    }
}
