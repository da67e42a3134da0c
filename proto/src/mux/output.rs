//! What comes out: events for the owner, bytes for the transport.

use bytes::Bytes;

use super::{
    Connection, Event, FrameHeader, FrameKind, SessionId, memory::Pressure, session::Outgoing,
};
use crate::limits::MAX_BATCH_SLICES;

impl Connection {
    /// The next event, in the order in which things happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) would give anything.
    pub fn wants_transmit(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Appends what should be written to the transport next and gives its length; 0 when there is
    /// nothing to say.
    ///
    /// Control frames come first and all of them; then data, one frame of each session in turn,
    /// until there are `max_bytes` or [`MAX_BATCH_SLICES`] slices. The caller must write all of it,
    /// in order, before it asks again. Taking bytes makes room and ends sessions, so there may be
    /// new events afterwards.
    ///
    /// `max_bytes` also says how quick the transport is (see [`Pace`](super::Pace)): the less it takes
    /// at a time, the less is queued for it and the smaller are the frames.
    pub fn poll_transmit(&mut self, max_bytes: usize, out: &mut Vec<Bytes>) -> usize {
        self.outbox.set_batch(max_bytes);
        self.encode_grants();
        let mut total = 0;
        if let Some(control) = self.outbox.take_control() {
            total += control.len();
            out.push(control);
        }
        while total < max_bytes && out.len() < MAX_BATCH_SLICES {
            let Some(id) = self.outbox.round.pop_front() else {
                break;
            };
            if let Some(frame) = self.next_frame(id) {
                total += frame.len();
                out.push(frame);
            }
        }
        self.wake_waiters();
        total
    }

    /// Encodes the session's next frame and puts the session back into the round if it has more.
    fn next_frame(&mut self, id: SessionId) -> Option<Bytes> {
        // A session that was reset may still stand in the round.
        let session = self.table.get_mut(id)?;
        session.in_round = false;
        let outgoing = session.next_outgoing()?;
        if session.has_outgoing() {
            session.in_round = true;
            self.outbox.round.push_back(id);
        }
        match outgoing {
            Outgoing::Data(payload) => {
                self.outbox.queued -= payload.len();
                self.share.release(payload.len());
                let key = self.outbox.next_key();
                Some(payload.into_frame(FrameKind::Data, id, key))
            }
            Outgoing::Datagram(payload) => Some(self.encode_datagram(id, payload)),
            Outgoing::Fin => {
                self.finish_if_over(id);
                self.outbox
                    .push_frame(FrameHeader::session(FrameKind::Fin, id), &[]);
                self.outbox.take_control()
            }
        }
    }

    fn encode_grants(&mut self) {
        while let Some(id) = self.outbox.grants.pop_front() {
            let Some(session) = self.table.get_mut(id) else {
                continue;
            };
            session.in_grants = false;
            if self.share.memory().pressure() >= Pressure::High {
                session.window().shrink(self.settings.initial_window);
            }
            if let Some(grant) = session.take_grant() {
                let header = FrameHeader::session(FrameKind::Credit, id);
                self.outbox.push_frame(header, &grant.to_be_bytes());
            }
        }
    }

    /// Tells as many sessions that wait for room as there now is room for, the longest-waiting
    /// first, so that a freed ring does not wake thousands for the place of one.
    pub(super) fn wake_waiters(&mut self) {
        let mut free = self.outbox.free();
        while free > 0
            && let Some(id) = self.outbox.waiters.pop_front()
        {
            let max_frame = self.max_frame();
            let Some(session) = self.table.get_mut(id) else {
                continue;
            };
            session.in_waiters = false;
            session.blocked = false;
            let room = session.credit().available().min(max_frame);
            free = free.saturating_sub(room);
            self.events.push_back(Event::Writable(id));
        }
    }
}
