//! The client's side of the handshake, for load tools and tests.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{AUTH_VERSION, Command, METHOD_NONE, METHOD_PASSWORD, Reply, Request, VERSION};
use crate::{
    addr::{AddrError, Target},
    credentials::Credentials,
};

/// A SOCKS5 handshake as the client sees it.
///
/// ```text
///             method 2           accepted               succeeded
///  Method ──────────────▶ Login ──────────▶ Requested ────────────▶ Over
///     │ method 0                                ▲
///     └─────────────────────────────────────────┘
/// ```
///
/// Send [`greeting`](Self::greeting), then call [`advance`](Self::advance) with what arrives until
/// it says [`ClientStep::Done`]. What follows the last reply stays in the buffer.
#[derive(Debug)]
pub struct ClientHandshake {
    state: State,
    credentials: Option<Credentials>,
    request: Request,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientStep {
    /// Read more from the server.
    NeedMore,
    /// Send this and go on.
    Send(Bytes),
    /// The server has done what was asked; this is the address it bound.
    Done(Target),
}

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// A user name or password without a place in RFC 1929.
    #[error("user name and password must have 1 to 255 bytes")]
    CredentialLength,
    /// The server does not speak SOCKS5.
    #[error("the server answers with version {0:#04x}")]
    Version(u8),
    /// The server accepts none of the methods, or chose one that was not offered.
    #[error("the server wants another method of authentication ({0:#04x})")]
    Method(u8),
    /// The server does not accept user name and password.
    #[error("the server refuses the user name or the password")]
    Unauthorized,
    /// The request failed.
    #[error("the server replies: {0}")]
    Failed(Reply),
    /// The reply carries no valid address.
    #[error("the server's reply has a bad address: {0}")]
    Bound(#[from] AddrError),
}

impl ClientHandshake {
    /// A handshake that will ask for `command` to `target`.
    ///
    /// # Errors
    ///
    /// [`ClientError::CredentialLength`].
    pub fn new(
        credentials: Option<Credentials>,
        command: Command,
        target: Target,
    ) -> Result<Self, ClientError> {
        if let Some(Credentials { username, password }) = &credentials {
            let fits = |text: &str| (1..=255).contains(&text.len());
            if !fits(username) || !fits(password) {
                return Err(ClientError::CredentialLength);
            }
        }
        Ok(Self {
            state: State::Method,
            credentials,
            request: Request { command, target },
        })
    }

    /// The first message. It offers no authentication, too, if there are credentials: the server
    /// may not ask for any.
    pub fn greeting(&self) -> Bytes {
        if self.credentials.is_some() {
            Bytes::from_static(&[VERSION, 2, METHOD_NONE, METHOD_PASSWORD])
        } else {
            Bytes::from_static(&[VERSION, 1, METHOD_NONE])
        }
    }

    /// Consumes the next message of `input`, if all of it is there.
    ///
    /// # Errors
    ///
    /// What the server refused or did wrong; the connection is of no more use.
    pub fn advance(&mut self, input: &mut BytesMut) -> Result<ClientStep, ClientError> {
        match self.state {
            State::Method => self.method(input),
            State::Login => self.login(input),
            State::Requested => self.replied(input),
            State::Over => Ok(ClientStep::NeedMore),
        }
    }

    fn method(&mut self, input: &mut BytesMut) -> Result<ClientStep, ClientError> {
        let Some(method) = take_pair(input, VERSION)? else {
            return Ok(ClientStep::NeedMore);
        };
        match (method, &self.credentials) {
            (METHOD_NONE, _) => Ok(self.send_request()),
            (METHOD_PASSWORD, Some(credentials)) => {
                let message = login_message(credentials);
                self.state = State::Login;
                Ok(ClientStep::Send(message))
            }
            _ => Err(ClientError::Method(method)),
        }
    }

