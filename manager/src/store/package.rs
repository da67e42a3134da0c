//! A user's traffic package, and what may become of it.

use serde::{Deserialize, Serialize};
use titan_proto::control;

use super::{UnixTime, User};
use crate::limits;

/// The traffic a user may relay.
///
/// Invariant: `from` lies before `until`; no number is beyond its limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Package {
    /// Before it the user may not connect.
    pub(crate) from: Option<UnixTime>,
    /// From it on the user may not connect.
    pub(crate) until: Option<UnixTime>,
    /// Bytes the user may relay, both directions together.
    pub(crate) bytes: Option<u64>,
}

/// What is to become of a user's package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PackageChange {
    /// What is named is different, in the package there is or in a new one (RFC 7396).
    Merge(control::PackageUpdate),
    /// More is added to the package.
    Renew(control::PackageRenewal),
    /// Nothing of it is used up any more.
    Reset,
    /// There is none.
    Remove,
}

/// Why a package cannot be what it is told to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PackageError {
    #[error("the user has no package")]
    Missing,
    #[error("a package's from must lie before its until")]
    Period,
    #[error("a time must lie before the year 10000")]
    Time,
    #[error("a package has at most {} bytes", limits::MAX_PACKAGE_BYTES)]
    Bytes,
    #[error("a renewal names bytes to add, at least one, or a later until")]
    Nothing,
    #[error("the package has no bound of bytes that more could be added to")]
    BytesUnlimited,
    #[error("the package has no end that could be put off")]
    TimeUnlimited,
    #[error("a renewal's until must be later than the package's")]
    NotLater,
}

/// Bytes that `user` may still relay; `None`: any number.
///
/// The one place where what was bought and what was relayed meet: `relayed` is what PoPs have
/// reported since the package began or was last reset.
pub(crate) fn bytes_left(user: &User, relayed: u64) -> Option<u64> {
    let bytes = user.package.as_ref()?.bytes?;
    Some(bytes.saturating_sub(relayed))
}

impl TryFrom<control::Package> for Package {
    type Error = PackageError;
    fn try_from(package: control::Package) -> Result<Self, PackageError> {
        let control::Package { from, until, bytes } = package;
        let package = Self {
            from: from.map(UnixTime),
            until: until.map(UnixTime),
            bytes,
        };
        package.checked()
    }
}

impl Package {
    fn merge(self, update: &control::PackageUpdate) -> Result<Self, PackageError> {
        let time = |new: Option<Option<u64>>, old| new.map_or(old, |time| time.map(UnixTime));
        let package = Self {
            from: time(update.from, self.from),
            until: time(update.until, self.until),
            bytes: update.bytes.unwrap_or(self.bytes),
        };
        package.checked()
    }

    /// Adds bytes to those of the package. What was used stays used, so that the sum is added to
    /// what is left, or to what was relayed beyond the package before it was stopped.
    fn renew(self, renewal: &control::PackageRenewal) -> Result<Self, PackageError> {
        if renewal.bytes.is_none_or(|bytes| bytes == 0) && renewal.until.is_none() {
            return Err(PackageError::Nothing);
        }
        let bytes = match (renewal.bytes, self.bytes) {
            (Some(more), Some(bytes)) => Some(bytes.checked_add(more).ok_or(PackageError::Bytes)?),
            (Some(_), None) => return Err(PackageError::BytesUnlimited),
            (None, bytes) => bytes,
        };
        let until = match (renewal.until.map(UnixTime), self.until) {
            (Some(later), Some(until)) if later <= until => return Err(PackageError::NotLater),
            (Some(_), None) => return Err(PackageError::TimeUnlimited),
            (later, until) => later.or(until),
        };
        Self {
            bytes,
            until,
            ..self
        }
        .checked()
    }

    fn checked(self) -> Result<Self, PackageError> {
        let is_late =
            |time: Option<UnixTime>| time.is_some_and(|time| time.0 > limits::LAST_TIME_S);
        if is_late(self.from) || is_late(self.until) {
            return Err(PackageError::Time);
        }
        if self
            .bytes
            .is_some_and(|bytes| bytes > limits::MAX_PACKAGE_BYTES)
        {
            return Err(PackageError::Bytes);
        }
        match (self.from, self.until) {
            (Some(from), Some(until)) if from >= until => Err(PackageError::Period),
            _ => Ok(self),
        }
    }
}

