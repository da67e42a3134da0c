//! Usage: what PoPs report of the bytes they relay, and what operators are told of it.
//!
//! What counts as relayed: *up*, the bytes that were read from a client and handed to a tunnel, heads of
//! plain HTTP requests as they are passed on included; *down*, the bytes that a client's socket took.
//! Datagrams count with their payload. A session that another edge carries on is one session, and what
//! its client had sent counts once.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{IdError, UserName};

/// Most batches of one [`UsageReport`].
pub const MAX_USAGE_BATCHES: usize = 64;

/// Most entries of one [`UsageReport`], all its batches together: some 3 MiB of JSON.
pub const MAX_USAGE_ENTRIES: usize = 20_000;

/// Names one run of a PoP's usage reports: 16 random bytes, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{32}$"))]
#[serde(try_from = "String", into = "String")]
pub struct UsageStream([u8; 16]);

impl UsageStream {
    /// The stream that these random bytes name.
    pub const fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// The stream's name as bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for UsageStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for UsageStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UsageStream({self})")
    }
}

impl FromStr for UsageStream {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if let Some(c) = text.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            return Err(IdError::Character(c));
        }
        let mut random = [0; 16];
        hex::decode_to_slice(text, &mut random)
            .map_err(|_| IdError::Length { min: 32, max: 32 })?;
        Ok(Self(random))
    }
}

impl TryFrom<String> for UsageStream {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<UsageStream> for String {
    fn from(stream: UsageStream) -> String {
        stream.to_string()
    }
}

/// Body of `POST /api/v1/pop/usage`, sent by a PoP every second in which something was relayed.
///
/// A batch that has been sent is never changed, and is sent again until it is acknowledged, so the
/// manager can tell by stream and sequence what it has counted. Batches of a run that has ended are
/// sent under that run's stream, before those of the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageReport {
    /// The run of the PoP that the batches are of.
    pub stream: UsageStream,
    /// The PoP's time, seconds since the Unix epoch: with it the batches' ages can be told whatever
    /// the clock says.
    pub sent_at: u64,
    /// The batches, 1 to 64, each with the sequence that follows the one before.
    pub batches: Vec<UsageBatch>,
}

/// What was relayed in one interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageBatch {
    /// Counts the batches of the stream from 1.
    pub sequence: u64,
    /// End of the interval by the PoP's clock, seconds since the Unix epoch.
    pub at: u64,
    /// Users about whom something has changed, in the order of their names, each once.
    pub users: Vec<UserUsage>,
}

/// What was relayed for one user in one interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserUsage {
    /// The user.
    pub name: UserName,
    /// Bytes from the user's clients to their targets.
    pub up_bytes: u64,
    /// Bytes from the targets to the user's clients.
    pub down_bytes: u64,
    /// Sessions opened.
    pub sessions: u64,
    /// Sessions running on this PoP at the end of the interval.
    pub connections: u64,
}

/// Answer to a usage report that was counted, now or before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageReply {
    /// The last sequence of the stream that is counted; it and all before it need not be kept.
    pub applied: u64,
    /// Where the users of the report stand.
    pub users: Vec<UserStanding>,
}

/// Whether a user may go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserStanding {
    /// The user.
    pub name: UserName,
    /// Whether the user may connect at all.
    pub state: UserState,
    /// Bytes the user may still relay, both directions together; absent: any number.
    #[serde(default)]
    pub bytes_left: Option<u64>,
}

/// Whether a user may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum UserState {
    /// It may.
    Active,
    /// It is switched off.
    Disabled,
    /// There is no such user any more.
    Gone,
}

/// Bytes and sessions, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageTotals {
    /// Bytes from the user's clients to their targets.
    pub up_bytes: u64,
    /// Bytes from the targets to the user's clients.
    pub down_bytes: u64,
    /// Sessions opened.
    pub sessions: u64,
}

impl UsageTotals {
    /// Both directions together.
    pub fn bytes(&self) -> u64 {
        self.up_bytes.saturating_add(self.down_bytes)
    }