    fn login(&mut self, input: &mut BytesMut) -> Result<ClientStep, ClientError> {
        match take_pair(input, AUTH_VERSION)? {
            None => Ok(ClientStep::NeedMore),
            Some(0) => Ok(self.send_request()),
            Some(_) => Err(ClientError::Unauthorized),
        }
    }

    fn replied(&mut self, input: &mut BytesMut) -> Result<ClientStep, ClientError> {
        check_version(input, VERSION)?;
        if let Some(&code) = input
            .get(1)
            .filter(|&&code| code != Reply::Succeeded.code())
        {
            return Err(ClientError::Failed(Reply::from_code(code)));
        }
        let Some((bound, len)) = input.get(3..).map(Target::decode).transpose()?.flatten() else {
            return Ok(ClientStep::NeedMore);
        };
        input.advance(3 + len);
        self.state = State::Over;
        Ok(ClientStep::Done(bound))
    }

    fn send_request(&mut self) -> ClientStep {
        self.state = State::Requested;
        let mut out = BytesMut::new();
        out.put_slice(&[VERSION, self.request.command as u8, 0]);
        self.request.target.encode(&mut out);
        ClientStep::Send(out.freeze())
    }
}

/// Whose answer the handshake waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The method that the server chose.
    Method,
    /// The verdict on user name and password.
    Login,
    /// The reply to the request.
    Requested,
    /// Nothing more.
    Over,
}

/// `VER ULEN UNAME PLEN PASSWD`; the lengths were checked in [`ClientHandshake::new`].
fn login_message(credentials: &Credentials) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(AUTH_VERSION);
    for field in [&credentials.username, &credentials.password] {
        out.put_u8(u8::try_from(field.len()).unwrap_or(u8::MAX));
        out.put_slice(field.as_bytes());
    }
    out.freeze()
}

/// The second byte of a message of two whose first is `version`.
fn take_pair(input: &mut BytesMut, version: u8) -> Result<Option<u8>, ClientError> {
    check_version(input, version)?;
    let second = input.get(1).copied();
    if second.is_some() {
        input.advance(2);
    }
    Ok(second)
}

