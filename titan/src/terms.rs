//! What a user may do, and what is noted about it, as arguments and as text.

use std::collections::BTreeMap;

use bytesize::ByteSize;
use ipnet::IpNet;
use titan_proto::control::{
    LabelName, LabelsUpdate, LimitsUpdate, Note, Package, PackageUpdate, PackageView, UserLimits,
    UserView,
};

use crate::{
    arguments::{Bytes, Label, OrNone, Time, parse_net},
    output::utc,
};

/// Limits, labels and package of a user. What is not named stays; `none` lifts a limit.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Terms {
    /// Most bytes a second from the user's clients, as in 5MB; or none.
    #[arg(long, value_name = "SIZE")]
    up: Option<OrNone<Bytes>>,
    /// Most bytes a second to the user's clients, as in 5MB; or none.
    #[arg(long, value_name = "SIZE")]
    down: Option<OrNone<Bytes>>,
    /// Most connections at a time; or none.
    #[arg(long, value_name = "N")]
    connections: Option<OrNone<u32>>,
    /// Addresses and networks that the user's clients may come from; "any" for all.
    #[arg(long, value_name = "NETS", value_delimiter = ',')]
    allow_from: Option<Vec<String>>,
    /// A note about the user; may be repeated.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<Label>,
    /// When the user's package begins: 2027-01-31, 2027-01-31T12:00:00Z, +1day; or none.
    #[arg(long, value_name = "TIME")]
    from: Option<OrNone<Time>>,
    /// When the user's package ends: 2027-01-31, 2027-01-31T12:00:00Z, +30days; or none.
    #[arg(long, value_name = "TIME")]
    until: Option<OrNone<Time>>,
    /// Bytes of the user's package, as in 10GB; or none.
    #[arg(long, value_name = "SIZE")]
    bytes: Option<OrNone<Bytes>>,
}

impl Terms {
    /// The limits that are named.
    ///
    /// # Errors
    /// A client address is none.
    pub(crate) fn limits(&self) -> anyhow::Result<LimitsUpdate> {
        let rate = |limit: OrNone<Bytes>| limit.0.map(|bytes| bytes.0);
        Ok(LimitsUpdate {
            up_bytes_per_second: self.up.map(rate),
            down_bytes_per_second: self.down.map(rate),
            connections: self.connections.map(|limit| limit.0),
            client_addresses: self.allow_from.as_deref().map(networks).transpose()?,
        })
    }

    /// The labels that are named.
    pub(crate) fn labels(&self) -> BTreeMap<LabelName, Note> {
        let pair = |label: &Label| (label.name.clone(), label.value.clone());
        self.labels.iter().map(pair).collect()
    }

    /// The same, as a change.
    pub(crate) fn label_changes(&self) -> LabelsUpdate {
        let set = self.labels().into_iter();
        set.map(|(name, value)| (name, Some(value))).collect()
    }

    /// The package, if anything is said about it.
    pub(crate) fn package(&self) -> Option<Package> {
        self.package_changes().map(|changes| Package {
            from: changes.from.flatten(),
            until: changes.until.flatten(),
            bytes: changes.bytes.flatten(),
        })
    }

    /// The same, as a change.
    pub(crate) fn package_changes(&self) -> Option<PackageUpdate> {
        let seconds = |time: OrNone<Time>| time.0.map(|time| time.0);
        let changes = PackageUpdate {
            from: self.from.map(seconds),
            until: self.until.map(seconds),
            bytes: self.bytes.map(|bytes| bytes.0.map(|bytes| bytes.0.get())),
        };
        (changes != PackageUpdate::default()).then_some(changes)
    }
}

fn networks(texts: &[String]) -> anyhow::Result<Option<Vec<IpNet>>> {
    if texts == ["any"] {
        return Ok(None);
    }
    let parse = |text: &String| {
        parse_net(text).map_err(|error| anyhow::anyhow!("--allow-from: {text:?} {error}"))
    };
    texts
        .iter()
        .map(parse)
        .collect::<anyhow::Result<_>>()
        .map(Some)
}

/// What is left of the user's package, for a list.
pub(crate) fn left_text(user: &UserView) -> String {
    let left = user.package.as_ref().and_then(|package| package.left);
    left.map_or_else(|| "-".into(), size)
}

/// When the user's package ends, for a list.
pub(crate) fn until_text(user: &UserView) -> String {
    let until = user.package.as_ref().and_then(|package| package.until);
    until.map_or_else(|| "-".into(), utc)
}

/// The user's labels in one line.
pub(crate) fn labels_text(user: &UserView) -> String {
    if user.labels.is_empty() {
        return "-".into();
    }
    let label = |(name, value): (&LabelName, &Note)| format!("{name}={value}");
    user.labels.iter().map(label).collect::<Vec<_>>().join(", ")
}

/// The user's limits in one line.
pub(crate) fn limits_text(limits: &UserLimits) -> String {
    let rate = |name, limit: Option<std::num::NonZeroU64>| {
        limit.map(|limit| format!("{name} {}/s", size(limit.get())))
    };
    let connections = limits
        .connections
        .map(|count| format!("{count} connections"));
    let networks = limits.client_addresses.iter().map(ToString::to_string);
    let networks = networks.collect::<Vec<_>>().join(",");
    let networks = (!networks.is_empty()).then(|| format!("from {networks}"));
    let parts = [
        rate("up", limits.up_bytes_per_second),
        rate("down", limits.down_bytes_per_second),
        connections,
        networks,
    ];
    let parts = parts.into_iter().flatten().collect::<Vec<_>>();
    if parts.is_empty() {
        "-".into()
    } else {
        parts.join(", ")
    }
}

/// The user's package in one line.
pub(crate) fn package_text(package: Option<&PackageView>) -> String {
    let Some(package) = package else {
        return "-".into();
    };
    let left = package.left.map_or_else(
        || "any traffic".into(),
        |left| format!("{} left", size(left)),
    );
    let bytes = package.bytes.map(|bytes| format!(" of {}", size(bytes)));
    let from = package.from.map(|from| format!(", from {}", utc(from)));
    let until = package.until.map(|until| format!(", until {}", utc(until)));
    let rest = [bytes, from, until].into_iter().flatten();
    std::iter::once(left).chain(rest).collect()
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().si().to_string()
}
