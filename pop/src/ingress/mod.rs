//! A proxy client's first seconds: which protocol it speaks, who it is, what it wants.
//!
//! SOCKS5 and HTTP share one port; the first byte tells them apart. Everything here happens within
//! one deadline and a bounded number of bytes, and ends in an [`Order`](crate::mesh::Order) for
//! the relay or in a counted close.

mod conversation;
mod http;
mod login;
mod socks5;

use std::{pin::pin, rc::Rc, time::Instant};

use bytes::Bytes;
use titan_proto::{
    control::UserName,
    sniff::{Protocol, sniff},
    socks5::Socks5Error,
};

use self::{conversation::Conversation, login::Logins};
use crate::{
    mesh::{Order, Ticket},
    metrics::{ClientClose, Held},
    net::{Accepted, Either, Place, Socket, farewell, race, timeout},
    relay,
    tunnel::Core,
    users::{LoginAnswer, LoginKey},
};

/// What the handshakes of one shard share.
#[derive(Debug)]
pub struct Ingress {
    core: Rc<Core>,
    logins: Logins,
}

impl Ingress {
    /// Handshakes for `core`; `key` is the same on all shards.
    pub fn new(core: Rc<Core>, key: LoginKey) -> Self {
        let logins = Logins::new(Rc::clone(&core), key);
        Self { core, logins }
    }

    /// Takes a client from accept to the start of its session.
    pub async fn serve(self: Rc<Self>, accepted: Accepted) {
        self.core.metrics.clients.inc();
        let Some(place) = self.core.clients.enter(accepted.peer.ip()) else {
            return self
                .core
                .metrics
                .client_closes
                .inc(ClientClose::AddressLimit);
        };
        let _handshake = Held::new(&self.core.metrics, |metrics| &metrics.handshakes_active);
        let Ok(socket) = Socket::adopt(accepted.fd) else {
            return self.core.metrics.client_closes.inc(ClientClose::Overloaded);
        };
        let mut client = Conversation::new(socket);
        match self.hear_out(&mut client, &place).await {
            Ok(order) => relay::start(&self.core, client.into_socket(), order),
            Err(Refused { close, last_words }) => {
                self.core.metrics.client_closes.inc(close);
                tracing::debug!(peer = %accepted.peer, ?close, "[DIAG] client refused");
                if !last_words.is_empty() {
                    let farewell = pin!(farewell(client.into_socket(), &last_words));
                    race(farewell, pin!(place.turned_out())).await;
                }
            }
        }
    }

    /// Takes in the control thread's answer to a login.
    pub fn login_answered(&self, ticket: Ticket, answer: &LoginAnswer) {
        self.logins.answered(ticket, answer);
    }

    /// Takes in a newer record of a user.
    pub fn user_changed(&self, record: &std::sync::Arc<titan_proto::control::UserRecord>) {
        self.logins
            .cache
            .borrow_mut()
            .refresh(record, Instant::now());
    }

    /// Forgets a user that is no more.
    pub fn user_gone(&self, name: &UserName) {
        self.logins.cache.borrow_mut().forget(name);
    }

    /// Notes that the manager could not be asked about a user.
    pub fn user_unchanged(&self, name: &UserName) {
        self.logins.cache.borrow_mut().refresh_failed(name);
    }

    /// Listens to a client while there is time, and a place.
    async fn hear_out(&self, client: &mut Conversation, place: &Place) -> Result<Order, Refused> {
        let limit = self.core.config.handshake();
        let handshake = pin!(self.handshake(client));
        let handshake = pin!(timeout(limit, handshake));
        match race(handshake, pin!(place.turned_out())).await {
            Either::First(Ok(result)) => result,
            Either::First(Err(_)) => Err(Refused::silently(ClientClose::TimedOut)),
            Either::Second(()) => Err(Refused::silently(ClientClose::CrowdedOut)),
        }
    }

    async fn handshake(&self, client: &mut Conversation) -> Result<Order, Refused> {
        match sniff(client.first_byte().await?) {
            Protocol::Socks5 => socks5::handshake(self, client).await,
            Protocol::Http => http::handshake(self, client).await,
            Protocol::Socks4 => Err(Refused::with(
                ClientClose::MalformedSocks5,
                Socks5Error::Socks4.farewell(),
            )),
            Protocol::Unknown => Err(Refused::silently(ClientClose::UnknownProtocol)),
        }
    }
}

/// Why a client gets no session, and what it is told.
#[derive(Debug)]
struct Refused {
    close: ClientClose,
    last_words: Bytes,
}

impl Refused {
    fn silently(close: ClientClose) -> Self {
        Self {
            close,
            last_words: Bytes::new(),
        }
    }

    fn with(close: ClientClose, last_words: Bytes) -> Self {
        Self { close, last_words }
    }
}
