//! What proxy clients say: which protocol they speak, who they are, what they want.
//!
//! SOCKS5 and HTTP share one port; the first byte tells them apart. Every handshake, and every head
//! of an HTTP request, has one deadline and a bounded number of bytes, and ends in an order for the
//! relay or in a counted close. An HTTP client comes back here for its next request.

mod conversation;
mod http;
mod login;
mod socks5;

use std::{pin::pin, rc::Rc, sync::Arc, time::Instant};

use bytes::Bytes;
use titan_proto::{
    control::UserName,
    sniff::{Protocol, sniff},
    socks5::Socks5Error,
};

use self::{conversation::Conversation, login::Logins};
use crate::{
    mesh::{Order, RequestMove, Ticket},
    metrics::{ClientClose, Held},
    net::{Accepted, Either, Place, Socket, canonical, farewell, race, spawn_guarded, timeout},
    relay::{self, Client},
    tunnel::Core,
    users::{Accounts, Cache, LoginAnswer, LoginKey},
};

/// What the handshakes of one shard share.
#[derive(Debug)]
pub struct Ingress {
    core: Rc<Core>,
    logins: Logins,
}

impl Ingress {
    /// Handshakes for `core`; `key` and `accounts` are the same on all shards.
    pub fn new(core: Rc<Core>, key: LoginKey, accounts: Arc<Accounts>) -> Self {
        let logins = Logins::new(Rc::clone(&core), key, accounts);
        Self { core, logins }
    }

    /// Takes a client from accept to the start of its session, or to its first HTTP request.
    pub async fn serve(self: Rc<Self>, accepted: Accepted) {
        self.core.metrics.clients.inc();
        let Some(place) = self.core.clients.enter(accepted.peer.ip()) else {
            return self
                .core
                .metrics
                .client_closes
                .inc(ClientClose::AddressLimit);
        };
        let deadline = Instant::now() + self.core.config.handshake();
        let _handshake = Held::new(&self.core.metrics, |metrics| &metrics.handshakes_active);
        let Ok(socket) = Socket::adopt(accepted.fd) else {
            return self.core.metrics.client_closes.inc(ClientClose::Overloaded);
        };
        let peer = canonical(accepted.peer).ip();
        let mut client = Conversation::new(socket, peer);
        match self.hear_out(&mut client, &place).await {
            Ok(Wish::Session(order)) => relay::start(&self.core, client.into_socket(), order),
            Ok(Wish::Http) => {
                let (socket, input) = client.into_parts();
                let client = Client::new(socket, input);
                let first_by = Some(deadline);
                let stranger = Stranger { place, first_by };
                // A task of its own, so that it need not have room for all of this one.
                spawn_guarded("http client", http::serve(self, client, peer, stranger));
            }
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

    /// Goes on with an HTTP client that another shard sent here with its request.
    pub fn resume(self: Rc<Self>, moved: RequestMove) {
        spawn_guarded("http client", http::resume(self, moved));
    }

    /// Takes in the control thread's answer to a login.
    pub fn login_answered(&self, ticket: Ticket, answer: &LoginAnswer) {
        self.logins.answered(ticket, answer);
    }

    /// Takes in a newer record of a user.
    pub fn user_changed(&self, record: &Arc<titan_proto::control::UserRecord>) {
        self.logins
            .cache
            .borrow_mut()
            .refresh(record, Instant::now());
    }

    /// Forgets a user that is no more.
    pub fn user_gone(&self, name: &UserName) {
        self.logins.cache.borrow_mut().forget(name);
    }

    /// Forgets every user: nobody knows what has changed about them.
    pub fn users_forgotten(&self) {
        self.logins.cache.replace(Cache::default());
    }

    /// Notes that the manager could not be asked about a user.
    pub fn user_unchanged(&self, name: &UserName) {
        self.logins.cache.borrow_mut().refresh_failed(name);
    }

    /// Listens to a client while there is time, and a place.
    async fn hear_out(&self, client: &mut Conversation, place: &Place) -> Result<Wish, Refused> {
        let limit = self.core.config.handshake();
        let handshake = pin!(self.handshake(client));
        let handshake = pin!(timeout(limit, handshake));
        match race(handshake, pin!(place.turned_out())).await {
            Either::First(Ok(result)) => result,
            Either::First(Err(_)) => Err(Refused::silently(ClientClose::TimedOut)),
            Either::Second(()) => Err(Refused::silently(ClientClose::CrowdedOut)),
        }
    }

    async fn handshake(&self, client: &mut Conversation) -> Result<Wish, Refused> {
        match sniff(client.first_byte().await?) {
            Protocol::Socks5 => socks5::handshake(self, client).await.map(Wish::Session),
            Protocol::Http => Ok(Wish::Http),
            Protocol::Socks4 => Err(Refused::with(
                ClientClose::MalformedSocks5,
                Socks5Error::Socks4.farewell(),
            )),
            Protocol::Unknown => Err(Refused::silently(ClientClose::UnknownProtocol)),
        }
    }
}

/// What bounds a client that has not logged in yet.
#[derive(Debug)]
struct Stranger {
    /// Its place among the others.
    place: Place,
    /// When its first request must be complete; nothing once it was.
    first_by: Option<Instant>,
}

/// What a client turns out to want.
#[derive(Debug)]
enum Wish {
    /// A session of bytes.
    Session(Order),
    /// To be heard in HTTP.
    Http,
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
