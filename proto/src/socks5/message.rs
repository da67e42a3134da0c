//! The messages of RFC 1928 and RFC 1929 as bytes.
//!
//! A `take_…` function removes one whole message from the front of the buffer, or returns `None`
//! and leaves the buffer as it is while the message is incomplete. What is wrong with a message is
//! said at its first wrong byte, so that a client of another protocol is not left waiting.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{AUTH_VERSION, METHOD_UNACCEPTABLE, Reply, VERSION};
use crate::{
    addr::{AddrError, Host, Target},
    credentials::Credentials,
};

/// What a client asks for (RFC 1928 §4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub command: Command,
    /// Where. For UDP ASSOCIATE it is the address the client will send from, zeros if not known or
    /// given as a name.
    pub target: Target,
}

/// The command of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Command {
    /// A TCP connection to the target.
    Connect = 1,
    /// A TCP connection from the target.
    Bind = 2,
    /// A relay for datagrams.
    UdpAssociate = 3,
}

impl Command {
    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Connect),
            2 => Some(Self::Bind),
            3 => Some(Self::UdpAssociate),
            _ => None,
        }
    }
}

/// Why a client's handshake cannot go on. Each is the client's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Socks5Error {
    /// A SOCKS4 client.
    #[error("SOCKS4 is not supported, use SOCKS5")]
    Socks4,
    /// The greeting does not begin with version 5.
    #[error("version {0:#04x} where SOCKS5 is expected")]
    Version(u8),
    /// The client offers no method that is accepted here.
    #[error("the client does not offer authentication by user name and password")]
    NoCommonMethod,
    /// The subnegotiation does not begin with version 1.
    #[error("version {0:#04x} of the user name/password subnegotiation")]
    AuthVersion(u8),
    /// A field of 0 bytes where RFC 1929 has 1 to 255.
    #[error("the user name or the password is empty")]
    EmptyCredential,
    /// A user name or password that is not text.
    #[error("the user name or the password is not UTF-8")]
    CredentialNotUtf8,
    /// The request does not begin with version 5.
    #[error("version {0:#04x} in a SOCKS5 request")]
    RequestVersion(u8),
    /// A command outside RFC 1928.
    #[error("command {0:#04x} does not exist")]
    Command(u8),
    /// The target cannot be used.
    #[error("bad target: {0}")]
    Target(#[from] AddrError),
}

impl Socks5Error {
    /// What to send before closing, in the form that the client's state expects.
    pub fn farewell(&self) -> Bytes {
        match self {
            // Version 0, code 91: request rejected (SOCKS4's protocol document).
            Self::Socks4 => Bytes::from_static(&[0, 0x5b, 0, 0, 0, 0, 0, 0]),
            Self::Version(_) | Self::NoCommonMethod => {
                Bytes::from_static(&[VERSION, METHOD_UNACCEPTABLE])
            }
            Self::AuthVersion(_) | Self::EmptyCredential | Self::CredentialNotUtf8 => {
                auth_reply(false)
            }
            Self::Command(_) => reply(Reply::CommandNotSupported, None),
            Self::Target(AddrError::AddressType(_)) => reply(Reply::AddressTypeNotSupported, None),
            Self::RequestVersion(_) | Self::Target(_) => reply(Reply::GeneralFailure, None),
        }
    }
}

/// The reply to a request (RFC 1928 §6); `bound` is the address that the target sees, or zeros
/// where it is not known.
pub fn reply(reply: Reply, bound: Option<SocketAddr>) -> Bytes {
    let bound = bound.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    let mut out = BytesMut::with_capacity(3 + 1 + 16 + 2);
    out.put_slice(&[VERSION, reply.code(), RESERVED]);
    Target::from(bound).encode(&mut out);
    out.freeze()
}

/// The methods a client offers (RFC 1928 §3).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Methods(Bytes);

impl Methods {
    pub(super) fn has(&self, method: u8) -> bool {
        self.0.contains(&method)
    }
}

