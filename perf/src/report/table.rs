//! A report as a table, in Markdown, which people can read as it is.

use std::fmt::Write;

use super::{Metric, Report, WHOLE, targets};

/// A column: whose figures, and which side's where the figure has sides.
struct Column {
    title: &'static str,
    subject: &'static str,
    role: &'static str,
}

const COLUMNS: [Column; 7] = [
    column("PoP", "titan", "pop"),
    column("edge", "titan", "edge"),
    column("manager", "titan", "manager"),
    column("HAProxy", "haproxy", "relay"),
    column("rathole server", "rathole", "server"),
    column("rathole client", "rathole", "client"),
    column("microsocks", "rathole", "socks"),
];

const fn column(title: &'static str, subject: &'static str, role: &'static str) -> Column {
    Column {
        title,
        subject,
        role,
    }
}

/// The whole report.
pub fn markdown(report: &Report) -> String {
    let mut text = targets::markdown(report);
    if !text.is_empty() {
        text.push('\n');
    }
    sided(report, &mut text);
    text.push('\n');
    whole(report, &mut text);
    remarks(report, &mut text);
    text
}

/// Figures of each side.
fn sided(report: &Report, text: &mut String) {
    let titles: Vec<_> = COLUMNS.iter().map(|column| column.title).collect();
    let _ = writeln!(
        text,
        "| | {} | PoP ÷ HAProxy | edge ÷ HAProxy |",
        titles.join(" | ")
    );
    let _ = writeln!(text, "| --- |{}", " ---: |".repeat(COLUMNS.len() + 2));
    for metric in report.metrics() {
        let values: Vec<Option<f64>> = COLUMNS
            .iter()
            .map(|column| Some(report.get(metric, column.subject, column.role)?.median()))
            .collect();
        if values.iter().all(Option::is_none) {
            continue;
        }
        let cells: Vec<_> = values.iter().map(|&value| cell(metric, value)).collect();
        let ratio = |column: &Column| {
            let ratio = report.ratio(metric, column.subject, column.role);
            ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"))
        };
        let (title, cells) = (title(metric), cells.join(" | "));
        let _ = writeln!(
            text,
            "| {title} | {cells} | {} | {} |",
            ratio(&COLUMNS[0]),
            ratio(&COLUMNS[1])
        );
    }
}

/// Figures that no single side can be charged with.
fn whole(report: &Report, text: &mut String) {
    let mut subjects: Vec<&str> = Vec::new();
    for figure in report.figures.iter().filter(|figure| figure.role == WHOLE) {
        if !subjects.contains(&&*figure.subject) {
            subjects.push(&figure.subject);
        }
    }
    if subjects.is_empty() {
        return;
    }
    let _ = writeln!(text, "| | {} |", subjects.join(" | "));
    let _ = writeln!(text, "| --- |{}", " ---: |".repeat(subjects.len()));
    for metric in report.metrics() {
        let value = |subject: &&str| Some(report.get(metric, subject, WHOLE)?.median());
        let values: Vec<_> = subjects.iter().map(value).collect();
        if values.iter().any(Option::is_some) {
            let cells: Vec<_> = values
                .into_iter()
                .map(|value| cell(metric, value))
                .collect();
            let _ = writeln!(text, "| {} | {} |", title(metric), cells.join(" | "));
        }
    }
}

/// What was not measured, and how long everything took.
fn remarks(report: &Report, text: &mut String) {
    for note in report.notes.iter().chain(&report.failures) {
        let _ = write!(text, "\nNot measured: {note}.\n");
    }
    if !report.times.is_empty() {
        let times = report.times.iter();
        let times: Vec<_> = times
            .map(|(name, seconds)| format!("{name} {seconds:.0} s"))
            .collect();
        let total: f64 = report.times.iter().map(|(_, seconds)| seconds).sum();
        let _ = write!(
            text,
            "\nTime of each scenario: {}; {total:.0} s in all.\n",
            times.join(", ")
        );
    }
}

pub(super) fn title(metric: Metric) -> String {
    match metric.unit() {
        "" => metric.title().to_owned(),
        unit => format!("{}, {unit}", metric.title()),
    }
}

pub(super) fn cell(metric: Metric, value: Option<f64>) -> String {
    let Some(value) = value else {
        return String::new();
    };
    if metric.is_count() || value.abs() >= 100.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::report, *};

    #[test]
    fn the_table_holds_both_sides_and_their_ratio() {
        let mut report = report([6.0, 6.0], [9.0, 9.0], [12.0, 12.0]);
        report.add(Metric::StallKept, "titan", WHOLE, 99.6);
        let text = markdown(&report);
        let row = "| CPU per 64-byte echo, µs | 6.00 | 9.00 |  | 12.0 |  |  |  | 0.50 | 0.75 |";
        assert!(text.contains(row), "{text}");
        assert!(
            text.contains("| throughput kept beside stalled sessions, % | 99.6 |"),
            "{text}"
        );
    }
}
