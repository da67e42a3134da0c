//! Proxy clients of our own, for what curl cannot show: reply codes, half-close and resets. Written
//! from the RFCs, without the code under test.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
};

use crate::harness::PATIENCE;

/// What the proxy replied to a SOCKS5 request, and the connection.
pub(crate) struct Socks5 {
    /// REP of RFC 1928 §6.
    pub(crate) reply: u8,
    pub(crate) stream: TcpStream,
}

/// Asks the proxy by SOCKS5 for a connection to a literal address.
pub(crate) fn socks5(proxy: SocketAddr, user: &str, password: &str, target: SocketAddr) -> Socks5 {
    try_socks5(proxy, user, password, target).expect("the proxy answers")
}

/// The same where the proxy may be down.
pub(crate) fn try_socks5(
    proxy: SocketAddr,
    user: &str,
    password: &str,
    target: SocketAddr,
) -> io::Result<Socks5> {
    let mut address = Vec::new();
    match target.ip() {
        IpAddr::V4(ip) => {
            address.push(1);
            address.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            address.push(4);
            address.extend(ip.octets());
        }
    }
    request(proxy, user, password, &address, target.port())
}

/// Asks the proxy by SOCKS5 for a connection to a name.
pub(crate) fn socks5_name(
    proxy: SocketAddr,
    user: &str,
    password: &str,
    name: &str,
    port: u16,
) -> Socks5 {
    let mut address = vec![3, u8::try_from(name.len()).expect("a short name")];
    address.extend(name.as_bytes());
    request(proxy, user, password, &address, port).expect("the proxy answers")
}

/// The status byte of the password sub-negotiation (RFC 1929 §2).
pub(crate) fn socks5_password_status(proxy: SocketAddr, user: &str, password: &str) -> u8 {
    log_in(&mut connect(proxy), user, password).expect("the proxy answers")
}

/// Sends a request head by HTTP and gives the answer's head and the connection.
pub(crate) fn http(proxy: SocketAddr, head: &str) -> (String, TcpStream) {
    let mut stream = connect(proxy);
    stream.write_all(head.as_bytes()).expect("the proxy reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a whole head");
        answer.extend(byte);
    }
    (String::from_utf8(answer).expect("text"), stream)
}

/// A CONNECT request's head with the user's password.
pub(crate) fn connect_head(user: &str, password: &str, authority: &str) -> String {
    let authorization = authorization(user, password);
    format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{authorization}\r\n")
}

/// The header that carries the user's password, with its line end.
pub(crate) fn authorization(user: &str, password: &str) -> String {
    let credentials = base64(format!("{user}:{password}").as_bytes());
    format!("Proxy-Authorization: Basic {credentials}\r\n")
}

/// Connects with time limits on reading and writing.
pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    try_connect(addr).expect("somebody listens")
}

fn try_connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn request(
    proxy: SocketAddr,
    user: &str,
    password: &str,
    address: &[u8],
    port: u16,
) -> io::Result<Socks5> {
    let mut stream = try_connect(proxy)?;
    assert_eq!(
        log_in(&mut stream, user, password)?,
        0,
        "the password is right"
    );
    let mut request = vec![5, 1, 0];
    request.extend(address);
    request.extend(port.to_be_bytes());
    stream.write_all(&request)?;
    let (reply, _) = read_reply(&mut stream)?;
    Ok(Socks5 { reply, stream })
}

/// REP, BND.ADDR and BND.PORT of RFC 1928 §6.
fn read_reply(stream: &mut TcpStream) -> io::Result<(u8, SocketAddr)> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    assert_eq!((head[0], head[2]), (5, 0), "VER and RSV");
    let ip: IpAddr = match head[3] {
        1 => {
            let mut ip = [0; 4];
            stream.read_exact(&mut ip)?;
            ip.into()
        }
        4 => {
            let mut ip = [0; 16];
            stream.read_exact(&mut ip)?;
            ip.into()
        }
        other => panic!("ATYP {other}"),
    };
    let mut port = [0; 2];
    stream.read_exact(&mut port)?;
    Ok((head[1], (ip, u16::from_be_bytes(port)).into()))
}

/// Asks the proxy by SOCKS5 for a relay of datagrams (RFC 1928 §7), and gives the connection that
/// keeps it alive and the relay's address.
pub(crate) fn associate(proxy: SocketAddr, user: &str, password: &str) -> (TcpStream, SocketAddr) {
    let mut stream = connect(proxy);
    let status = log_in(&mut stream, user, password).expect("the proxy answers");
    assert_eq!(status, 0, "the password is right");
    stream
        .write_all(&[5, 3, 0, 1, 0, 0, 0, 0, 0, 0])
        .expect("the proxy reads");
    let (reply, relay) = read_reply(&mut stream).expect("the proxy answers");
    assert_eq!(reply, 0, "there is a relay");
    (stream, relay)
}

fn log_in(stream: &mut TcpStream, user: &str, password: &str) -> io::Result<u8> {
    stream.write_all(&[5, 1, 2])?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen)?;
    assert_eq!(chosen, [5, 2], "user name and password");
    let mut login = vec![1];
    for field in [user, password] {
        login.push(u8::try_from(field.len()).expect("a short field"));
        login.extend(field.as_bytes());
    }
    stream.write_all(&login)?;
    let mut status = [0; 2];
    stream.read_exact(&mut status)?;
    assert_eq!(status[0], 1);
    Ok(status[1])
}

/// RFC 4648 §4, enough for a header in a test.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let index = (word >> (18 - 6 * position)) as usize & 63;
            text.push(if position <= chunk.len() {
                char::from(ALPHABET[index])
            } else {
                '='
            });
        }
    }
    text
}
