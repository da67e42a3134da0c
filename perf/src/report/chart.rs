//! A report as bar charts, in SVG that needs nothing but a browser.

use std::{fmt::Write, fs, path::Path};

use anyhow::Result;

use super::{Figure, Metric, Report};

/// Charts by file name, and what each shows.
const CHARTS: [(&str, &[Metric]); 4] = [
    (
        "cpu.svg",
        &[
            Metric::CpuPerGbDown,
            Metric::CpuPerGbUp,
            Metric::CpuPerEcho,
            Metric::CpuPerConnection,
        ],
    ),
    (
        "memory.svg",
        &[
            Metric::MemoryPerSession,
            Metric::MemoryPerTunnel,
            Metric::BulkMemory,
            Metric::StallGrowth,
        ],
    ),
    (
        "narrow.svg",
        &[
            Metric::NarrowEchoDownP99,
            Metric::NarrowShareDown,
            Metric::NarrowEchoUpP99,
            Metric::NarrowShareUp,
        ],
    ),
    (
        "distance.svg",
        &[
            Metric::StallKept,
            Metric::DelayedFirstByte,
            Metric::DelayedDown,
            Metric::DelayedUp,
        ],
    ),
];

/// Writes every chart into `directory`.
///
/// # Errors
/// A file cannot be written.
pub fn write_all(report: &Report, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    for (name, metrics) in CHARTS {
        fs::write(directory.join(name), svg(report, metrics))?;
    }
    Ok(())
}

/// Panels of bars, one below the other.
fn svg(report: &Report, metrics: &[Metric]) -> String {
    let mut body = String::new();
    let mut y = MARGIN;
    for &metric in metrics {
        let figures = figures(report, metric);
        if !figures.is_empty() {
            panel(&mut body, metric, &figures, &mut y);
        }
    }
    let source = format!(
        "{}, {}",
        report.date.get(..10).unwrap_or_default(),
        report.machine.line()
    );
    let height = y + LINE;
    let _ = writeln!(
        body,
        "<text class=\"source\" x=\"{MARGIN}\" y=\"{y}\">{}</text>",
        escape(&source)
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<style>{STYLE}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

/// This project's figures first.
fn figures(report: &Report, metric: Metric) -> Vec<&Figure> {
    let of_metric = |figure: &&Figure| figure.metric == metric && figure.role != "manager";
    let mut figures: Vec<_> = report.figures.iter().filter(of_metric).collect();
    figures.sort_by_key(|figure| (figure.subject != "titan", &figure.subject, &figure.role));
    figures
}

fn panel(body: &mut String, metric: Metric, figures: &[&Figure], y: &mut u32) {
    let better = if metric.more_is_better() {
        "more"
    } else {
        "less"
    };
    let title = format!("{}, {} ({better} is better)", metric.title(), metric.unit());
    *y += LINE;
    let _ = writeln!(
        body,
        "<text class=\"title\" x=\"{MARGIN}\" y=\"{y}\">{}</text>",
        escape(&title)
    );
    let most = figures
        .iter()
        .map(|figure| figure.median())
        .fold(f64::MIN_POSITIVE, f64::max);
    for figure in figures {
        *y += LINE;
        let value = figure.median();
        let length = (value.max(0.0) / most * f64::from(BARS)).max(1.0);
        let class = if figure.subject == "titan" {
            "ours"
        } else {
            "theirs"
        };
        let name = match &*figure.role {
            super::WHOLE => figure.subject.clone(),
            role => format!("{} {role}", figure.subject),
        };
        let (label_x, text_x) = (
            MARGIN + LABELS - 8,
            f64::from(MARGIN + LABELS) + length + 6.0,
        );
        let (bar_x, bar_y) = (MARGIN + LABELS, *y - 13);
        let _ = writeln!(
            body,
            "<text class=\"label\" x=\"{label_x}\" y=\"{y}\">{}</text>",
            escape(&name)
        );
        let _ = writeln!(
            body,
            "<rect class=\"{class}\" x=\"{bar_x}\" y=\"{bar_y}\" width=\"{length:.1}\" height=\"16\"/>"
        );
        let _ = writeln!(
            body,
            "<text x=\"{text_x:.1}\" y=\"{y}\">{}</text>",
            number(value)
        );
    }
    *y += LINE;
}

fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Pixels.
const WIDTH: u32 = 760;
const MARGIN: u32 = 16;
const LABELS: u32 = 150;
const BARS: u32 = 500;
const LINE: u32 = 22;

const STYLE: &str = "text{font:13px sans-serif;fill:#222}.title{font-weight:bold}\
    .label{text-anchor:end}.source{font-size:11px;fill:#666}.ours{fill:#2563eb}.theirs{fill:#a8b0bd}";

#[cfg(test)]
mod tests {
    use super::{super::tests::report, *};

    #[test]
    fn the_longest_bar_is_the_largest_value() {
        let text = svg(
            &report([4.0, 4.0], [2.0, 2.0], [8.0, 8.0]),
            &[Metric::CpuPerEcho],
        );
        let widths: Vec<_> = ["500.0", "250.0", "125.0"]
            .iter()
            .map(|width| text.contains(&format!("width=\"{width}\"")))
            .collect();
        assert_eq!(widths, [true; 3], "{text}");
        let (ours, theirs) = (text.find("titan pop"), text.find("haproxy relay"));
        assert!(ours < theirs, "{text}");
    }
}
