//! The conditions of lists, as they come in a query.

use serde::Deserialize;
use titan_proto::control::{NodeView, PopId, PopView, Region, UserName};
use utoipa::IntoParams;

use super::extract::PageQuery;
use crate::store::User;

/// Which users are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UserQuery {
    /// `next` of the page before; absent: from the start.
    cursor: Option<String>,
    /// Most items wanted, 1 to 1000; absent: 100. A page with conditions may hold fewer than there are.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Only users whose name begins like this.
    pub(super) prefix: Option<UserName>,
    /// Only users who may connect, or only those who may not.
    enabled: Option<bool>,
    /// Only users with this label: `name`, or `name=value`.
    label: Option<String>,
}

impl UserQuery {
    /// Which part of the list is wanted.
    pub(super) fn page(&self) -> PageQuery {
        PageQuery::new(self.cursor.clone(), self.limit)
    }

    /// Whether there is any condition.
    pub(super) fn is_filtered(&self) -> bool {
        self.prefix.is_some() || self.enabled.is_some() || self.label.is_some()
    }

    /// Whether `name` and all names behind it lack the prefix.
    pub(super) fn is_past(&self, name: &UserName) -> bool {
        let prefix = self.prefix.as_ref().map_or("", UserName::as_str);
        name.as_str() > prefix && !name.as_str().starts_with(prefix)
    }

    /// The user with its name and whether it is wanted.
    pub(super) fn judge(&self, user: User) -> (String, bool, User) {
        let prefix = self.prefix.as_ref().map_or("", UserName::as_str);
        let has_label = |label: &String| {
            let (name, value) = label.split_once('=').unzip();
            let name = name.unwrap_or(label);
            let mut labels = user.labels.iter();
            labels.any(|(known, text)| {
                known.as_str() == name && value.is_none_or(|value| value == text.as_str())
            })
        };
        let is_wanted = user.name.as_str().starts_with(prefix)
            && self.enabled.is_none_or(|enabled| enabled == user.enabled)
            && self.label.as_ref().is_none_or(has_label);
        (user.name.to_string(), is_wanted, user)
    }
}

/// Which nodes are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NodeQuery {
    /// `next` of the page before; absent: from the start.
    cursor: Option<String>,
    /// Most items wanted, 1 to 1000; absent: 100. A page with conditions may hold fewer than there are.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Only nodes that a PoP holds a tunnel to, or only the others.
    online: Option<bool>,
    /// Only nodes of this region.
    region: Option<Region>,
    /// Only nodes of this PoP.
    pop: Option<PopId>,
    /// Only nodes whose program has this version.
    version: Option<String>,
}

/// The conditions among them.
#[derive(Debug, Clone)]
pub(super) struct NodeFilter {
    online: Option<bool>,
    region: Option<Region>,
    pop: Option<PopId>,
    version: Option<String>,
}

impl NodeQuery {
    /// Which part of the list is wanted, and which nodes.
    pub(super) fn split(self) -> (PageQuery, NodeFilter) {
        let filter = NodeFilter {
            online: self.online,
            region: self.region,
            pop: self.pop,
            version: self.version,
        };
        (PageQuery::new(self.cursor, self.limit), filter)
    }
}

impl NodeFilter {
    /// Whether the node is wanted.
    pub(super) fn fits(&self, node: &NodeView) -> bool {
        self.online.is_none_or(|online| online == node.online)
            && self.region.is_none_or(|region| Some(region) == node.region)
            && self
                .pop
                .as_ref()
                .is_none_or(|pop| Some(pop) == node.pop.as_ref())
            && self
                .version
                .as_ref()
                .is_none_or(|version| *version == node.version)
    }

    /// Whether there is any condition.
    pub(super) const fn is_filtered(&self) -> bool {
        self.online.is_some()
            || self.region.is_some()
            || self.pop.is_some()
            || self.version.is_some()
    }
}

/// Which PoPs are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PopQuery {
    /// `next` of the page before; absent: from the start.
    cursor: Option<String>,
    /// Most items wanted, 1 to 1000; absent: 100. A page with conditions may hold fewer than there are.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Only PoPs that sent a heartbeat lately, or only the others.
    online: Option<bool>,
    /// Only PoPs of this region.
    region: Option<Region>,
}

impl PopQuery {
    /// Which part of the list is wanted.
    pub(super) fn page(&self) -> PageQuery {
        PageQuery::new(self.cursor.clone(), self.limit)
    }

    /// Whether there is any condition.
    pub(super) const fn is_filtered(&self) -> bool {
        self.online.is_some() || self.region.is_some()
    }

    /// Whether the PoP is wanted.
    pub(super) fn fits(&self, pop: &PopView) -> bool {
        self.online.is_none_or(|online| online == pop.online)
            && self.region.is_none_or(|region| Some(region) == pop.region)
    }
}