/// `VER NMETHODS METHODS…`
pub(super) fn take_greeting(input: &mut BytesMut) -> Result<Option<Methods>, Socks5Error> {
    match input.first() {
        None => return Ok(None),
        Some(&VERSION) => {}
        Some(4) => return Err(Socks5Error::Socks4),
        Some(&version) => return Err(Socks5Error::Version(version)),
    }
    let Some(methods) = input.get(1..).and_then(field) else {
        return Ok(None);
    };
    let methods = Methods(Bytes::copy_from_slice(methods));
    input.advance(2 + methods.0.len());
    Ok(Some(methods))
}

/// `VER METHOD`
pub(super) fn method_reply(method: u8) -> Bytes {
    Bytes::copy_from_slice(&[VERSION, method])
}

/// `VER ULEN UNAME PLEN PASSWD`
pub(super) fn take_credentials(input: &mut BytesMut) -> Result<Option<Credentials>, Socks5Error> {
    match input.first() {
        None => return Ok(None),
        Some(&AUTH_VERSION) => {}
        Some(&version) => return Err(Socks5Error::AuthVersion(version)),
    }
    let Some(username) = input.get(1..).and_then(field) else {
        return Ok(None);
    };
    let Some(password) = input.get(2 + username.len()..).and_then(field) else {
        return Ok(None);
    };
    let len = 3 + username.len() + password.len();
    let credentials = Credentials {
        username: text(username)?,
        password: text(password)?,
    };
    input.advance(len);
    Ok(Some(credentials))
}

/// `VER STATUS`: 0 lets the client in, anything else does not.
pub(super) fn auth_reply(accepted: bool) -> Bytes {
    if accepted {
        Bytes::from_static(&[AUTH_VERSION, 0])
    } else {
        Bytes::from_static(&[AUTH_VERSION, 1])
    }
}

/// `VER CMD RSV ATYP DST.ADDR DST.PORT`. RSV is not looked at: no harm comes of any value.
pub(super) fn take_request(input: &mut BytesMut) -> Result<Option<Request>, Socks5Error> {
    if let Some(&version) = input.first().filter(|&&version| version != VERSION) {
        return Err(Socks5Error::RequestVersion(version));
    }
    let Some(&code) = input.get(1) else {
        return Ok(None);
    };
    let command = Command::from_code(code).ok_or(Socks5Error::Command(code))?;
    let rest = input.get(3..).unwrap_or_default();
    let parsed = match command {
        Command::UdpAssociate => decode_source(rest)?,
        Command::Connect | Command::Bind => Target::decode(rest)?,
    };
    let Some((target, len)) = parsed else {
        return Ok(None);
    };
    // Only a connection needs a port now: UDP ASSOCIATE says where datagrams will come from.
    if command == Command::Connect && target.port == 0 {
        return Err(AddrError::PortZero.into());
    }
    input.advance(3 + len);
    Ok(Some(Request { command, target }))
}

/// Reads where a client will send datagrams from. As a name it says nothing, so that none is
/// wrong: PySocks, for one, sends the name `0` where it means no address.
fn decode_source(input: &[u8]) -> Result<Option<(Target, usize)>, AddrError> {
    let [ATYP_NAME, rest @ ..] = input else {
        return Target::decode(input);
    };
    let port = field(rest).and_then(|name| {
        let port = rest.get(1 + name.len()..)?.first_chunk::<2>()?;
        Some((u16::from_be_bytes(*port), 1 + 1 + name.len() + 2))
    });
    let unknown = |(port, len)| (Target::new(Host::V4(Ipv4Addr::UNSPECIFIED), port), len);
    Ok(port.map(unknown))
}

const RESERVED: u8 = 0;
/// Address type: a name (RFC 1928 §5).
const ATYP_NAME: u8 = 3;

/// The bytes behind a length byte, if all of them are there.
fn field(input: &[u8]) -> Option<&[u8]> {
    let (&len, rest) = input.split_first()?;
    rest.get(..usize::from(len))
}

fn text(field: &[u8]) -> Result<String, Socks5Error> {
    if field.is_empty() {
        return Err(Socks5Error::EmptyCredential);
    }
    String::from_utf8(field.to_vec()).map_err(|_| Socks5Error::CredentialNotUtf8)
}
