//! A page with the figures of a report between two marks.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::{Report, table};

const START: &str = "<!-- figures: written by `titan-perf show --page` -->\n";
const END: &str = "<!-- end of figures -->";

/// Replaces what stands between the marks of the page at `path`.
///
/// # Errors
/// The page cannot be read or written, or has no marks.
pub fn update(report: &Report, path: &Path) -> Result<()> {
    let page = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let page = replaced(&page, &section(report)).context("the page has no marks for figures")?;
    Ok(fs::write(path, page)?)
}

fn section(report: &Report) -> String {
    let machine = &report.machine;
    let settings: Vec<_> = report
        .settings
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    format!(
        "{}, commit {}. {}; {}. {}. Settings: {}.\n\n{}",
        report.date.get(..10).unwrap_or(&report.date),
        machine.commit,
        machine.line(),
        machine.rustc,
        machine.programs.join("; "),
        settings.join(", "),
        table::markdown(report)
    )
}

fn replaced(page: &str, section: &str) -> Option<String> {
    let start = page.find(START)? + START.len();
    let end = start + page[start..].find(END)?;
    Some(format!("{}\n{section}\n{}", &page[..start], &page[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let page = format!("before\n{START}old\n{END}\nafter");
        let once = replaced(&page, "new").unwrap();
        assert_eq!(once, format!("before\n{START}\nnew\n{END}\nafter"));
        assert_eq!(replaced(&once, "new").unwrap(), once);
        assert_eq!(replaced("no marks", "new"), None);
    }
}
