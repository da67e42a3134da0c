//! Whether a soak has left everything as it should be.

use std::fmt::Write;

use serde::Serialize;

use super::{
    ledger::{Kind, Totals},
    watch::{Sample, growth_per_hour, mib},
};
use crate::limits::{SOAK_MEMORY_BYTES, SOAK_MEMORY_PART, SOAK_SPARE_FDS};

/// One thing that has to hold.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What.
    pub what: String,
    /// Whether it does.
    pub holds: bool,
    /// What was found.
    pub found: String,
}

/// Everything that a soak has found.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The seed of every choice.
    pub seed: u64,
    /// Before the load.
    pub idle: Sample,
    /// Under load.
    pub samples: Vec<Sample>,
    /// After the load, at rest.
    pub rest: Sample,
    /// What was done.
    pub totals: Totals,
    /// Bytes by which the PoP's memory grew in an hour after minute five.
    pub growth_per_hour: Option<f64>,
    /// What was not done because the PoP does not offer it.
    pub notes: Vec<String>,
    /// What has to hold.
    pub checks: Vec<Check>,
}

/// Minute from which memory is expected to stay.
const SETTLED: f64 = 5.0;

impl Outcome {
    /// Judges what was found.
    pub(super) fn judge(
        seed: u64,
        (idle, samples, rest): (Sample, Vec<Sample>, Sample),
        totals: Totals,
        notes: Vec<String>,
    ) -> Self {
        let mut checks = sessions(&totals, notes.is_empty());
        checks.extend(is_idle(&idle, &rest));
        checks.extend(memory(&samples, &rest));
        let growth_per_hour = growth_per_hour(&samples, SETTLED);
        Self {
            seed,
            idle,
            samples,
            rest,
            totals,
            growth_per_hour,
            notes,
            checks,
        }
    }

    /// Checks that do not hold.
    pub fn broken(&self) -> Vec<&Check> {
        self.checks.iter().filter(|check| !check.holds).collect()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::from("| check | found | holds |\n| --- | --- | --- |\n");
        for Check { what, holds, found } in &self.checks {
            let holds = if *holds { "yes" } else { "**no**" };
            let _ = writeln!(text, "| {what} | {found} | {holds} |");
        }
        let Totals {
            done,
            datagrams,
            datagrams_lost,
            ..
        } = &self.totals;
        let _ = writeln!(text, "\nSessions: {done:?}.");
        let _ = writeln!(
            text,
            "Datagrams: {datagrams}, of which {datagrams_lost} were lost."
        );
        match self.growth_per_hour {
            Some(bytes) => {
                let mib = bytes / f64::from(1 << 20);
                let _ = writeln!(text, "The PoP's memory grew by {mib:.2} MiB an hour.");
            }
            None => text += "The run was too short to say how memory grows.\n",
        }
        for failure in self.notes.iter().chain(&self.totals.failures) {
            let _ = writeln!(text, "* {failure}");
        }
        text
    }
}

fn check(what: impl Into<String>, holds: bool, found: impl Into<String>) -> Check {
    Check {
        what: what.into(),
        holds,
        found: found.into(),
    }
}

fn sessions(totals: &Totals, with_udp: bool) -> Vec<Check> {
    let idle = Kind::ALL
        .iter()
        .filter(|&&kind| (kind != Kind::Udp || with_udp) && !totals.done.contains_key(&kind));
    let idle: Vec<_> = idle.map(|kind| format!("{kind:?}")).collect();
    vec![
        check(
            "no byte is lost or changed",
            totals.mismatches == 0,
            totals.mismatches.to_string(),
        ),
        check(
            "no session fails but those of killed edges",
            totals.failed == 0,
            format!("{} besides {}", totals.failed, totals.killed),
        ),
        check(
            "every kind of session has come to its end",
            idle.is_empty(),
            format!(
                "{} sessions, none of {}",
                totals.sessions(),
                idle.join(", ")
            ),
        ),
    ]
}

fn is_idle(idle: &Sample, rest: &Sample) -> Vec<Check> {
    let most = |sample: &Sample| sample.edge_files.iter().max().copied().unwrap_or_default();
    let files = |was: usize, is: usize| is <= was + SOAK_SPARE_FDS;
    let (edge_was, edge_is) = (most(idle), most(rest));
    let of = |was: &dyn ToString, is: &dyn ToString| {
        format!("{}, before the load {}", is.to_string(), was.to_string())
    };
    vec![
        check(
            "no session is left",
            rest.sessions <= idle.sessions,
            rest.sessions.to_string(),
        ),
        check(
            "no handshake is left",
            rest.handshakes <= idle.handshakes,
            rest.handshakes.to_string(),
        ),
        check(
            "every tunnel is back, and none is left over",
            (rest.tunnels - idle.tunnels).abs() < 0.5,
            of(&idle.tunnels, &rest.tunnels),
        ),
        check(
            format!("the PoP has closed its files, to within {SOAK_SPARE_FDS}"),
            files(idle.pop_files, rest.pop_files),
            of(&idle.pop_files, &rest.pop_files),
        ),
        check(
            format!("so has each edge, to within {SOAK_SPARE_FDS}"),
            files(edge_was, edge_is),
            of(&edge_was, &edge_is),
        ),
    ]
}

/// Compares with minute five, or with the first sample of a run that has none.
fn memory(samples: &[Sample], rest: &Sample) -> Option<Check> {
    let settled = samples.iter().find(|sample| sample.minute >= SETTLED - 0.1);
    let then = settled.or_else(|| samples.first())?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "memory is below 2^52"
    )]
    let part = (then.pop_resident as f64 * SOAK_MEMORY_PART) as u64;
    let tolerance = part + SOAK_MEMORY_BYTES;
    let (was, is) = (mib(then.pop_resident), mib(rest.pop_resident));
    Some(check(
        format!(
            "the PoP's memory is at most that of minute {:.0} and {:.0} MiB",
            then.minute,
            mib(tolerance)
        ),
        rest.pop_resident <= then.pop_resident + tolerance,
        format!("{is:.1} MiB, then {was:.1}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::watch::tests::sample, *};

    fn done() -> Totals {
        let done = Kind::ALL.into_iter().map(|kind| (kind, 1)).collect();
        Totals {
            done,
            ..Totals::default()
        }
    }

    fn judge(rest: Sample, totals: Totals) -> Outcome {
        let samples = vec![sample(1.0, 90 << 20), sample(5.0, 100 << 20)];
        Outcome::judge(
            1,
            (sample(0.0, 30 << 20), samples, rest),
            totals,
            Vec::new(),
        )
    }

    #[test]
    fn a_clean_run_holds() {
        let outcome = judge(sample(9.0, 60 << 20), done());
        assert!(outcome.broken().is_empty(), "{}", outcome.text());
        assert_eq!(outcome.checks.len(), 9);
    }

    #[test]
    fn everything_that_is_left_behind_is_found() {
        let mut rest = sample(9.0, 137 << 20);
        rest.sessions = 1.0;
        rest.handshakes = 1.0;
        rest.tunnels = 3.0;
        rest.pop_files += SOAK_SPARE_FDS + 1;
        rest.edge_files[0] += SOAK_SPARE_FDS + 3;
        let mut totals = done();
        totals.done.remove(&Kind::HalfClosed);
        totals.failed = 1;
        totals.mismatches = 1;
        let outcome = judge(rest, totals);
        assert_eq!(outcome.broken().len(), 9, "{}", outcome.text());
    }
}
