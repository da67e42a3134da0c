//! Users as the operator creates, changes and sees them.

use std::{collections::BTreeMap, num::NonZeroU64};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{LabelName, Note, Package, PackageUpdate, PackageView, UserName, present};

/// When a proxy client is told that it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum ReplyMode {
    /// As soon as an edge has been picked; a later failure is a TCP reset. Saves a round trip.
    #[default]
    Optimistic,
    /// When the edge has connected to the target; the reply carries the true code.
    Confirmed,
}

/// What a user may do at once, on one PoP. Absent fields: no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct UserLimits {
    /// Bytes a second from the user's clients to their targets, over all of the user's sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>, minimum = 1))]
    pub up_bytes_per_second: Option<NonZeroU64>,
    /// Bytes a second from the targets to the user's clients, over all of the user's sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>, minimum = 1))]
    pub down_bytes_per_second: Option<NonZeroU64>,
    /// Client connections at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Where clients may connect from; empty: anywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub client_addresses: Vec<IpNet>,
}

/// Changes to [`UserLimits`]: absent fields stay as they are, `null` lifts a limit (RFC 7396).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct LimitsUpdate {
    /// See [`UserLimits::up_bytes_per_second`].
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>, minimum = 1))]
    pub up_bytes_per_second: Option<Option<NonZeroU64>>,
    /// See [`UserLimits::down_bytes_per_second`].
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>, minimum = 1))]
    pub down_bytes_per_second: Option<Option<NonZeroU64>>,
    /// See [`UserLimits::connections`].
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u32>, minimum = 1))]
    pub connections: Option<Option<u32>>,
    /// See [`UserLimits::client_addresses`]; 64 at most. Replaced as a whole.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>, max_items = 64))]
    pub client_addresses: Option<Option<Vec<IpNet>>>,
}

/// Changes to a user's labels: those not named stay, `null` removes one (RFC 7396).
pub type LabelsUpdate = BTreeMap<LabelName, Option<Note>>;

/// Body of `POST /api/v1/users`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserCreate {
    /// The name to log in with.
    pub name: UserName,
    /// The password, 8 to 255 bytes of UTF-8 (RFC 1929 carries no more); absent: one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Whether the user may connect.
    #[serde(default = "enabled_by_default")]
    pub enabled: bool,
    /// How the user's connections are answered; absent: as each PoP's operator set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_mode: Option<ReplyMode>,
    /// What the user may do at once; absent: anything.
    #[serde(default)]
    pub limits: LimitsUpdate,
    /// What the operator notes about the user; 32 at most.
    #[serde(default)]
    pub labels: BTreeMap<LabelName, Note>,
    /// The traffic the user may relay; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
}

fn enabled_by_default() -> bool {
    true
}

/// Answer to the creation of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserCreated {
    /// The user.
    #[serde(flatten)]
    pub user: UserView,
    /// The password that was made, shown this once; absent where the caller chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// Body of `PATCH /api/v1/users/{name}`: absent fields stay as they are (RFC 7396).
///
/// A field the manager does not know is refused, not ignored: an operator who mistypes `enabled`
/// must not believe that the user is off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserUpdate {
    /// A new password, 8 to 255 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Whether the user may connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    // `Some(None)` is `null`, `None` is an absent field.
    /// How the user's connections are answered; `null`: as each PoP's operator set.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<ReplyMode>))]
    pub reply_mode: Option<Option<ReplyMode>>,
    /// What the user may do at once; `null`: anything.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<LimitsUpdate>))]
    pub limits: Option<Option<LimitsUpdate>>,
    /// What the operator notes about the user; `null`: nothing.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    #[cfg_attr(feature = "openapi", schema(schema_with = labels_update_schema))]
    pub labels: Option<Option<LabelsUpdate>>,
    /// The traffic the user may relay; `null`: any. A user without package gets one.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<PackageUpdate>))]
    pub package: Option<Option<PackageUpdate>>,
}

/// Written out, because utoipa knows no maps whose values may be `null`.
#[cfg(feature = "openapi")]
fn labels_update_schema() -> utoipa::openapi::schema::Object {
    use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
    let value = ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .min_length(Some(1))
        .max_length(Some(Note::MAX_LEN));
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[a-z0-9._-]{1,64}$"));
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .property_names(Some(name))
        .additional_properties(Some(value))
        .description(Some(
            "What the operator notes about the user; `null`: nothing.",
        ))
        .build()
}

/// A user as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserView {
    /// The name to log in with.
    pub name: UserName,
    /// Changes whenever anything about the user does.
    pub version: u64,
    /// Whether the user may connect.
    pub enabled: bool,
    /// How the user's connections are answered; absent: as each PoP's operator set.
    pub reply_mode: Option<ReplyMode>,
    /// What the user may do at once.
    #[serde(default)]
    pub limits: UserLimits,
    /// What the operator notes about the user.
    #[serde(default)]
    pub labels: BTreeMap<LabelName, Note>,
    /// The traffic the user may relay; absent: any.
    #[serde(default)]
    pub package: Option<PackageView>,
    /// Created at, seconds since the Unix epoch.
    pub created_at: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(text: &str) -> Result<UserUpdate, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn null_resets_the_reply_mode_and_absence_leaves_it() {
        let mode = |text| update(text).map(|update| update.reply_mode).ok();
        assert_eq!(mode("{}"), Some(None));
        assert_eq!(mode(r#"{"reply_mode":null}"#), Some(Some(None)));
        assert_eq!(
            mode(r#"{"reply_mode":"confirmed"}"#),
            Some(Some(Some(ReplyMode::Confirmed)))
        );
    }

    #[test]
    fn an_update_survives_its_text_form() {
        for reply_mode in [None, Some(None), Some(Some(ReplyMode::Optimistic))] {
            let sent = UserUpdate {
                reply_mode,
                ..UserUpdate::default()
            };
            let text = serde_json::to_string(&sent).expect("plain data");
            assert_eq!(update(&text).expect("what was written"), sent);
        }
    }

    #[test]
    fn a_mistyped_field_is_refused() {
        for text in [
            r#"{"enable":false}"#,
            r#"{"limits":{"conections":1}}"#,
            r#"{"package":{"byte":1}}"#,
            r#"{"labels":{"A":"b"}}"#,
        ] {
            assert!(update(text).is_err(), "{text}");
        }
    }

    #[test]
    fn null_reaches_into_what_is_nested() {
        let sent = update(r#"{"limits":{"connections":null},"labels":{"plan":null},"package":{}}"#)
            .expect("a merge patch");
        let limits = sent.limits.flatten().expect("limits");
        assert_eq!(
            (limits.connections, limits.client_addresses),
            (Some(None), None)
        );
        let labels = sent.labels.flatten().expect("labels");
        assert_eq!(labels.into_values().collect::<Vec<_>>(), [None]);
        assert_eq!(sent.package, Some(Some(PackageUpdate::default())));
        assert_eq!(
            update(r#"{"package":null}"#).expect("valid").package,
            Some(None)
        );
    }
}
