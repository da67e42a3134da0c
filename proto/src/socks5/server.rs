//! The server's side of the handshake.

use bytes::{Bytes, BytesMut};

use super::{
    METHOD_NONE, METHOD_PASSWORD, Request, Socks5Error,
    message::{auth_reply, method_reply, take_credentials, take_greeting, take_request},
};
use crate::credentials::Credentials;

/// A SOCKS5 handshake as the server sees it.
///
/// ```text
///             method 2              credentials             accept()
///  Greeting ────────────▶ Password ─────────────▶ Deciding ──────────▶ Request ──▶ Over
///     │                                               │                   ▲          ▲
///     │ method 0, where it is allowed                 │ refuse()          │          │
///     └───────────────────────────────────────────────┼───────────────────┘          │
///                                                     └──────────────────────────────┘
/// ```
///
/// [`advance`](Self::advance) takes one step; call it again after every step but
/// [`Step::NeedMore`]. A client may send all its messages at once, before it has any answer: they
/// wait in the buffer, and what follows the request stays there as the session's first data.
#[derive(Debug)]
pub struct ServerHandshake {
    state: State,
    authentication: Authentication,
}

/// Whether a client has to say who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// Every client logs in.
    Required,
    /// A client that offers no password is let in without; one that offers it logs in, since its
    /// user name may carry parameters.
    Optional,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Read more from the client. Never asked for while the buffer holds
    /// [`MAX_MESSAGE`](super::MAX_MESSAGE) bytes, unless it is the caller's turn.
    NeedMore,
    /// Send this and go on.
    Reply(Bytes),
    /// Check these, then call [`accept`](ServerHandshake::accept) or
    /// [`refuse`](ServerHandshake::refuse). Until then every step is `NeedMore`.
    Authenticate(Credentials),
    /// The handshake is over; answer with [`reply`](super::reply). BIND and UDP ASSOCIATE come
    /// here, too: the caller knows whether it serves them.
    Request(Request),
}

impl ServerHandshake {
    /// A handshake that waits for the greeting.
    pub fn new(authentication: Authentication) -> Self {
        Self {
            state: State::Greeting,
            authentication,
        }
    }

    /// Consumes the next message of `input`, if all of it is there.
    ///
    /// # Errors
    ///
    /// Whatever the client did wrong. The connection is to be closed after
    /// [`Socks5Error::farewell`]; `input` holds garbage then.
    pub fn advance(&mut self, input: &mut BytesMut) -> Result<Step, Socks5Error> {
        let step = match self.state {
            State::Greeting => self.greeting(input),
            State::Password => self.password(input),
            State::Request => self.request(input),
            State::Deciding | State::Over => Ok(Step::NeedMore),
        };
        if step.is_err() {
            self.state = State::Over;
        }
        step
    }

    /// Lets the client in; returns what to send.
    pub fn accept(&mut self) -> Bytes {
        debug_assert_eq!(self.state, State::Deciding, "nobody asked");
        self.state = State::Request;
        auth_reply(true)
    }

    /// Turns the client away; returns what to send before closing (RFC 1929 §2).
    pub fn refuse(&mut self) -> Bytes {
        debug_assert_eq!(self.state, State::Deciding, "nobody asked");
        self.state = State::Over;
        auth_reply(false)
    }

    fn greeting(&mut self, input: &mut BytesMut) -> Result<Step, Socks5Error> {
        let Some(methods) = take_greeting(input)? else {
            return Ok(Step::NeedMore);
        };
        let (method, next) = if methods.has(METHOD_PASSWORD) {
            (METHOD_PASSWORD, State::Password)
        } else if methods.has(METHOD_NONE) && self.authentication == Authentication::Optional {
            (METHOD_NONE, State::Request)
        } else {
            return Err(Socks5Error::NoCommonMethod);
        };
        self.state = next;
        Ok(Step::Reply(method_reply(method)))
    }

    fn password(&mut self, input: &mut BytesMut) -> Result<Step, Socks5Error> {
        let Some(credentials) = take_credentials(input)? else {
            return Ok(Step::NeedMore);
        };
        self.state = State::Deciding;
        Ok(Step::Authenticate(credentials))
    }