    /// Adds `more`. A sum beyond the type's range stays at its end: no honest PoP gets there.
    pub fn add(&mut self, more: &Self) {
        self.up_bytes = self.up_bytes.saturating_add(more.up_bytes);
        self.down_bytes = self.down_bytes.saturating_add(more.down_bytes);
        self.sessions = self.sessions.saturating_add(more.sessions);
    }
}

impl From<&UserUsage> for UsageTotals {
    fn from(usage: &UserUsage) -> Self {
        Self {
            up_bytes: usage.up_bytes,
            down_bytes: usage.down_bytes,
            sessions: usage.sessions,
        }
    }
}

/// Answer to `GET /api/v1/users/{name}/usage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageView {
    /// The user, who may have been deleted since.
    pub name: UserName,
    /// All since the user was created.
    pub total: UsageTotals,
    /// All since the user's package began.
    pub package: UsageTotals,
    /// Bytes left of the package, both directions together; absent: any number.
    pub bytes_left: Option<u64>,
    /// Bytes relayed up in the last interval that PoPs have reported, a second.
    pub up_bytes_per_second: u64,
    /// Bytes relayed down in the last interval that PoPs have reported, a second.
    pub down_bytes_per_second: u64,
    /// Sessions running now.
    pub connections: u64,
}

/// How long each point of a [`UsageSeries`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum UsageResolution {
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// An hour.
    #[serde(rename = "1h")]
    Hour,
    /// A day of UTC.
    #[serde(rename = "1d")]
    Day,
}

impl UsageResolution {
    /// Every resolution, the finest first.
    pub const ALL: [Self; 3] = [Self::FiveMinutes, Self::Hour, Self::Day];

    /// Seconds of a point.
    pub const fn seconds(self) -> u64 {
        match self {
            Self::FiveMinutes => 300,
            Self::Hour => 3600,
            Self::Day => 86_400,
        }
    }

    /// Where the point begins that `at` lies in, seconds since the Unix epoch.
    pub const fn start_of(self, at: u64) -> u64 {
        at - at % self.seconds()
    }
}

impl fmt::Display for UsageResolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "1d",
        })
    }
}

/// Answer to `GET /api/v1/users/{name}/usage/series`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageSeries {
    /// The user.
    pub name: UserName,
    /// How long each point is.
    pub resolution: UsageResolution,
    /// The points in order, those included in which nothing was relayed.
    pub points: Vec<UsagePoint>,
}

/// What was relayed in one slice of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsagePoint {
    /// When it begins, seconds since the Unix epoch.
    pub start: u64,
    /// Bytes from the user's clients to their targets.
    pub up_bytes: u64,
    /// Bytes from the targets to the user's clients.
    pub down_bytes: u64,
    /// Sessions opened.
    pub sessions: u64,
}

impl UsagePoint {
    /// The point that begins then.
    pub const fn new(start: u64, totals: UsageTotals) -> Self {
        Self {
            start,
            up_bytes: totals.up_bytes,
            down_bytes: totals.down_bytes,
            sessions: totals.sessions,
        }
    }
}

/// Answer to `GET /api/v1/usage/top`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageTop {
    /// Begin of the time that is added up, seconds since the Unix epoch.
    pub from: u64,
    /// Its end: now.
    pub until: u64,
    /// Users by the bytes they have relayed meanwhile, most first.
    pub users: Vec<TopUser>,
}

/// A user among those who relay most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TopUser {
    /// The user.
    pub name: UserName,
    /// Bytes from the user's clients to their targets.
    pub up_bytes: u64,
    /// Bytes from the targets to the user's clients.
    pub down_bytes: u64,
    /// Sessions opened.
    pub sessions: u64,
    /// Both directions together, on average over the time.
    pub bytes_per_second: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_survives_its_text_form() {
        let stream = UsageStream::new([0xab; 16]);
        assert_eq!(stream.to_string().parse(), Ok(stream));
        assert!("ab".parse::<UsageStream>().is_err());
        assert!("AB".repeat(16).parse::<UsageStream>().is_err());
    }

    #[test]
    fn resolutions_are_written_as_they_are_read() {
        for resolution in UsageResolution::ALL {
            let text = serde_json::to_string(&resolution).expect("plain data");
            assert_eq!(text, format!("\"{resolution}\""));
        }
        assert_eq!(UsageResolution::Hour.start_of(7300), 7200);
    }
}
