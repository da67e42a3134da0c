//! What a user may do at once and what is noted about it, as it is merged and checked.

use std::collections::BTreeMap;

use titan_proto::control::{LabelName, LabelsUpdate, LimitsUpdate, Note, UserLimits};

use super::{PackageError, User, UserChange};
use crate::limits;

/// What an operator notes about a user.
pub(crate) type Labels = BTreeMap<LabelName, Note>;

/// Why a user cannot be what it is told to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("a user has at most {} labels", limits::MAX_LABELS)]
    Labels,
    #[error("a limit of connections must be at least 1; to shut a user out, disable it")]
    Connections,
    #[error("a user has at most {} client addresses", limits::MAX_CLIENT_ADDRESSES)]
    ClientAddresses,
    #[error(transparent)]
    Package(#[from] PackageError),
}

impl UserChange {
    /// Whether what `user` has relayed so far does not count for the package that comes of it.
    pub(super) fn begins_package_anew(&self, user: &User) -> bool {
        let change = self.package.as_ref();
        change.is_some_and(|change| change.begins_anew(user.package.as_ref()))
    }

    /// `user` with this change and `version`.
    pub(crate) fn apply(self, user: User, version: u64) -> Result<User, ChangeError> {
        let limits = match self.limits {
            Some(Some(update)) => merge_limits(user.limits, update)?,
            Some(None) => UserLimits::default(),
            None => user.limits,
        };
        let labels = match self.labels {
            Some(Some(update)) => merge_labels(user.labels, update)?,
            Some(None) => Labels::new(),
            None => user.labels,
        };
        let package = match self.package {
            Some(change) => change.apply(user.package)?,
            None => user.package,
        };
        Ok(User {
            version,
            password_hash: self.password_hash.unwrap_or(user.password_hash),
            enabled: self.enabled.unwrap_or(user.enabled),
            reply_mode: self.reply_mode.unwrap_or(user.reply_mode),
            limits,
            labels,
            package,
            name: user.name,
            created_at: user.created_at,
        })
    }
}

/// `limits` with what `update` names.
pub(crate) fn merge_limits(
    limits: UserLimits,
    update: LimitsUpdate,
) -> Result<UserLimits, ChangeError> {
    let LimitsUpdate {
        up_bytes_per_second,
        down_bytes_per_second,
        connections,
        client_addresses,
    } = update;
    let merged = UserLimits {
        up_bytes_per_second: up_bytes_per_second.unwrap_or(limits.up_bytes_per_second),
        down_bytes_per_second: down_bytes_per_second.unwrap_or(limits.down_bytes_per_second),
        connections: connections.unwrap_or(limits.connections),
        client_addresses: match client_addresses {
            // What lies behind the prefix means nothing, and shall not look as if it did.
            Some(networks) => networks
                .unwrap_or_default()
                .iter()
                .map(|net| net.trunc())
                .collect(),
            None => limits.client_addresses,
        },
    };
    if merged.connections == Some(0) {
        return Err(ChangeError::Connections);
    }
    if merged.client_addresses.len() > limits::MAX_CLIENT_ADDRESSES {
        return Err(ChangeError::ClientAddresses);
    }
    Ok(merged)
}

/// `labels` with what `update` names.
pub(crate) fn merge_labels(
    mut labels: Labels,
    update: LabelsUpdate,
) -> Result<Labels, ChangeError> {
    for (name, value) in update {
        match value {
            Some(value) => labels.insert(name, value),
            None => labels.remove(&name),
        };
    }
    if labels.len() > limits::MAX_LABELS {
        return Err(ChangeError::Labels);
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(text: &str) -> LimitsUpdate {
        serde_json::from_str(text).expect("a merge patch")
    }

    #[test]
    fn limits_are_merged_one_by_one() {
        let set = update(r#"{"connections":5,"client_addresses":["192.0.2.77/24"]}"#);
        let limits = merge_limits(UserLimits::default(), set).expect("limits");
        assert_eq!(limits.client_addresses[0].to_string(), "192.0.2.0/24");
        let lifted = merge_limits(limits, update(r#"{"client_addresses":null}"#)).expect("limits");
        assert_eq!(
            (lifted.connections, lifted.client_addresses.len()),
            (Some(5), 0)
        );
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        let merge = |update| merge_limits(UserLimits::default(), update);
        assert_eq!(
            merge(update(r#"{"connections":0}"#)),
            Err(ChangeError::Connections)
        );
        let network = "192.0.2.0/24".parse().expect("a network");
        let many = LimitsUpdate {
            client_addresses: Some(Some(vec![network; limits::MAX_CLIENT_ADDRESSES + 1])),
            ..LimitsUpdate::default()
        };
        assert_eq!(merge(many), Err(ChangeError::ClientAddresses));
    }

    #[test]
    fn labels_cannot_pile_up() {
        let label = |number: usize| format!("l{number}").parse().expect("a name");
        let value: Note = "x".parse().expect("a value");
        let full: LabelsUpdate = (0..limits::MAX_LABELS)
            .map(|number| (label(number), Some(value.clone())))
            .collect();
        let labels = merge_labels(Labels::new(), full).expect("as many as may be");
        let more = LabelsUpdate::from([(label(99), Some(value.clone()))]);
        assert_eq!(merge_labels(labels.clone(), more), Err(ChangeError::Labels));
        let swap = LabelsUpdate::from([(label(99), Some(value)), (label(0), None)]);
        let swapped = merge_labels(labels, swap).expect("one for one");
        assert!(swapped.contains_key(&label(99)) && !swapped.contains_key(&label(0)));
    }
}
