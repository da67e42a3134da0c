//! What this project has set itself for its figures, and whether a report meets it.

use std::fmt::Write;

use super::{Metric, REFERENCE, Report, WHOLE, table};

/// One target.
#[derive(Debug, Clone, Copy)]
struct Target {
    metric: Metric,
    /// Whose side's figure: `pop`, `edge` or [`WHOLE`].
    role: &'static str,
    bound: Bound,
}

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
enum Bound {
    /// At most so much.
    AtMost(f64),
    /// At least so much.
    AtLeast(f64),
    /// At most so many times what HAProxy has.
    TimesHaproxy(f64),
}

/// Every target, in the order of the table.
const TARGETS: &[Target] = &[
    target(Metric::CpuPerGbDown, "pop", Bound::TimesHaproxy(0.45)),
    target(Metric::CpuPerGbUp, "pop", Bound::TimesHaproxy(0.45)),
    target(Metric::CpuPerGbDown, "edge", Bound::TimesHaproxy(0.50)),
    target(Metric::CpuPerGbUp, "edge", Bound::TimesHaproxy(0.50)),
    target(Metric::BulkMemory, "pop", Bound::AtMost(64.0)),
    target(Metric::CpuPerEcho, "pop", Bound::TimesHaproxy(0.75)),
    target(Metric::CpuPerConnection, "pop", Bound::TimesHaproxy(0.90)),
    target(Metric::TwoShardsDown, "pop", Bound::AtMost(1.1)),
    target(Metric::TwoShardsUp, "pop", Bound::AtMost(1.1)),
    target(Metric::TwoShardsHandovers, "pop", Bound::AtMost(0.0)),
    target(Metric::MemoryPerSession, "pop", Bound::AtMost(1.5)),
    target(Metric::MemoryPerTunnel, "pop", Bound::AtMost(2.0)),
    target(Metric::CpuManyTunnels, "pop", Bound::AtMost(10.0)),
    target(Metric::StallKept, WHOLE, Bound::AtLeast(95.0)),
    target(Metric::StallGrowth, "pop", Bound::AtMost(16.0)),
    // 1.15 round trips of 50 ms.
    target(Metric::DelayedFirstByte, WHOLE, Bound::AtMost(57.5)),
    target(Metric::DelayedDown, WHOLE, Bound::AtLeast(120.0)),
    target(Metric::DelayedUp, WHOLE, Bound::AtLeast(120.0)),
    target(Metric::NarrowEchoDownP99, WHOLE, Bound::AtMost(150.0)),
    target(Metric::NarrowShareDown, WHOLE, Bound::AtLeast(90.0)),
    target(Metric::NarrowEchoUpP99, WHOLE, Bound::AtMost(150.0)),
    target(Metric::NarrowShareUp, WHOLE, Bound::AtLeast(90.0)),
    target(Metric::UdpLost, WHOLE, Bound::AtMost(0.0)),
    target(Metric::UdpLargest, WHOLE, Bound::AtLeast(65_507.0)),
    target(Metric::WrkProxyFailed, WHOLE, Bound::AtMost(0.0)),
];

const fn target(metric: Metric, role: &'static str, bound: Bound) -> Target {
    Target {
        metric,
        role,
        bound,
    }
}

/// Every target whose figure the report has; empty where it has none of them.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    for target in TARGETS {
        let Some(row) = row(report, target) else {
            continue;
        };
        if text.is_empty() {
            text += "| | ours | HAProxy | ratio | target | met |\n| --- |";
            text += &" ---: |".repeat(4);
            text += " --- |\n";
        }
        let _ = writeln!(text, "{row}");
    }
    text
}

fn row(report: &Report, target: &Target) -> Option<String> {
    let Target {
        metric,
        role,
        bound,
    } = *target;
    let ours = report.get(metric, OURS, role)?.median();
    let (reference, relay) = REFERENCE;
    let its_role = if role == WHOLE { WHOLE } else { relay };
    let theirs = report.get(metric, reference, its_role);
    let theirs = theirs.map(super::Figure::median);
    let ratio = match bound {
        Bound::TimesHaproxy(_) => report.ratio(metric, OURS, role),
        Bound::AtMost(_) | Bound::AtLeast(_) => theirs
            .filter(|&value| value > 0.0)
            .map(|value| ours / value),
    };
    let ratio_text = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    let side = match role {
        WHOLE => String::new(),
        "pop" => "PoP: ".to_owned(),
        other => format!("{other}: "),
    };
    Some(format!(
        "| {side}{} | {} | {} | {ratio_text} | {} | {} |",
        table::title(metric),
        table::cell(metric, Some(ours)),
        table::cell(metric, theirs),
        bound.text(),
        bound.verdict(ours, ratio),
    ))
}

impl Bound {
    fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {limit}"),
            Self::AtLeast(limit) => format!("≥ {limit}"),
            Self::TimesHaproxy(limit) => format!("≤ {limit:.2} × HAProxy"),
        }
    }

    /// Empty where there is no HAProxy to compare with.
    fn verdict(self, ours: f64, ratio: Option<f64>) -> &'static str {
        let met = match self {
            Self::AtMost(limit) => ours <= limit,
            Self::AtLeast(limit) => ours >= limit,
            Self::TimesHaproxy(limit) => match ratio {
                Some(ratio) => ratio <= limit,
                None => return "",
            },
        };
        if met { "yes" } else { "**no**" }
    }
}

/// The subject that the targets are for.
const OURS: &str = "titan";

#[cfg(test)]
mod tests {
    use super::{super::tests::report, *};

    #[test]
    fn a_target_is_met_or_missed_by_value_or_by_ratio() {
        let mut report = report([6.0, 6.0], [9.0, 9.0], [12.0, 12.0]);
        report.add(Metric::StallKept, OURS, WHOLE, 94.0);
        report.add(Metric::StallKept, "haproxy", WHOLE, 100.0);
        report.add(Metric::UdpLost, OURS, WHOLE, 0.0);
        let text = markdown(&report);
        for row in [
            "| PoP: CPU per 64-byte echo, µs | 6.00 | 12.0 | 0.50 | ≤ 0.75 × HAProxy | yes |",
            "| throughput kept beside stalled sessions, % | 94.0 | 100 | 0.94 | ≥ 95 | **no** |",
            "| datagrams lost | 0 |  |  | ≤ 0 | yes |",
        ] {
            assert!(text.contains(row), "{text}");
        }
    }

    #[test]
    fn a_report_without_such_figures_has_no_such_table() {
        let mut report = report([6.0, 6.0], [9.0, 9.0], [12.0, 12.0]);
        report.figures.clear();
        assert_eq!(markdown(&report), "");
    }

    #[test]
    fn without_haproxy_there_is_no_verdict() {
        let mut report = report([6.0, 6.0], [9.0, 9.0], [12.0, 12.0]);
        report.figures.retain(|figure| figure.subject == OURS);
        let row = "| PoP: CPU per 64-byte echo, µs | 6.00 |  |  | ≤ 0.75 × HAProxy |  |";
        assert!(markdown(&report).contains(row), "{}", markdown(&report));
    }
}