fn check_version(input: &[u8], version: u8) -> Result<(), ClientError> {
    match input.first() {
        Some(&other) if other != version => Err(ClientError::Version(other)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::socks5::{Authentication, ServerHandshake, Step, reply};

    fn credentials() -> Credentials {
        Credentials {
            username: "alice".into(),
            password: "secret".into(),
        }
    }

    fn client(credentials: Option<Credentials>) -> ClientHandshake {
        let target = "example.com:443".parse().unwrap();
        ClientHandshake::new(credentials, Command::Connect, target).unwrap()
    }

    /// Everything the server may say, and the client's last step.
    fn outcome(data: &[u8]) -> Result<ClientStep, ClientError> {
        let mut client = client(Some(credentials()));
        let mut input = BytesMut::from(data);
        loop {
            match client.advance(&mut input) {
                Ok(ClientStep::Send(_)) => {}
                step => return step,
            }
        }
    }

    #[test]
    fn messages_are_the_bytes_of_the_rfcs() {
        let mut client = client(Some(credentials()));
        assert_eq!(client.greeting(), &[5, 2, 0, 2][..]);
        let login = client.advance(&mut BytesMut::from(&[5, 2][..]));
        assert_eq!(
            login,
            Ok(ClientStep::Send(Bytes::from_static(
                b"\x01\x05alice\x06secret"
            )))
        );
        let request = client.advance(&mut BytesMut::from(&[1, 0][..]));
        let expected = Bytes::from_static(b"\x05\x01\x00\x03\x0bexample.com\x01\xbb");
        assert_eq!(request, Ok(ClientStep::Send(expected)));
    }

    #[test]
    fn every_refusal_is_told_apart() {
        for (data, error) in [
            (&[4][..], ClientError::Version(4)),
            (&[5, 0xff], ClientError::Method(0xff)),
            (&[5, 1], ClientError::Method(1)),
            (&[5, 2, 1, 1], ClientError::Unauthorized),
            (&[5, 2, 5], ClientError::Version(5)),
            (&[5, 0, 5, 5], ClientError::Failed(Reply::ConnectionRefused)),
            (
                &[5, 0, 5, 0, 0, 9],
                ClientError::Bound(AddrError::AddressType(9)),
            ),
        ] {
            assert_eq!(outcome(data), Err(error));
        }
        let without = client(None).advance(&mut BytesMut::from(&[5, 2][..]));
        assert_eq!(without, Err(ClientError::Method(2)), "it was not offered");
    }

    #[test]
    fn credentials_that_do_not_fit_are_refused() {
        for (username, password) in [("", "p"), ("u", ""), (&*"u".repeat(256), "p")] {
            let bad = Credentials {
                username: username.into(),
                password: password.into(),
            };
            let target = "example.com:443".parse().unwrap();
            let client = ClientHandshake::new(Some(bad), Command::Connect, target);
            assert_eq!(client.err(), Some(ClientError::CredentialLength));
        }
    }

    /// A pipe that delivers what was written in pieces of random sizes.
    #[derive(Default)]
    struct Pipe {
        sent: BytesMut,
        arrived: BytesMut,
    }

    impl Pipe {
        fn deliver(&mut self, size: usize) {
            let len = size.min(self.sent.len());
            self.arrived.extend_from_slice(&self.sent.split_to(len));
        }
    }

    /// Takes every step that the server can; returns the request when it comes.
    fn serve(server: &mut ServerHandshake, up: &mut Pipe, down: &mut Pipe) -> Option<Request> {
        loop {
            match server.advance(&mut up.arrived).unwrap() {
                Step::NeedMore => return None,
                Step::Reply(bytes) => down.sent.extend_from_slice(&bytes),
                Step::Authenticate(got) => {
                    assert_eq!(got, credentials());
                    down.sent.extend_from_slice(&server.accept());
                }
                Step::Request(request) => {
                    let bound = "192.0.2.1:4242".parse().unwrap();
                    down.sent
                        .extend_from_slice(&reply(Reply::Succeeded, Some(bound)));
                    down.sent.extend_from_slice(b"hello from the target");
                    return Some(request);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn both_sides_meet_under_any_chunking(
            sizes in prop::collection::vec(1usize..40, 1..200),
            login: bool,
            host in "[a-z]{1,20}\\.example",
            port in 1u16..,
        ) {
            let target: Target = format!("{host}:{port}").parse().unwrap();
            let mut client =
                ClientHandshake::new(login.then(credentials), Command::Connect, target.clone()).unwrap();
            let mode = if login { Authentication::Required } else { Authentication::Optional };
            let mut server = ServerHandshake::new(mode);
            let (mut up, mut down) = (Pipe::default(), Pipe::default());
            up.sent.extend_from_slice(&client.greeting());
            let (mut request, mut bound) = (None, None);
            // At least one byte moves each way per turn, so this is more than enough.
            for size in sizes.iter().cycle().take(1000) {
                up.deliver(*size);
                request = request.or(serve(&mut server, &mut up, &mut down));
                down.deliver(*size);
                match client.advance(&mut down.arrived).unwrap() {
                    ClientStep::NeedMore => {}
                    ClientStep::Send(bytes) => {
                        up.sent.extend_from_slice(&bytes);
                        if bytes[0] == VERSION {
                            up.sent.extend_from_slice(b"hello from the client");
                        }
                    }
                    ClientStep::Done(address) => bound = Some(address),
                }
            }
            prop_assert_eq!(request, Some(Request { command: Command::Connect, target }));
            prop_assert_eq!(bound, Some("192.0.2.1:4242".parse().unwrap()));
            prop_assert_eq!(&up.arrived[..], b"hello from the client");
            prop_assert_eq!(&down.arrived[..], b"hello from the target");
        }

        #[test]
        fn no_server_makes_the_client_panic(data: Vec<u8>) {
            let _ = outcome(&data);
        }
    }
}