    fn request(&mut self, input: &mut BytesMut) -> Result<Step, Socks5Error> {
        let Some(request) = take_request(input)? else {
            return Ok(Step::NeedMore);
        };
        self.state = State::Over;
        Ok(Step::Request(request))
    }
}

/// What the handshake waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The client's methods.
    Greeting,
    /// User name and password.
    Password,
    /// The caller's verdict on them.
    Deciding,
    /// The request.
    Request,
    /// Nothing: it ended, well or badly.
    Over,
}

/// Fuzz entry: whatever a client sends, in whatever pieces, the outcome is the same and bounded.
#[cfg(any(test, feature = "fuzzing"))]
pub fn fuzz_socks5_server(data: &[u8]) {
    let Some((&[control, seed], data)) = data.split_first_chunk() else {
        return;
    };
    let whole = drive(control, [data]);
    assert_eq!(drive(control, crate::fuzz::segments(data, seed)), whole);
}

/// Runs a handshake over what arrives; bits of `control` choose what the caller does. Returns every
/// step that was taken and what is left in the buffer.
#[cfg(any(test, feature = "fuzzing"))]
fn drive<'a>(
    control: u8,
    segments: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Result<Step, Socks5Error>>, BytesMut) {
    let mode = if control & 1 == 0 {
        Authentication::Required
    } else {
        Authentication::Optional
    };
    let mut server = ServerHandshake::new(mode);
    let (mut steps, mut input) = (Vec::new(), BytesMut::new());
    for segment in segments {
        input.extend_from_slice(segment);
        while server.state != State::Over {
            let step = server.advance(&mut input);
            match &step {
                Ok(Step::NeedMore) => {
                    assert!(
                        input.len() < super::MAX_MESSAGE,
                        "waits although it has enough"
                    );
                    break;
                }
                Ok(Step::Authenticate(_)) if control & 2 == 0 => drop(server.accept()),
                Ok(Step::Authenticate(_)) => drop(server.refuse()),
                Ok(_) => {}
                Err(error) => assert!(!error.farewell().is_empty()),
            }
            steps.push(step);
        }
    }
    if matches!(steps.last(), Some(Err(_))) {
        // How much of a bad message had arrived is no part of the outcome.
        input.clear();
    }
    (steps, input)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        addr::{AddrError, Target},
        socks5::{Command, MAX_MESSAGE, Reply, reply},
    };

    const GREETING: &[u8] = &[5, 1, 2];
    const LOGIN: &[u8] = b"\x01\x05alice\x06secret";
    const CONNECT: &[u8] = b"\x05\x01\x00\x03\x0bexample.com\x01\xbb";

    /// `control` of [`drive`].
    const REQUIRED: u8 = 0;
    const OPTIONAL: u8 = 1;
    const REFUSING: u8 = 2;

    fn whole_handshake() -> Vec<u8> {
        [GREETING, LOGIN, CONNECT, b"early data"].concat()
    }

    fn connect(target: &str) -> Step {
        let target = target.parse().unwrap();
        Step::Request(Request {
            command: Command::Connect,
            target,
        })
    }

    fn alice() -> Step {
        Step::Authenticate(Credentials {
            username: "alice".into(),
            password: "secret".into(),
        })
    }

    /// The last step of a handshake that gets `data` at once.
    fn outcome(control: u8, data: &[u8]) -> Result<Step, Socks5Error> {
        drive(control, [data]).0.pop().unwrap_or(Ok(Step::NeedMore))
    }

    #[test]
    fn a_client_that_sends_all_at_once_gets_through_and_keeps_its_early_data() {
        let (steps, rest) = drive(REQUIRED, [&*whole_handshake()]);
        let method = Step::Reply(Bytes::from_static(&[5, 2]));
        assert_eq!(
            steps,
            [Ok(method), Ok(alice()), Ok(connect("example.com:443"))]
        );
        assert_eq!(rest, "early data");
    }

    #[test]
    fn pieces_of_any_size_make_no_difference() {
        let expected = drive(REQUIRED, [&*whole_handshake()]);
        for size in 1..whole_handshake().len() {
            assert_eq!(
                drive(REQUIRED, whole_handshake().chunks(size)),
                expected,
                "{size}"
            );
        }
    }

    #[test]
    fn every_prefix_of_a_handshake_is_no_error() {
        let data = [GREETING, LOGIN, CONNECT].concat();
        for len in 0..data.len() {
            let (steps, _) = drive(REQUIRED, [&data[..len]]);
            assert!(steps.iter().all(Result::is_ok), "{len}: {steps:?}");
            assert!(!steps.contains(&Ok(connect("example.com:443"))), "{len}");
        }
    }

    #[test]
    fn verdicts_are_the_bytes_of_rfc_1929() {
        let mut input = BytesMut::from(&[GREETING, LOGIN].concat()[..]);
        let mut server = ServerHandshake::new(Authentication::Required);
        while !matches!(server.advance(&mut input), Ok(Step::Authenticate(_))) {}
        assert_eq!(
            server.advance(&mut input),
            Ok(Step::NeedMore),
            "until there is a verdict"
        );
        assert_eq!(server.refuse(), &[1, 1][..]);
        input.extend_from_slice(CONNECT);
        assert_eq!(
            server.advance(&mut input),
            Ok(Step::NeedMore),
            "it was turned away"
        );

        let mut server = ServerHandshake {
            state: State::Deciding,
            ..server
        };
        assert_eq!(server.accept(), &[1, 0][..]);
        assert_eq!(server.advance(&mut input), Ok(connect("example.com:443")));
    }

    #[test]
    fn a_refused_client_gets_no_further() {
        let (steps, _) = drive(REFUSING, [&*whole_handshake()]);
        assert_eq!(steps.last(), Some(&Ok(alice())));
    }

    #[test]
    fn methods_are_chosen_as_the_operator_set() {
        let method = |control, greeting: &[u8]| match outcome(control, greeting) {
            Ok(Step::Reply(bytes)) => bytes[1],
            Ok(step) => panic!("{step:?}"),
            Err(error) => error.farewell()[1],
        };
        assert_eq!(method(REQUIRED, &[5, 3, 0, 1, 2]), 2);
        assert_eq!(method(OPTIONAL, &[5, 3, 0, 1, 2]), 2);
        assert_eq!(method(OPTIONAL, &[5, 2, 1, 0]), 0);
        assert_eq!(method(REQUIRED, &[5, 2, 1, 0]), 0xff);
        assert_eq!(method(OPTIONAL, &[5, 1, 1]), 0xff);
        assert_eq!(method(OPTIONAL, &[5, 0]), 0xff);
        assert_eq!(outcome(REQUIRED, &[5, 0]), Err(Socks5Error::NoCommonMethod));
    }

    #[test]
    fn a_client_without_a_password_gets_through_where_none_is_required() {
        let (steps, rest) = drive(OPTIONAL, [&[5, 1, 0], CONNECT, b"early"]);
        let method = Step::Reply(Bytes::from_static(&[5, 0]));
        assert_eq!(steps[..2], [Ok(method), Ok(connect("example.com:443"))]);
        assert_eq!(rest, "early");
    }

    #[test]
    fn other_protocols_are_told_apart_at_the_first_byte() {
        assert_eq!(outcome(REQUIRED, &[4]), Err(Socks5Error::Socks4));
        assert_eq!(Socks5Error::Socks4.farewell()[..2], [0, 0x5b]);
        assert_eq!(outcome(REQUIRED, b"GET /"), Err(Socks5Error::Version(b'G')));
    }

    #[test]
    fn bad_credentials_are_answered_in_the_form_of_rfc_1929() {
        for (login, error) in [
            (&b"\x05"[..], Socks5Error::AuthVersion(5)),
            (b"\x01\x00\x01p", Socks5Error::EmptyCredential),
            (b"\x01\x01u\x00", Socks5Error::EmptyCredential),
            (b"\x01\x01\xff\x01p", Socks5Error::CredentialNotUtf8),
        ] {
            assert_eq!(outcome(REQUIRED, &[GREETING, login].concat()), Err(error));
            assert_eq!(error.farewell(), &[1, 1][..]);
        }
    }

    #[test]
    fn credentials_of_the_greatest_length_pass() {
        let mut data = GREETING.to_vec();
        data.extend_from_slice(&[1, 255]);
        data.extend_from_slice(&[b'u'; 255]);
        data.push(255);
        data.extend_from_slice(&[b'p'; 255]);
        assert_eq!(data.len() - GREETING.len(), MAX_MESSAGE);
        let credentials = Credentials {
            username: "u".repeat(255),
            password: "p".repeat(255),
        };
        assert_eq!(
            outcome(REQUIRED, &data),
            Ok(Step::Authenticate(credentials))
        );
    }

    #[test]
    fn bad_requests_get_the_reply_of_rfc_1928() {
        for (request, error, code) in [
            (&b"\x04"[..], Socks5Error::RequestVersion(4), 1),
            (b"\x05\x00", Socks5Error::Command(0), 7),
            (b"\x05\x04", Socks5Error::Command(4), 7),
            (
                b"\x05\x01\x00\x02",
                Socks5Error::Target(AddrError::AddressType(2)),
                8,
            ),
            (
                b"\x05\x01\x00\x03\x00",
                Socks5Error::Target(AddrError::EmptyHost),
                1,
            ),
            (
                b"\x05\x01\x00\x01\x7f\0\0\x01\0\0",
                Socks5Error::Target(AddrError::PortZero),
                1,
            ),
        ] {
            assert_eq!(
                outcome(REQUIRED, &[GREETING, LOGIN, request].concat()),
                Err(error)
            );
            let farewell = error.farewell();
            assert_eq!(farewell, [5, code, 0, 1, 0, 0, 0, 0, 0, 0][..], "{error}");
        }
    }

    #[test]
    fn datagram_associations_need_no_port_and_are_the_callers_to_serve() {
        for (code, command) in [(2, Command::Bind), (3, Command::UdpAssociate)] {
            let request = [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
            let target = Target::from(std::net::SocketAddr::from(([0, 0, 0, 0], 0)));
            let expected = Step::Request(Request { command, target });
            assert_eq!(
                outcome(REQUIRED, &[GREETING, LOGIN, &request].concat()),
                Ok(expected)
            );
        }
    }

    #[test]
    fn a_name_as_the_source_of_datagrams_says_only_its_port() {
        for name in [&b"0"[..], b"", b"host", b"not a name"] {
            let mut request = vec![5, 3, 0, 3, u8::try_from(name.len()).unwrap()];
            request.extend_from_slice(name);
            request.extend_from_slice(&[0x12, 0x34]);
            let expected = Step::Request(Request {
                command: Command::UdpAssociate,
                target: Target::from(std::net::SocketAddr::from(([0, 0, 0, 0], 0x1234))),
            });
            let handshake = [GREETING, LOGIN, &request].concat();
            assert_eq!(outcome(REQUIRED, &handshake), Ok(expected), "{name:?}");
            let cut = &handshake[..handshake.len() - 1];
            assert_eq!(outcome(REQUIRED, cut), Ok(alice()), "incomplete");
        }
    }

    #[test]
    fn replies_carry_the_bound_address() {
        let v4 = reply(Reply::Succeeded, Some("192.0.2.1:80".parse().unwrap()));
        assert_eq!(v4, &[5, 0, 0, 1, 192, 0, 2, 1, 0, 80][..]);
        let v6 = reply(Reply::Succeeded, Some("[2001:db8::1]:443".parse().unwrap()));
        assert_eq!(
            v6,
            &b"\x05\0\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb"[..]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_survive_the_fuzz_entry(data: Vec<u8>) {
            fuzz_socks5_server(&data);
        }

        #[test]
        fn a_damaged_handshake_survives_the_fuzz_entry(
            control: u8,
            seed: u8,
            at in 0usize..40,
            byte: u8,
            cut in 0usize..60,
        ) {
            let mut data = whole_handshake();
            data.splice(..0, [control, seed]);
            if let Some(damaged) = data.get_mut(at) {
                *damaged = byte;
            }
            data.truncate(cut);
            fuzz_socks5_server(&data);
        }
    }
}
