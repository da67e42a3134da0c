//! What a shard does with what other threads send it.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Instant};

use crate::{
    ingress::Ingress,
    mesh::{Message, News, OpenMailbox, SentAway, Work},
    metrics::TunnelRefusal,
    net::{Notify, guarded},
    relay,
    tunnel::{self, Authority, Core},
};

/// The reader of a shard's mailbox.
pub(super) struct Mail {
    core: Rc<Core>,
    ingress: Rc<Ingress>,
    drain: Cell<Option<Instant>>,
    drain_ordered: Notify,
}

impl Mail {
    pub(super) fn new(core: Rc<Core>, ingress: Rc<Ingress>) -> Self {
        Self {
            core,
            ingress,
            drain: Cell::new(None),
            drain_ordered: Notify::default(),
        }
    }

    /// Acts on messages for as long as the core lives.
    pub(super) async fn read(self: Rc<Self>, mailbox: OpenMailbox) {
        let mut messages = Vec::new();
        while mailbox.receive(&mut messages).await.is_ok() {
            for message in messages.drain(..) {
                // One bad message must not cost the shard its mail.
                guarded("mail", || self.act(message));
            }
        }
    }

    /// Waits until the drain is ordered; gives its deadline.
    pub(super) async fn drain_ordered(&self) -> Instant {
        loop {
            if let Some(deadline) = self.drain.get() {
                return deadline;
            }
            self.drain_ordered.notified().await;
        }
    }

    fn act(&self, message: Message) {
        match message {
            Message::News(news) => self.learn(news),
            Message::Work(Work::Client(client)) => relay::arrive(&self.core, client),
            Message::Work(Work::Request(moved)) => Rc::clone(&self.ingress).resume(*moved),
            Message::Work(Work::Tunnel(tunnel)) => {
                // The order to send it away may have overtaken it.
                let node = tunnel.reservation.node();
                if self.core.banished.borrow().covers(node, tunnel.issued_at_s) {
                    let refusals = &self.core.metrics.tunnel_refusals;
                    return refusals.inc(TunnelRefusal::SentAway);
                }
                if tunnel::serve(&self.core, tunnel).is_err() {
                    let refusals = &self.core.metrics.tunnel_refusals;
                    refusals.inc(TunnelRefusal::Overloaded);
                }
            }
        }
    }

    fn learn(&self, news: News) {
        match news {
            News::TunnelUp(entry) => self.core.directory.borrow_mut().insert(entry),
            News::TunnelDown(entry) => self.core.directory.borrow_mut().remove(&entry),
            News::Authority(authority) => {
                let authority = Rc::new(Authority::new(&Arc::unwrap_or_clone(authority)));
                self.core.authority.replace(Some(authority));
            }
            News::Login(ticket, answer) => self.ingress.login_answered(ticket, &answer),
            News::UserChanged(record) => self.ingress.user_changed(&record),
            News::UserGone(name) => self.ingress.user_gone(&name),
            News::UsersForgotten => self.ingress.users_forgotten(),
            News::AccountChanged(account) => self.core.shares.changed(&account),
            News::NodeSentAway(sent_away) => self.send_away(sent_away),
            News::UserUnchanged(name) => self.ingress.user_unchanged(&name),
            News::Metering(works) => self.core.is_metering.set(works),
            News::Drain(deadline) => {
                self.core.draining.set(Some(deadline));
                self.core.drain_begun.happen();
                self.drain.set(Some(deadline));
                self.drain_ordered.notify();
            }
        }
    }

    fn send_away(&self, sent_away: SentAway) {
        self.core.banished.borrow_mut().note(sent_away);
        let is_of_node = |tunnel: &&Rc<tunnel::Tunnel>| tunnel.entry().node == sent_away.node;
        // A copy of the list: the end of a tunnel changes the table.
        let tunnels = self.core.tunnels.borrow();
        let theirs: Vec<_> = tunnels.iter().filter(is_of_node).map(Rc::clone).collect();
        drop(tunnels);
        theirs
            .iter()
            .for_each(|tunnel| tunnel.send_away(sent_away.why));
    }
}
