//! A client of UDP associations, and targets for it. The header of RFC 1928 §7 is written here anew,
//! without the code under test.

use std::{
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    thread,
};

use crate::{
    client,
    harness::{PATIENCE, Up},
};

/// Most bytes that a datagram can have by IPv4 and by IPv6.
const MOST_BY_V4: usize = 65_507;
const MOST_BY_V6: usize = 65_527;

/// An association and the socket that uses it.
pub(crate) struct Association {
    /// While it is open, the association is.
    _control: TcpStream,
    pub(crate) socket: UdpSocket,
    pub(crate) relay: SocketAddr,
}

/// Where a datagram goes.
pub(crate) enum To {
    Address(SocketAddr),
    Name(&'static str, u16),
}

impl Association {
    /// Opens one by the proxy's address of either family.
    pub(crate) fn open(up: &Up, proxy: SocketAddr) -> Self {
        let (control, relay) = client::associate(proxy, &up.info.user, &up.info.password);
        assert_eq!(relay.ip(), proxy.ip());
        Self {
            _control: control,
            socket: socket(proxy.ip()),
            relay,
        }
    }

    /// Sends one datagram to a target.
    pub(crate) fn send(&self, to: &To, data: &[u8]) {
        let datagram = [&header(to)[..], data].concat();
        self.send_raw(&datagram);
    }

    /// Sends anything to the relay.
    pub(crate) fn send_raw(&self, datagram: &[u8]) {
        let sent = self.socket.send_to(datagram, self.relay);
        assert_eq!(sent.expect("a socket"), datagram.len());
    }

    /// The next datagram: who sent it, as the header says, and what it says.
    pub(crate) fn receive(&self) -> (SocketAddr, Vec<u8>) {
        let mut datagram = vec![0; 1 << 16];
        let (len, from) = self.socket.recv_from(&mut datagram).expect("a datagram");
        assert_eq!(from, self.relay);
        datagram.truncate(len);
        assert_eq!(datagram[..3], [0, 0, 0], "RSV and FRAG");
        let (ip, rest): (IpAddr, _) = match datagram[3] {
            1 => (<[u8; 4]>::try_from(&datagram[4..8]).expect("4").into(), 8),
            4 => (
                <[u8; 16]>::try_from(&datagram[4..20]).expect("16").into(),
                20,
            ),
            other => panic!("ATYP {other}"),
        };
        let port = u16::from_be_bytes([datagram[rest], datagram[rest + 1]]);
        ((ip, port).into(), datagram.split_off(rest + 2))
    }

    /// Most bytes of data that can go to that target and come back, header and all.
    pub(crate) fn most(&self, to: &To) -> usize {
        let whole = if self.relay.is_ipv6() {
            MOST_BY_V6
        } else {
            MOST_BY_V4
        };
        let back = match to {
            To::Address(target) => header(&To::Address(*target)).len(),
            // It may come back from an IPv6 address.
            To::Name(..) => 4 + 16 + 2,
        };
        MOST_BY_V4.min(whole - header(to).len().max(back))
    }
}

/// RSV, FRAG, ATYP, DST.ADDR and DST.PORT.
pub(crate) fn header(to: &To) -> Vec<u8> {
    let mut header = vec![0, 0, 0];
    let port = match to {
        To::Address(target) => {
            match target.ip() {
                IpAddr::V4(ip) => {
                    header.push(1);
                    header.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    header.push(4);
                    header.extend(ip.octets());
                }
            }
            target.port()
        }
        To::Name(name, port) => {
            header.extend([3, u8::try_from(name.len()).expect("a short name")]);
            header.extend(name.as_bytes());
            *port
        }
    };
    header.extend(port.to_be_bytes());
    header
}

/// A socket on loopback of that family, with a limit on reading.
pub(crate) fn socket(family: IpAddr) -> UdpSocket {
    let any = if family.is_ipv6() {
        "[::1]:0"
    } else {
        "127.0.0.1:0"
    };
    with_patience(UdpSocket::bind(any).expect("a free port"))
}

/// Gives reading a limit.
pub(crate) fn with_patience(socket: UdpSocket) -> UdpSocket {
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    socket
}

/// A target that sends back what it gets. It ends with the test.
pub(crate) fn echo(family: IpAddr) -> SocketAddr {
    let socket = socket(family);
    let address = socket.local_addr().expect("bound");
    serve_echo(socket);
    address
}

/// An echo on the same port of both families, for a name that may stand for either.
pub(crate) fn echo_of_both_families() -> u16 {
    loop {
        let v4 = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let port = v4.local_addr().expect("bound").port();
        if let Ok(v6) = UdpSocket::bind(("::1", port)) {
            serve_echo(v4);
            serve_echo(v6);
            return port;
        }
    }
}

fn serve_echo(socket: UdpSocket) {
    socket.set_read_timeout(None).expect("a socket");
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            // A client that misses it shows in its own assertions.
            let _ = socket.send_to(&buffer[..len], from);
        }
    });
}
