//! HTTP proxy clients: any number of requests in absolute form, and CONNECT, behind which the
//! connection is a tunnel (RFC 9110, RFC 9112).
//!
//! Each request says who sends it. A login does not stay with the connection, as it stays in no
//! proxy with Basic authentication: whoever stands behind a client may share its connections, and
//! a user who is switched off must not go on because a connection is old.

use std::{net::IpAddr, pin::pin, rc::Rc, sync::Arc, time::Instant};

use titan_proto::{
    http::{
        Asked, Authorization, Persistence, ProxyRequest, RequestHead, error_response,
        parse_request_head,
    },
    reason::Reason,
};

use super::{
    Ingress, Refused, Stranger,
    login::{Denied, Login, Origin},
};
use crate::{
    mesh::{Answer, Order, RequestMove, RequestOrder},
    metrics::{ClientClose, Held},
    net::{Either, race, timeout},
    relay::{self, Client},
    users::{Member, Seat},
};

/// Serves a client from the first byte of its first request on.
pub(super) async fn serve(ingress: Rc<Ingress>, client: Client, peer: IpAddr, stranger: Stranger) {
    let conversation = HttpConversation {
        ingress,
        peer,
        member: None,
        stranger: Some(stranger),
        unserved: Some(ClientClose::Gone),
    };
    conversation.run(Some(client)).await;
}

/// Goes on with a client that another shard sent here with its request.
pub(super) async fn resume(ingress: Rc<Ingress>, moved: RequestMove) {
    let member = ingress.core.shares.join(Arc::clone(&moved.order.seat));
    let client = relay::arrive_forwarded(&ingress.core, moved).await;
    let conversation = HttpConversation {
        ingress,
        peer: member.seat().client(),
        member: Some(member),
        stranger: None,
        unserved: None,
    };
    conversation.run(client).await;
}

/// A client's requests, one after the other.
struct HttpConversation {
    ingress: Rc<Ingress>,
    /// Where the client is.
    peer: IpAddr,
    /// The user who was let in last.
    member: Option<Member>,
    /// What bounds the client until a request of its has been let in.
    stranger: Option<Stranger>,
    /// What to count the connection's end as; nothing once it has had a session.
    unserved: Option<ClientClose>,
}

/// A request that was understood, and whether its user is let in.
struct Heard {
    request: ProxyRequest,
    asked: Asked,
    login: Result<(Login, String), Denied>,
}

impl HttpConversation {
    async fn run(mut self, mut next: Option<Client>) {
        while let Some(client) = next {
            next = self.serve(client).await;
        }
    }

    /// Serves the next request; gives the client back for the one behind it.
    async fn serve(&mut self, mut client: Client) -> Option<Client> {
        let next = self.in_place(self.next(&mut client)).await;
        match next.unwrap_or(Err(Refused::silently(ClientClose::CrowdedOut))) {
            Ok(Some(heard)) => self.follow(client, heard).await,
            Ok(None) => {
                self.count(ClientClose::Gone);
                None
            }
            Err(Refused { close, last_words }) => {
                self.count(close);
                tracing::debug!(?close, "[DIAG] HTTP client refused");
                if !last_words.is_empty() {
                    self.in_place(client.close(&last_words)).await;
                }
                None
            }
        }
    }

