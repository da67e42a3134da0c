//! What the operator's commands print: tables for people, JSON for machines.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

/// For whom to print.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Format {
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

impl Format {
    /// Prints `value` as JSON, or what `text` makes of it.
    pub(crate) fn print<T: Serialize + ?Sized>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let mut output = if self.json {
            serde_json::to_string_pretty(value)?
        } else {
            text(value)
        };
        output.push('\n');
        write(&output)
    }

    /// Prints a confirmation for people; machines look at the exit status.
    pub(crate) fn confirm(self, text: &str) -> anyhow::Result<()> {
        if self.json {
            Ok(())
        } else {
            write(&format!("{text}\n"))
        }
    }
}

/// Rows under a head, each column as wide as its widest cell.
pub(crate) fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows.into_iter().map(|row| row.map(|cell| plain(&cell))));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let lines = lines.iter().map(|line| {
        let cells = line
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Names and values, one pair per line.
pub(crate) fn fields<const N: usize>(fields: [(&str, String); N]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): (&str, String)| format!("{name:width$}  {}", plain(&value));
    fields.map(line).join("\n")
}

/// The text of a value that may be missing.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Seconds since the Unix epoch as a date and time of day in UTC.
pub(crate) fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3600, second % 3600 / 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}Z")
}

/// The Gregorian date of a day counted from 1970-01-01. Years are counted from 1 March, so that the
/// leap day is the last of its year; 719,468 days lie between 0000-03-01 and the epoch.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097; // 400 years
    let days = days + 719_468;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // March to January alternate 31, 30, 31, 30, 31, …: 153 days in five months.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// What a far end gave, made harmless for a terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A reader that has seen enough (`titan node list | head`) is no error.
fn write(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let row = |a: &str, b: &str, c: &str| [a.into(), b.into(), c.into()];
        let text = table(
            ["NAME", "X", "LAST"],
            [row("ü", "long one", ""), row("b", "c", "d")],
        );
        assert_eq!(
            text,
            "NAME  X         LAST\nü     long one\nb     c         d"
        );
        assert_eq!(table(["NAME", "X"], []), "NAME  X");
    }

    #[test]
    fn nothing_moves_the_cursor() {
        let text = table(["A"], [["\u{1b}[2J".into()]]);
        assert_eq!(text, "A\n\u{fffd}[2J");
        assert_eq!(
            fields([("a", "x\ny".into()), ("long", "z".into())]),
            "a     x\u{fffd}y\nlong  z"
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00Z");
        assert_eq!(utc(951_868_800), "2000-03-01 00:00Z");
        assert_eq!(utc(1_767_225_599), "2025-12-31 23:59Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00Z");
    }
}
