//! What operators may ask about usage.

use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use titan_proto::control::UsageResolution;
use utoipa::IntoParams;

use super::problem::ApiProblem;
use crate::{
    limits,
    store::{UnixTime, kept_for},
};

/// Media type of RFC 4180.
pub(super) const CSV: &str = "text/csv";

/// Which points are wanted, and in which form.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SeriesQuery {
    /// How long each point is. Points of `5m` are kept for 2 days, of `1h` for 60, of `1d` for 732.
    resolution: UsageResolution,
    /// Seconds since the Unix epoch that lie in the first point; absent: as far back as is kept.
    from: Option<u64>,
    /// Seconds since the Unix epoch behind the last point; absent: now.
    until: Option<u64>,
    /// `csv` for what `Accept: text/csv` gives; absent: JSON.
    #[param(inline)]
    format: Option<SeriesFormat>,
}

/// The form of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum SeriesFormat {
    /// A line of names, then one line for each point.
    Csv,
    /// One object.
    Json,
}

impl SeriesQuery {
    /// How long each point is.
    pub(super) fn resolution(&self) -> UsageResolution {
        self.resolution
    }

    /// From when to when, no further back than points are kept.
    pub(super) fn span(&self, now: UnixTime) -> Result<(UnixTime, UnixTime), ApiProblem> {
        let until = self.until.unwrap_or(now.0 + 1).min(now.0 + 1);
        let oldest = now.0.saturating_sub(kept_for(self.resolution));
        let from = self.from.unwrap_or(oldest);
        if from >= until {
            return Err(ApiProblem::new(
                StatusCode::BAD_REQUEST,
                "from must be before until, and before now",
            ));
        }
        Ok((UnixTime(from.max(oldest)), UnixTime(until)))
    }

    /// Whether the query, or else the header, asks for CSV.
    pub(super) fn wants_csv(&self, headers: &HeaderMap) -> bool {
        let accepts = |value: &str| value.split([',', ';']).any(|kind| kind.trim() == CSV);
        match self.format {
            Some(format) => format == SeriesFormat::Csv,
            None => headers
                .get(header::ACCEPT)
                .and_then(|value| value.to_str().ok())
                .is_some_and(accepts),
        }
    }
}

/// Which users are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TopQuery {
    /// Users are compared by this point and the one before; absent: `5m`.
    resolution: Option<UsageResolution>,
    /// Most users wanted, 1 to 1000; absent: 20.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

impl TopQuery {
    /// What users are compared by.
    pub(super) fn resolution(&self) -> UsageResolution {
        self.resolution.unwrap_or(UsageResolution::FiveMinutes)
    }

    /// How many users are wanted.
    pub(super) fn limit(&self) -> Result<usize, ApiProblem> {
        match self.limit.unwrap_or(limits::DEFAULT_TOP) {
            limit @ 1..=limits::MAX_PAGE => Ok(limit),
            _ => Err(ApiProblem::new(
                StatusCode::BAD_REQUEST,
                format!("limit must be 1 to {}", limits::MAX_PAGE),
            )),
        }
    }
}