impl PackageChange {
    /// Whether what was relayed before does not count for `package` with this change.
    pub(super) fn begins_anew(&self, package: Option<&Package>) -> bool {
        match self {
            Self::Merge(_) => package.is_none(),
            Self::Reset | Self::Remove => true,
            Self::Renew(_) => false,
        }
    }

    /// `package` with this change.
    pub(super) fn apply(self, package: Option<Package>) -> Result<Option<Package>, PackageError> {
        let present = |package: Option<Package>| package.ok_or(PackageError::Missing);
        match self {
            Self::Merge(update) => {
                let package = match package {
                    Some(package) => package,
                    None => control::Package::default().try_into()?,
                };
                package.merge(&update).map(Some)
            }
            Self::Renew(renewal) => present(package)?.renew(&renewal).map(Some),
            // What it has used is not the package's to know: the store counts it from zero again.
            Self::Reset => present(package).map(Some),
            Self::Remove => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(from: Option<u64>, until: Option<u64>, bytes: Option<u64>) -> Package {
        Package::try_from(control::Package { from, until, bytes }).expect("a package")
    }

    fn renew(
        package: &Package,
        bytes: Option<u64>,
        until: Option<u64>,
    ) -> Result<Package, PackageError> {
        package
            .clone()
            .renew(&control::PackageRenewal { bytes, until })
    }

    #[test]
    fn a_renewal_adds_to_what_is_left() {
        let bought = package(Some(10), Some(20), Some(100));
        let renewed = renew(&bought, Some(50), Some(25)).expect("renewed");
        assert_eq!(renewed.bytes, Some(150));
        assert_eq!(renewed.until, Some(UnixTime(25)));
        assert_eq!(
            renew(&bought, None, Some(21)).expect("longer").bytes,
            Some(100)
        );
    }

    #[test]
    fn a_renewal_that_gives_nothing_is_refused() {
        let bought = package(None, Some(20), Some(100));
        assert_eq!(renew(&bought, None, None), Err(PackageError::Nothing));
        assert_eq!(renew(&bought, Some(0), None), Err(PackageError::Nothing));
        assert_eq!(renew(&bought, None, Some(20)), Err(PackageError::NotLater));
        let unlimited = package(Some(1), None, None);
        assert_eq!(
            renew(&unlimited, Some(1), None),
            Err(PackageError::BytesUnlimited)
        );
        assert_eq!(
            renew(&unlimited, None, Some(2)),
            Err(PackageError::TimeUnlimited)
        );
        assert_eq!(PackageChange::Reset.apply(None), Err(PackageError::Missing));
    }

    #[test]
    fn no_number_leaves_its_range() {
        let bought = package(Some(10), Some(20), Some(limits::MAX_PACKAGE_BYTES));
        assert_eq!(renew(&bought, Some(1), None), Err(PackageError::Bytes));
        assert_eq!(
            renew(&bought, Some(u64::MAX), None),
            Err(PackageError::Bytes)
        );
        assert_eq!(
            renew(&bought, None, Some(u64::MAX)),
            Err(PackageError::Time)
        );
        let update = control::PackageUpdate {
            from: Some(Some(20)),
            ..control::PackageUpdate::default()
        };
        assert_eq!(bought.merge(&update), Err(PackageError::Period));
    }

    #[test]
    fn a_merge_lifts_what_is_null_and_makes_what_is_missing() {
        let update = control::PackageUpdate {
            until: Some(None),
            bytes: Some(Some(5)),
            ..control::PackageUpdate::default()
        };
        let merge = |package| PackageChange::Merge(update.clone()).apply(package);
        let merged = merge(Some(package(Some(1), Some(2), None)));
        assert_eq!(merged, Ok(Some(package(Some(1), None, Some(5)))));
        assert_eq!(merge(None), Ok(Some(package(None, None, Some(5)))));
    }
}
