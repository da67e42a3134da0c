//! Traffic packages: what a user has paid for.

use serde::{Deserialize, Serialize};

use super::present;

/// A traffic package. Absent fields set no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Seconds since the Unix epoch before which the user may not connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 253402300799_u64))]
    pub from: Option<u64>,
    /// Seconds since the Unix epoch from which on the user may not connect; behind `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 253402300799_u64))]
    pub until: Option<u64>,
    /// Bytes the user may relay, both directions together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 9007199254740991_u64))]
    pub bytes: Option<u64>,
}

/// Changes to a [`Package`]: absent fields stay as they are, `null` lifts a bound (RFC 7396).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PackageUpdate {
    /// See [`Package::from`].
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>, maximum = 253402300799_u64))]
    pub from: Option<Option<u64>>,
    /// See [`Package::until`].
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>, maximum = 253402300799_u64))]
    pub until: Option<Option<u64>>,
    /// See [`Package::bytes`].
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>, maximum = 9007199254740991_u64))]
    pub bytes: Option<Option<u64>>,
}

/// Body of `POST /api/v1/users/{name}/package`: what the user has bought on top.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PackageRenewal {
    /// Bytes to add to those of the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        schema(minimum = 1, maximum = 9007199254740991_u64)
    )]
    pub bytes: Option<u64>,
    /// The package's new end, which is later than the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(maximum = 253402300799_u64))]
    pub until: Option<u64>,
}

/// A user's package as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PackageView {
    /// See [`Package::from`].
    pub from: Option<u64>,
    /// See [`Package::until`].
    pub until: Option<u64>,
    /// See [`Package::bytes`].
    pub bytes: Option<u64>,
    /// Bytes of it that are used up.
    pub used: u64,
    /// Bytes that are left; absent: any number.
    pub left: Option<u64>,
}
