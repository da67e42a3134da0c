//! The sessions of one tunnel, found by id.

use std::collections::HashMap;

use slab::Slab;

use super::{SessionId, session::Session};

/// The sessions of one tunnel.
///
/// The PoP numbers them: it keeps them in a slab and remembers how often each slot was used. The
/// edge takes the numbers as they come, and may still be draining a session whose slot the PoP has
/// already given to the next: it keeps them in a map by their whole id.
#[derive(Debug)]
pub(super) enum Table {
    /// The PoP's.
    Opener {
        /// The sessions, with the generation each was opened as.
        sessions: Slab<(SessionId, Session)>,
        /// For every slot that was ever used, the generation it was last used as.
        generations: Vec<u16>,
    },
    /// The edge's.
    Acceptor(HashMap<SessionId, Session>),
}

impl Table {
    pub(super) fn opener() -> Self {
        Self::Opener {
            sessions: Slab::new(),
            generations: Vec::new(),
        }
    }

    pub(super) fn acceptor() -> Self {
        Self::Acceptor(HashMap::new())
    }

    /// Stores a session under a new id. `None`, and nothing stored, where every slot is taken or
    /// this end does not give out ids.
    pub(super) fn open(&mut self, session: Session) -> Option<SessionId> {
        let Self::Opener {
            sessions,
            generations,
        } = self
        else {
            return None;
        };
        let entry = sessions.vacant_entry();
        let index = entry.key();
        let slot = u16::try_from(index).ok()?;
        if generations.len() <= index {
            generations.resize(index + 1, 0);
        }
        let generation = generations[index].checked_add(1).unwrap_or(1);
        let id = SessionId::new(slot, generation)?;
        generations[index] = generation;
        entry.insert((id, session));
        Some(id)
    }

    /// Stores a session under the id the peer gave it; `false`, and nothing stored, where that id
    /// is in use or this end gives out the ids itself.
    #[must_use]
    pub(super) fn accept(&mut self, id: SessionId, session: Session) -> bool {
        match self {
            Self::Opener { .. } => false,
            Self::Acceptor(sessions) => match sessions.entry(id) {
                std::collections::hash_map::Entry::Occupied(_) => false,
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(session);
                    true
                }
            },
        }
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        match self {
            Self::Opener { sessions, .. } => sessions
                .get(id.index())
                .filter(|(own, _)| *own == id)
                .map(|(_, session)| session),
            Self::Acceptor(sessions) => sessions.get(&id),
        }
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        match self {
            Self::Opener { sessions, .. } => sessions
                .get_mut(id.index())
                .filter(|(own, _)| *own == id)
                .map(|(_, session)| session),
            Self::Acceptor(sessions) => sessions.get_mut(&id),
        }
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.get(id)?;
        match self {
            Self::Opener { sessions, .. } => {
                sessions.try_remove(id.index()).map(|(_, session)| session)
            }
            Self::Acceptor(sessions) => sessions.remove(&id),
        }
    }

    /// Empties the table and gives the ids of what was in it.
    pub(super) fn drain(&mut self) -> Vec<SessionId> {
        match self {
            Self::Opener { sessions, .. } => sessions.drain().map(|(id, _)| id).collect(),
            Self::Acceptor(sessions) => sessions.drain().map(|(id, _)| id).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Opener { sessions, .. } => sessions.len(),
            Self::Acceptor(sessions) => sessions.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session::new(1, 1, true)
    }

    #[test]
    fn a_late_id_does_not_find_the_successor() {
        let mut table = Table::opener();
        let first = table.open(session()).expect("room");
        assert!(table.remove(first).is_some());
        let second = table.open(session()).expect("room");
        assert_eq!(first.index(), second.index());
        assert!(table.get(first).is_none() && table.remove(first).is_none());
        assert!(table.get_mut(second).is_some());
    }

    #[test]
    fn generations_wrap_without_becoming_zero() {
        let mut table = Table::opener();
        let first = table.open(session()).expect("room");
        table.remove(first);
        for _ in 0..u16::MAX - 1 {
            let id = table.open(session()).expect("room");
            assert_ne!(id, first);
            table.remove(id);
        }
        assert_eq!(table.open(session()), Some(first), "65,535 uses later");
    }

    #[test]
    fn the_table_ends_where_ids_do() {
        let mut table = Table::opener();
        for _ in 0..=u16::MAX {
            assert!(table.open(session()).is_some());
        }
        assert_eq!(table.open(session()), None);
        assert_eq!(table.drain().len(), 65_536);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn the_edge_refuses_an_id_in_use() {
        let mut table = Table::acceptor();
        let id = SessionId::new(1, 1).expect("valid");
        assert!(table.accept(id, session()));
        assert!(!table.accept(id, session()));
        assert_eq!(table.open(session()), None);
        assert!(!Table::opener().accept(id, session()));
    }
}
