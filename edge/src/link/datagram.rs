//! UDP sessions on the tunnel: nothing here waits for room, what finds none is lost.

use titan_proto::mux::{Datagram, DatagramError, DatagramPayload, Received};

use super::{Gone, Session};

impl Session {
    /// Waits until [`receive_datagram`](Self::receive_datagram) may have something.
    ///
    /// # Errors
    ///
    /// The session is over.
    pub(crate) async fn readable(&self) -> Result<(), Gone> {
        if !self.is_over() {
            self.waiters.readable.notified().await;
        }
        if self.is_over() { Err(Gone) } else { Ok(()) }
    }

    /// The next datagram from the client, or the end of its direction; after a `None` wait for
    /// [`readable`](Self::readable).
    pub(crate) fn receive_datagram(&self) -> Option<Received<Datagram>> {
        self.link
            .act(|connection| connection.receive_datagram(self.id))
    }

    /// Sends a datagram to the client.
    ///
    /// # Errors
    ///
    /// Why it is lost.
    pub(crate) fn send_datagram(&self, datagram: DatagramPayload) -> Result<(), DatagramError> {
        self.link
            .act(|connection| connection.send_datagram(self.id, datagram))
    }

    /// Datagrams of all the tunnel's sessions that came faster than they were taken, since the last
    /// call of any of them.
    pub(crate) fn take_unread(&self) -> u64 {
        let unread = self.link.connection.borrow().unread_datagrams();
        unread - self.link.unread_taken.replace(unread)
    }
}
