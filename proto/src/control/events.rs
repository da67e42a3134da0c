//! What PoPs must hear at once: the manager's event stream.

use serde::{Deserialize, Serialize};

use super::{NodeId, UserName};

/// Answer to `GET /api/v1/pop/events`: what has happened behind a cursor.
///
/// A PoP asks again and again, each time with the cursor of the answer before. The manager answers
/// at once where something has happened, else when something does, or after some twenty seconds with
/// nothing. A PoP that asks without a cursor learns where the stream is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventsPage {
    /// What has happened, oldest first; there may be more behind it.
    pub events: Vec<Event>,
    /// What to ask with the next time.
    pub cursor: u64,
    /// Whether events behind the cursor that was asked with are lost, because it is too old or from
    /// another store: what the PoP knows may be stale.
    pub gap: bool,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Its place in the stream.
    pub cursor: u64,
    /// When, in seconds since the Unix epoch, by the clock that tunnel tokens are dated by.
    pub at: u64,
    /// What.
    pub change: Change,
}

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// Something about a user.
    UserChanged {
        /// The user.
        name: UserName,
        /// The user's version since.
        version: u64,
    },
    /// A user was removed.
    UserDeleted {
        /// The user.
        name: UserName,
    },
    /// A node was sent away; it may come back with a new assignment.
    NodeKicked {
        /// The node.
        node: NodeId,
    },
    /// A node was removed.
    NodeDeleted {
        /// The node.
        node: NodeId,
    },
    /// Something that only a newer PoP knows.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_its_text_form_and_a_newer_one_is_no_error() {
        let name: UserName = "alice".parse().expect("a name");
        let node = NodeId::from_public_key(&[1; 32]);
        for change in [
            Change::UserChanged {
                name: name.clone(),
                version: 7,
            },
            Change::UserDeleted { name },
            Change::NodeKicked { node },
            Change::NodeDeleted { node },
        ] {
            let (cursor, at) = (1, 2);
            let event = Event { cursor, at, change };
            let text = serde_json::to_string(&event).expect("plain data");
            let read: Event = serde_json::from_str(&text).expect("what was written");
            assert_eq!(read, event);
        }
        let newer = r#"{"cursor":1,"at":2,"change":{"kind":"pop_renamed","to":"x"}}"#;
        let newer: Event = serde_json::from_str(newer).expect("ignored");
        assert_eq!(newer.change, Change::Unknown);
    }
}
