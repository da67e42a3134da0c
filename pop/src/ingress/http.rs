//! HTTP proxy clients: any number of requests in absolute form, and CONNECT, behind which the
//! connection is a tunnel (RFC 9110, RFC 9112).
//!
//! Each request says who sends it. A login does not stay with the connection, as it stays in no
//! proxy with Basic authentication: whoever stands behind a client may share its connections, and
//! a user who is switched off must not go on because a connection is old.

use std::{pin::pin, rc::Rc};

use titan_proto::{
    http::{
        Asked, Authorization, Persistence, ProxyRequest, RequestHead, error_response,
        parse_request_head,
    },
    reason::Reason,
};

use super::{
    Ingress, Refused,
    login::{Denied, Login},
};
use crate::{
    mesh::{Answer, Order, RequestMove, RequestOrder},
    metrics::{ClientClose, Held},
    net::{Either, Place, race, timeout},
    relay::{self, Client},
};

/// Serves a client from the first byte of its first request on.
pub(super) async fn serve(ingress: Rc<Ingress>, client: Client, place: Place) {
    let conversation = HttpConversation {
        ingress,
        place: Some(place),
        unserved: Some(ClientClose::Gone),
    };
    conversation.run(Some(client)).await;
}

/// Goes on with a client that another shard sent here with its request.
pub(super) async fn resume(ingress: Rc<Ingress>, moved: RequestMove) {
    let client = relay::arrive_forwarded(&ingress.core, moved).await;
    let conversation = HttpConversation {
        ingress,
        place: None,
        unserved: None,
    };
    conversation.run(client).await;
}

/// A client's requests, one after the other.
struct HttpConversation {
    ingress: Rc<Ingress>,
    /// Its place among the strangers, until it has logged in.
    place: Option<Place>,
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
        match self.listen(&mut client).await {
            Ok(heard) => self.follow(client, heard).await,
            Err(Refused { close, last_words }) => {
                self.count(close);
                tracing::debug!(?close, "[DIAG] HTTP client refused");
                if !last_words.is_empty() {
                    client.close(&last_words).await;
                }
                None
            }
        }
    }

    /// Waits for a request and takes it in while there is time, and a place.
    async fn listen(&self, client: &mut Client) -> Result<Heard, Refused> {
        let request = pin!(async {
            if !client.wait(&self.ingress.core).await {
                return Err(Refused::silently(ClientClose::Gone));
            }
            self.hear_in_time(client).await
        });
        let Some(place) = &self.place else {
            return request.await;
        };
        match race(request, pin!(place.turned_out())).await {
            Either::First(heard) => heard,
            Either::Second(()) => Err(Refused::silently(ClientClose::CrowdedOut)),
        }
    }

    async fn hear_in_time(&self, client: &mut Client) -> Result<Heard, Refused> {
        let metrics = &self.ingress.core.metrics;
        let _handshake = Held::new(metrics, |metrics| &metrics.handshakes_active);
        let hearing = pin!(self.hear(client));
        timeout(self.ingress.core.config.handshake(), hearing)
            .await
            .unwrap_or(Err(Refused::silently(ClientClose::TimedOut)))
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
                let login = self.ingress.logins.check(&credentials).await;
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
        if heard.login.is_ok() {
            self.place = None;
        }
        match (heard.request, heard.login) {
            (ProxyRequest::Forward(request), Ok((login, login_name))) => {
                self.unserved = None;
                let order = RequestOrder {
                    user: login.user,
                    login_name,
                    request,
                };
                relay::forward(&self.ingress.core, client, order).await
            }
            (ProxyRequest::Connect { target }, Ok((login, _))) => {
                let (socket, early) = client.into_parts();
                let order = Order {
                    user: login.user,
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
        client.answer(&response, persistence).await
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
        Denied::Disabled => (Reason::UserDisabled, String::new()),
        Denied::Parameter(error) => (Reason::BadRequest, error.to_string()),
        Denied::Unavailable => (Reason::Overloaded, UNAVAILABLE.to_owned()),
    }
}

const LOG_IN: &str = "log in with the Basic scheme, user name and password in UTF-8";

const UNAVAILABLE: &str = "users cannot be checked at the moment, try again";
