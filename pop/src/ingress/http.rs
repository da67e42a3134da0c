//! HTTP proxy clients: CONNECT, and single requests in absolute form (RFC 9110, RFC 9112).

use bytes::{Bytes, BytesMut};
use titan_proto::{
    http::{BodyLength, ProxyRequest, RequestHead, error_response, parse_request_head},
    reason::Reason,
};

use super::{
    Ingress, Refused,
    conversation::Conversation,
    login::{Denied, Login},
};
use crate::{
    mesh::{Answer, Order},
    metrics::ClientClose,
};

/// Takes a client through its request head and login.
pub(super) async fn handshake(
    ingress: &Ingress,
    client: &mut Conversation,
) -> Result<Order, Refused> {
    let head = loop {
        match parse_request_head(&mut client.input) {
            Ok(Some(head)) => break head,
            Ok(None) => client.read_more().await?,
            Err(error) => {
                return Err(Refused::with(ClientClose::MalformedHttp, error.response()));
            }
        }
    };
    let login = match &head.credentials {
        Some(credentials) => ingress.logins.check(credentials).await,
        None => Err(Denied::NoCredentials),
    };
    match login {
        Ok(login) => Ok(order(head, login, client)),
        Err(denied) => Err(refuse(&denied, head.is_head)),
    }
}

fn order(head: RequestHead, login: Login, client: &mut Conversation) -> Order {
    let input = std::mem::take(&mut client.input);
    let (target, answer, early) = match head.request {
        ProxyRequest::Connect { target } => (target, Answer::HttpConnect, input),
        ProxyRequest::Forward {
            target,
            head: lines,
            body,
        } => {
            let (early, body_left) = first_part(&lines, body, &input);
            (
                target,
                Answer::HttpForward {
                    body_left,
                    is_head: head.is_head,
                },
                early,
            )
        }
    };
    Order {
        user: login.user,
        target,
        answer,
        reply_mode: login.reply_mode,
        early,
    }
}

/// The head and as much of the body as has arrived, and how much of the body has not. What is
/// behind the body belongs to no request that is served here.
fn first_part(head: &Bytes, body: BodyLength, input: &BytesMut) -> (BytesMut, u64) {
    let length = match body {
        BodyLength::None => 0,
        BodyLength::Length(length) => length,
    };
    let here = usize::try_from(length)
        .unwrap_or(usize::MAX)
        .min(input.len());
    let mut early = BytesMut::with_capacity(head.len() + here);
    early.extend_from_slice(head);
    early.extend_from_slice(input.get(..here).unwrap_or_default());
    (early, length - here as u64)
}

fn refuse(denied: &Denied, is_head: bool) -> Refused {
    let (reason, detail) = match denied {
        Denied::NoCredentials | Denied::Credentials => {
            (Reason::AuthenticationFailed, String::new())
        }
        Denied::Disabled => (Reason::UserDisabled, String::new()),
        Denied::Parameter(error) => (Reason::BadRequest, error.to_string()),
        Denied::Unavailable => (Reason::Overloaded, UNAVAILABLE.to_owned()),
    };
    Refused::with(denied.close(), error_response(reason, &detail, is_head))
}

const UNAVAILABLE: &str = "users cannot be checked at the moment, try again";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_behind_the_body_goes_out_with_the_head() {
        let head = Bytes::from_static(b"POST / HTTP/1.1\r\n\r\n");
        let part = |body, input: &[u8]| first_part(&head, body, &BytesMut::from(input));
        let whole = |rest: &str| BytesMut::from(&[&head[..], rest.as_bytes()].concat()[..]);
        assert_eq!(part(BodyLength::None, b"GET /2"), (whole(""), 0));
        assert_eq!(part(BodyLength::Length(3), b"abcGET /2"), (whole("abc"), 0));
        assert_eq!(part(BodyLength::Length(9), b"abc"), (whole("abc"), 6));
    }
}
