//! Two reports beside each other.

use std::fmt::Write;

use super::{Figure, Report};

/// Differences beyond this part of a ratio to HAProxy are marked: two runs of one commit on one
/// machine agree within it.
const REPEATS_WITHIN: f64 = 0.15;

/// Every figure that both have, with the ratio of the second to the first; and, where HAProxy has
/// the figure too, both ratios to it, which hold what a machine's good or bad day does not change.
pub fn markdown(a: &Report, b: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "A: {} {} on {}",
        a.date,
        a.machine.commit,
        a.machine.line()
    );
    let _ = writeln!(
        text,
        "B: {} {} on {}\n",
        b.date,
        b.machine.commit,
        b.machine.line()
    );
    let _ = writeln!(
        text,
        "| figure | whose | A | B | B ÷ A | A ÷ HAProxy | B ÷ HAProxy | change |"
    );
    let _ = writeln!(text, "| --- | --- |{}", " ---: |".repeat(6));
    for figure in &a.figures {
        let Figure {
            metric,
            subject,
            role,
            ..
        } = figure;
        if let Some(other) = b.get(*metric, subject, role) {
            let row = Row::new(a, b, figure, other);
            let _ = writeln!(text, "| {} | {subject} {role} | {row} |", metric.title());
        }
    }
    text
}

/// Ratios to HAProxy that differ by more than [`REPEATS_WITHIN`] between the two.
pub fn unsteady(a: &Report, b: &Report) -> Vec<String> {
    let differs = |figure: &&Figure| {
        let other = b.get(figure.metric, &figure.subject, &figure.role)?;
        let change = Row::new(a, b, figure, other).change()?;
        ((change - 1.0).abs() > REPEATS_WITHIN).then_some(())
    };
    a.figures
        .iter()
        .filter(|figure| differs(figure).is_some())
        .map(|figure| {
            format!(
                "{} of {} {}",
                figure.metric.title(),
                figure.subject,
                figure.role
            )
        })
        .collect()
}

/// One figure of both reports.
struct Row {
    values: [f64; 2],
    ratios: Option<[f64; 2]>,
}

impl Row {
    fn new(a: &Report, b: &Report, figure: &Figure, other: &Figure) -> Self {
        let values = [figure.median(), other.median()];
        let ratio = |report: &Report| report.ratio(figure.metric, &figure.subject, &figure.role);
        let ratios = ratio(a).zip(ratio(b)).map(|(a, b)| [a, b]);
        Self { values, ratios }
    }

    /// How much the ratio to HAProxy has changed.
    fn change(&self) -> Option<f64> {
        self.ratios.map(|[a, b]| b / a)
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b] = self.values;
        write!(f, "{a:.2} | {b:.2} | {:.2} | ", b / a)?;
        let (Some([ratio_a, ratio_b]), Some(change)) = (self.ratios, self.change()) else {
            return write!(f, " |  | ");
        };
        let mark = if (change - 1.0).abs() > REPEATS_WITHIN {
            " !"
        } else {
            ""
        };
        write!(f, "{ratio_a:.2} | {ratio_b:.2} | {change:.2}{mark}")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::report, *};

    #[test]
    fn a_slow_day_changes_figures_but_no_ratio() {
        let a = report([4.0, 4.0], [8.0, 8.0], [10.0, 10.0]);
        let b = report([8.0, 8.0], [20.0, 20.0], [20.0, 20.0]);
        let text = markdown(&a, &b);
        let pop = "| titan pop | 4.00 | 8.00 | 2.00 | 0.40 | 0.40 | 1.00 |";
        let edge = "| titan edge | 8.00 | 20.00 | 2.50 | 0.80 | 1.00 | 1.25 ! |";
        assert!(text.contains(pop) && text.contains(edge), "{text}");
        assert_eq!(unsteady(&a, &b), ["CPU per 64-byte echo of titan edge"]);
    }
}
