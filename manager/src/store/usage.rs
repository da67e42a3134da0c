//! What is stored of usage, as opposed to what travels (`titan_proto::control`).

use titan_proto::control::{PopId, UsageResolution, UsageTotals};

use super::{UnixTime, User};
use crate::limits::{DAYS_KEPT_DAYS, FIVE_MINUTES_KEPT_DAYS, HOURS_KEPT_DAYS};

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UsageApplied {
    /// It is counted.
    Done,
    /// It was counted before; the last sequence that was is this one.
    Repeated(u64),
    /// It does not follow what was counted; this sequence does.
    OutOfOrder(u64),
}

/// What was counted for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Since the user was created.
    pub(crate) total: UsageTotals,
    /// Since the user's package began.
    pub(crate) package: UsageTotals,
    /// What each PoP said last.
    pub(crate) shares: Vec<PopShare>,
}

/// What a PoP said last about a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PopShare {
    /// The PoP.
    pub(crate) pop: PopId,
    /// End of the interval of a second that it spoke of.
    pub(crate) at: UnixTime,
    /// Bytes relayed up in it.
    pub(crate) up_bytes: u64,
    /// Bytes relayed down in it.
    pub(crate) down_bytes: u64,
    /// Sessions running at its end; none if the PoP has started anew since.
    pub(crate) connections: u64,
}

/// Where a user stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The user, if there is one.
    pub(crate) user: Option<User>,
    /// What was counted since the user's package began.
    pub(crate) package: UsageTotals,
}

/// Seconds for which points of this length are kept.
pub(crate) fn kept_for(resolution: UsageResolution) -> u64 {
    let days = match resolution {
        UsageResolution::FiveMinutes => FIVE_MINUTES_KEPT_DAYS,
        UsageResolution::Hour => HOURS_KEPT_DAYS,
        UsageResolution::Day => DAYS_KEPT_DAYS,
    };
    days * UsageResolution::Day.seconds()
}
