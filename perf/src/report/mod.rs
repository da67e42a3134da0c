//! What a run has found, as it is kept: figures with every single measurement, and where they are
//! from.

pub mod chart;
pub mod compare;
mod machine;
mod metric;
pub mod page;
pub mod table;
pub mod targets;

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub use machine::Machine;
pub use metric::Metric;

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
    /// Scenarios and how many seconds each took.
    #[serde(default)]
    pub times: Vec<(String, f64)>,
    /// What could not be measured because the program does not offer it.
    #[serde(default)]
    pub notes: Vec<String>,
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
            times: Vec::new(),
            notes: Vec::new(),
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
