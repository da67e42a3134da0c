//! SOCKS5 clients (RFC 1928, RFC 1929).

use bytes::{Bytes, BytesMut};
use titan_proto::{
    reason::Reason,
    socks5::{Authentication, Command, Reply, Request, ServerHandshake, Socks5Error, Step, reply},
};

use super::{
    Ingress, Refused,
    conversation::Conversation,
    login::{Denied, Login, Origin},
};
use crate::{
    mesh::{Answer, Order},
    metrics::ClientClose,
};

/// Takes a client through greeting, login and request.
pub(super) async fn handshake(
    ingress: &Ingress,
    client: &mut Conversation,
) -> Result<Order, Refused> {
    let mut handshake = ServerHandshake::new(Authentication::Required);
    let mut login = Err(Denied::Unavailable);
    loop {
        match handshake
            .advance(&mut client.input)
            .map_err(|error| malformed(&error))?
        {
            Step::NeedMore => client.read_more().await?,
            Step::Reply(bytes) => client.say(&bytes).await?,
            Step::Authenticate(credentials) => {
                let origin = Origin {
                    client: client.peer,
                    seat: None,
                };
                login = ingress.logins.check(&credentials, origin).await;
                let verdict = verdict(&mut handshake, &login)?;
                client.say(&verdict).await?;
            }
            Step::Request(request) => return order(request, login, client),
        }
    }
}

/// What the client hears about its login. RFC 1929 knows yes and no, and no makes a client ask its
/// user for another password; where nobody could say, or the password is right and the user's package
/// or connections are used up, the client is let in to hear of that.
fn verdict(
    handshake: &mut ServerHandshake,
    login: &Result<Login, Denied>,
) -> Result<Bytes, Refused> {
    match login {
        Ok(_) | Err(Denied::Unavailable) => Ok(handshake.accept()),
        Err(Denied::NotNow(
            Reason::TooManyConnections
            | Reason::QuotaExhausted
            | Reason::PackageExpired
            | Reason::PackageNotStarted,
        )) => Ok(handshake.accept()),
        Err(denied) => Err(Refused::with(denied.close(), handshake.refuse())),
    }
}

fn order(
    request: Request,
    login: Result<Login, Denied>,
    client: &mut Conversation,
) -> Result<Order, Refused> {
    let refuse = |close, code| Err(Refused::with(close, reply(code, None)));
    let login = match login {
        Ok(login) => login,
        Err(denied) => {
            let code = match denied {
                Denied::NotNow(reason) => reason.socks5_reply(),
                _ => Reply::GeneralFailure,
            };
            return refuse(denied.close(), code);
        }
    };
    let (answer, early) = match request.command {
        Command::Connect => (Answer::Socks5, std::mem::take(&mut client.input)),
        // Bytes behind the request mean nothing here.
        Command::UdpAssociate => (Answer::Socks5Associate, BytesMut::new()),
        Command::Bind => {
            return refuse(ClientClose::UnsupportedCommand, Reply::CommandNotSupported);
        }
    };
    Ok(Order {
        user: login.user,
        seat: login.seat,
        target: request.target,
        answer,
        reply_mode: login.reply_mode,
        early,
    })
}

fn malformed(error: &Socks5Error) -> Refused {
    Refused::with(ClientClose::MalformedSocks5, error.farewell())
}