    /// What comes of `work`; nothing where the client is a stranger whose place is needed for
    /// another.
    async fn in_place<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let Some(Stranger { place, .. }) = &self.stranger else {
            return Some(work.await);
        };
        match race(pin!(work), pin!(place.turned_out())).await {
            Either::First(output) => Some(output),
            Either::Second(()) => None,
        }
    }

    /// The next request; `None` where none comes.
    async fn next(&self, client: &mut Client) -> Result<Option<Heard>, Refused> {
        if !self.wait(client).await {
            return Ok(None);
        }
        let metrics = &self.ingress.core.metrics;
        let _handshake = Held::new(metrics, |metrics| &metrics.handshakes_active);
        let deadline = self.deadline();
        let limit = deadline.saturating_duration_since(Instant::now());
        match timeout(limit, pin!(self.hear(client))).await {
            Ok(heard) => heard.map(Some),
            Err(_) => Err(Refused::silently(ClientClose::TimedOut)),
        }
    }

    /// Waits for a request. A client whose user is out by then goes, and the session that it has kept
    /// with it.
    async fn wait(&self, client: &mut Client) -> bool {
        let core = &self.ingress.core;
        let Some(member) = &self.member else {
            return client.wait(core).await;
        };
        let first = race(pin!(client.wait(core)), pin!(member.ended())).await;
        match first {
            Either::First(has_spoken) => has_spoken,
            Either::Second(reason) => {
                tracing::debug!(%reason, "HTTP client sent away between two requests");
                client.reset_on_close();
                false
            }
        }
    }

    /// When the request that has begun must be complete: the first one in the time that the client
    /// has had since it was accepted.
    fn deadline(&self) -> Instant {
        let anew = || Instant::now() + self.ingress.core.config.handshake();
        let first = self
            .stranger
            .as_ref()
            .and_then(|stranger| stranger.first_by);
        first.unwrap_or_else(anew)
    }

    /// Takes in a request's head and asks who sends it.
    async fn hear(&self, client: &mut Client) -> Result<Heard, Refused> {
        let RequestHead {
            request,
            authorization,
            asked,
        } = head(client).await?;
        let login = match authorization {
            Authorization::Basic(credentials) => {
                let origin = Origin {
                    client: self.peer,
                    seat: self.member.as_ref().map(Member::seat),
                };
                let login = self.ingress.logins.check(&credentials, origin).await;
                login.map(|login| (login, credentials.username))
            }
            Authorization::Missing | Authorization::Unusable => Err(Denied::NoCredentials),
        };
        Ok(Heard {
            request,
            asked,
            login,
        })
    }

    async fn follow(&mut self, client: Client, heard: Heard) -> Option<Client> {
        match &heard.login {
            Ok((login, _)) => {
                self.stranger = None;
                self.sit(&login.seat);
            }
            Err(_) => self.first_is_over(),
        }
        match (heard.request, heard.login) {
            (ProxyRequest::Forward(request), Ok((login, login_name))) => {
                self.unserved = None;
                let order = RequestOrder {
                    user: login.user,
                    seat: login.seat,
                    login_name,
                    request,
                    counted: 0,
                };
                relay::forward(&self.ingress.core, client, order).await
            }
            (ProxyRequest::Connect { target }, Ok((login, _))) => {
                let (socket, early) = client.into_parts();
                let order = Order {
                    user: login.user,
                    seat: login.seat,
                    target,
                    answer: Answer::HttpConnect,
                    reply_mode: login.reply_mode,
                    early,
                };
                relay::start(&self.ingress.core, socket, order);
                None
            }
            (request, Err(denied)) => {
                self.unserved = self.unserved.map(|_| denied.close());
                self.deny(client, &denied, heard.asked, request.is_head_alone())
                    .await
            }
        }
    }

    /// The client is who took this seat.
    fn sit(&mut self, seat: &Arc<Seat>) {
        let is_new = !self
            .member
            .as_ref()
            .is_some_and(|member| Arc::ptr_eq(member.seat(), seat));
        if is_new {
            self.member = Some(self.ingress.core.shares.join(Arc::clone(seat)));
        }
    }

    /// Says why a request is not served. The connection stays where the next request follows at
    /// once: it may be the same one with a password.
    async fn deny(
        &self,
        client: Client,
        denied: &Denied,
        asked: Asked,
        is_alone: bool,
    ) -> Option<Client> {
        let (reason, detail) = explain(denied);
        let persists = asked.is_persistent && is_alone && !self.ingress.core.is_draining();
        let persistence = Persistence::when(persists);
        if !persists {
            self.count(ClientClose::Gone);
        }
        let response = error_response(reason, &detail, asked.is_head, persistence);
        let answered = self.in_place(client.answer(&response, persistence)).await;
        if persists && answered.is_none() {
            self.count(ClientClose::CrowdedOut);
        }
        answered.flatten()
    }

    /// A further request has its own time.
    fn first_is_over(&mut self) {
        if let Some(stranger) = &mut self.stranger {
            stranger.first_by = None;
        }
    }

    /// Counts the connection's end: that it has ended is news only where it had no session.
    fn count(&self, close: ClientClose) {
        let close = match close {
            ClientClose::Gone => self.unserved,
            other => Some(other),
        };
        if let Some(close) = close {
            self.ingress.core.metrics.client_closes.inc(close);
        }
    }
}

/// The head of the next request.
async fn head(client: &mut Client) -> Result<RequestHead, Refused> {
    let mut may_skip = true;
    loop {
        may_skip = may_skip && !client.skip_empty_line();
        match parse_request_head(client.input()) {
            Ok(Some(head)) => return Ok(head),
            Ok(None) if client.read_more().await => {}
            Ok(None) => return Err(Refused::silently(ClientClose::Gone)),
            Err(error) => {
                return Err(Refused::with(ClientClose::MalformedHttp, error.response()));
            }
        }
    }
}

fn explain(denied: &Denied) -> (Reason, String) {
    match denied {
        Denied::NoCredentials => (Reason::AuthenticationFailed, LOG_IN.to_owned()),
        Denied::Credentials => (Reason::AuthenticationFailed, String::new()),
        Denied::NotNow(reason) => (*reason, String::new()),
        Denied::Parameter(error) => (Reason::BadRequest, error.to_string()),
        Denied::Unavailable => (Reason::Overloaded, UNAVAILABLE.to_owned()),
    }
}

const LOG_IN: &str = "log in with the Basic scheme, user name and password in UTF-8";

const UNAVAILABLE: &str = "users cannot be checked at the moment, try again";
