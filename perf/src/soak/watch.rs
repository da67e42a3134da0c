//! What PoP and edges hold, looked at from time to time.

use std::{fmt::Write, time::Duration};

use anyhow::Result;
use serde::Serialize;

use super::ledger::Totals;
use crate::{
    sample::{open_files, resident},
    scrape::Scrape,
};

/// What there is at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Minutes since the load began.
    pub minute: f64,
    /// Files that the PoP has open.
    pub pop_files: usize,
    /// Resident bytes of the PoP.
    pub pop_resident: u64,
    /// Files of each edge that runs.
    pub edge_files: Vec<usize>,
    /// Resident bytes of each edge that runs.
    pub edge_resident: Vec<u64>,
    /// Sessions that the PoP says are running.
    pub sessions: f64,
    /// Clients in their handshake.
    pub handshakes: f64,
    /// Tunnels.
    pub tunnels: f64,
}

impl Sample {
    /// Looks at a PoP and the edges.
    ///
    /// # Errors
    /// The PoP has ended or does not answer.
    pub(super) async fn take(
        since: Duration,
        pop: u32,
        scrape: &Scrape,
        edges: &[u32],
    ) -> Result<Self> {
        let page = scrape.page().await?;
        // An edge may be killed between the list and the look.
        let each = edges.iter().copied();
        Ok(Self {
            minute: since.as_secs_f64() / 60.0,
            pop_files: open_files(pop)?,
            pop_resident: resident(pop)?,
            edge_files: each
                .clone()
                .filter_map(|pid| open_files(pid).ok())
                .collect(),
            edge_resident: each.filter_map(|pid| resident(pid).ok()).collect(),
            sessions: page.get("titan_pop_sessions_active")?,
            handshakes: page.get("titan_pop_handshakes_active")?,
            tunnels: page.get("titan_pop_tunnels_active")?,
        })
    }

    /// As a row of [`HEAD`], with what was done until then.
    pub(super) fn row(&self, totals: &Totals, cpu_percent: f64) -> String {
        let mut row = String::new();
        let most = self.edge_files.iter().max().copied().unwrap_or_default();
        let edges: u64 = self.edge_resident.iter().sum();
        let _ = write!(
            row,
            "| {:.1} | {} | {:.1} | {most} | {:.1} | {} | {} | {} | {} | {:.2} | {} | {} | {} | \
             {cpu_percent:.0} |",
            self.minute,
            self.pop_files,
            mib(self.pop_resident),
            mib(edges),
            self.sessions,
            self.handshakes,
            self.tunnels,
            totals.sessions(),
            gb(totals.bytes),
            totals.kills,
            totals.killed,
            totals.failed + totals.mismatches,
        );
        row
    }
}

/// The head of the table.
pub(super) const HEAD: &str = "| minute | PoP files | PoP MiB | most files of an edge | edges MiB \
    | sessions | handshakes | tunnels | done | GB | kills | failed by them | failed | CPU % |\n\
    | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | \
    ---: |";

/// Bytes by which the PoP's memory grows in an hour: the line of least squares through the samples
/// from `minute` on; `None` with fewer than two of them.
pub(super) fn growth_per_hour(samples: &[Sample], minute: f64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "memory is below 2^52")]
    let points: Vec<(f64, f64)> = samples
        .iter()
        .filter(|sample| sample.minute >= minute)
        .map(|sample| (sample.minute / 60.0, sample.pop_resident as f64))
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (hour, bytes) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - hour).powi(2)).sum();
    let rise: f64 = points
        .iter()
        .map(|point| (point.0 - hour) * (point.1 - bytes))
        .sum();
    (points.len() > 1 && spread > 0.0).then(|| rise / spread)
}

/// Bytes as MiB.
pub(super) fn mib(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "memory is below 2^52")]
    let bytes = bytes as f64;
    bytes / f64::from(1 << 20)
}

fn gb(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "petabytes")]
    let bytes = bytes as f64;
    bytes / 1e9
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::soak) fn sample(minute: f64, pop_resident: u64) -> Sample {
        Sample {
            minute,
            pop_files: 20,
            pop_resident,
            edge_files: vec![10, 12],
            edge_resident: vec![5 << 20, 6 << 20],
            sessions: 0.0,
            handshakes: 0.0,
            tunnels: 2.0,
        }
    }

    #[test]
    fn growth_is_the_slope_after_the_minute() {
        let samples: Vec<_> = [(1.0, 0), (5.0, 600), (6.0, 700), (7.0, 800)]
            .map(|(minute, bytes)| sample(minute, bytes))
            .into();
        let growth = growth_per_hour(&samples, 5.0).unwrap();
        assert!((growth - 6_000.0).abs() < 1e-6, "{growth}");
        assert_eq!(growth_per_hour(&samples, 7.0), None);
    }

    #[test]
    fn a_row_has_the_columns_of_the_head() {
        let row = sample(1.0, 1 << 20).row(&Totals::default(), 50.0);
        let columns = |line: &str| line.matches('|').count();
        assert_eq!(columns(&row), columns(HEAD.lines().next().unwrap()));
        assert_eq!(columns(&row), columns(HEAD.lines().nth(1).unwrap()));
    }
}
