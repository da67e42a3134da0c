//! Session ids that cannot be mistaken for an earlier session's.

use std::{fmt, num::NonZeroU32};

/// Names one session of one tunnel; the `session` field of a frame's header.
///
/// The low half is the session's slot in the PoP's table, the high half counts how often that slot
/// was used. A frame that was under way when its session ended therefore names a session that no
/// longer exists, and never its successor in the same slot: for that, 65,535 sessions would have to
/// come and go in one slot within one round trip.
///
/// ```text
///  31            16 15             0
/// +----------------+----------------+
/// | generation ≥ 1 |   slot index   |
/// +----------------+----------------+
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(NonZeroU32);

impl SessionId {
    /// The id for the `generation`th use of slot `index`; `None` for the generation 0, which would
    /// make the id of slot 0 the number that stands for the tunnel itself.
    pub(super) fn new(index: u16, generation: u16) -> Option<Self> {
        if generation == 0 {
            return None;
        }
        Self::from_wire(u32::from(generation) << 16 | u32::from(index))
    }

    /// Reads the header field; `None` for 0, which stands for the tunnel itself.
    pub(super) fn from_wire(raw: u32) -> Option<Self> {
        NonZeroU32::new(raw).map(Self)
    }

    /// The header field.
    pub fn to_wire(self) -> u32 {
        self.0.get()
    }

    /// Slot in the PoP's session table.
    pub(super) fn index(self) -> usize {
        (self.to_wire() & 0xffff) as usize
    }

    /// Which use of the slot this is.
    pub(super) fn generation(self) -> u16 {
        (self.to_wire() >> 16) as u16
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index(), self.generation())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}
