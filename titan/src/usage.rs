//! `titan usage`: what users have relayed.

use std::io::Write;

use anyhow::bail;
use clap::{Args, ValueEnum};
use titan_proto::control::{
    TopUser, UsagePoint, UsageResolution, UsageSeries, UsageTop, UsageTotals, UsageView, UserName,
};

use crate::{
    client::{Client, Connection},
    output::{Format, fields, or_dash, table, utc},
};

/// Show what users have relayed.
#[derive(Debug, Args)]
pub(crate) struct UsageCommand {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    /// The user.
    #[arg(required_unless_present = "top")]
    name: Option<UserName>,
    /// Show the user over time, in points of this length, instead of all together.
    #[arg(long, value_enum, value_name = "LENGTH")]
    series: Option<Length>,
    /// First point of the series, seconds since the Unix epoch; absent: as far back as is kept.
    #[arg(long, requires = "series", value_name = "TIME")]
    from: Option<u64>,
    /// End of the series, seconds since the Unix epoch; absent: now.
    #[arg(long, requires = "series", value_name = "TIME")]
    until: Option<u64>,
    /// Print the series as CSV.
    #[arg(long, requires = "series", conflicts_with = "json")]
    csv: bool,
    /// Show the users who relay most, in the last five to ten minutes.
    #[arg(long, conflicts_with_all = ["name", "series"])]
    top: bool,
}

/// [`UsageResolution`] on a command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Length {
    /// Five minutes.
    #[value(name = "5m")]
    FiveMinutes,
    /// An hour.
    #[value(name = "1h")]
    Hour,
    /// A day of UTC.
    #[value(name = "1d")]
    Day,
}

impl UsageCommand {
    /// Does what was asked.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.connection)?;
        let Some(name) = &self.name else {
            let top: UsageTop = client.get("/usage/top").await?;
            return self.format.print(&top, top_text);
        };
        // The alphabet of names needs no escaping in a path.
        let path = format!("/users/{name}/usage");
        match self.series {
            None => {
                let usage: UsageView = client.get(&path).await?;
                self.format.print(&usage, usage_text)
            }
            Some(length) => self.print_series(&client, &path, length).await,
        }
    }

    async fn print_series(
        &self,
        client: &Client,
        path: &str,
        length: Length,
    ) -> anyhow::Result<()> {
        let mut query = format!("{path}/series?resolution={}", UsageResolution::from(length));
        for (key, value) in [("from", self.from), ("until", self.until)] {
            if let Some(value) = value {
                query.push_str(&format!("&{key}={value}"));
            }
        }
        if self.csv {
            let text = client.get_text(&format!("{query}&format=csv")).await?;
            let Err(error) = std::io::stdout().write_all(text.as_bytes()) else {
                return Ok(());
            };
            bail!(error);
        }
        let series: UsageSeries = client.get(&query).await?;
        self.format.print(&series, series_text)
    }
}

impl From<Length> for UsageResolution {
    fn from(length: Length) -> Self {
        match length {
            Length::FiveMinutes => Self::FiveMinutes,
            Length::Hour => Self::Hour,
            Length::Day => Self::Day,
        }
    }
}

fn usage_text(usage: &UsageView) -> String {
    fields([
        ("name", usage.name.to_string()),
        ("total", totals_text(&usage.total)),
        ("package", totals_text(&usage.package)),
        ("bytes left", or_dash(usage.bytes_left)),
        (
            "now",
            format!(
                "{} B/s up, {} B/s down, {} sessions",
                usage.up_bytes_per_second, usage.down_bytes_per_second, usage.connections
            ),
        ),
    ])
}

fn totals_text(totals: &UsageTotals) -> String {
    let UsageTotals {
        up_bytes,
        down_bytes,
        sessions,
    } = totals;
    format!("{up_bytes} B up, {down_bytes} B down, {sessions} sessions")
}

/// Without the points in which nothing was relayed, which only machines want.
fn series_text(series: &UsageSeries) -> String {
    let is_used = |point: &&UsagePoint| point.up_bytes + point.down_bytes + point.sessions > 0;
    let row = |point: &UsagePoint| {
        [
            utc(point.start),
            point.up_bytes.to_string(),
            point.down_bytes.to_string(),
            point.sessions.to_string(),
        ]
    };
    table(
        ["START", "UP BYTES", "DOWN BYTES", "SESSIONS"],
        series.points.iter().filter(is_used).map(row),
    )
}

fn top_text(top: &UsageTop) -> String {
    let row = |user: &TopUser| {
        [
            user.name.to_string(),
            user.bytes_per_second.to_string(),
            user.up_bytes.to_string(),
            user.down_bytes.to_string(),
            user.sessions.to_string(),
        ]
    };
    table(
        ["NAME", "B/S", "UP BYTES", "DOWN BYTES", "SESSIONS"],
        top.users.iter().map(row),
    )
}
