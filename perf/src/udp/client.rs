//! The client's end of a UDP association.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use bytes::{Buf, Bytes, BytesMut};
use titan_proto::addr::Target;
use tokio::net::{TcpStream, UdpSocket};

use crate::{
    limits::MAX_UDP_PAYLOAD,
    via::{Login, associate},
};

/// Bytes in front of a datagram to an IPv4 address: RSV, FRAG, ATYP, address, port (RFC 1928 §7).
pub const HEADER_V4: usize = 2 + 1 + 1 + 4 + 2;

/// An association to one target.
#[derive(Debug)]
pub struct Association {
    /// The proxy relays for as long as this stays open.
    _control: TcpStream,
    socket: UdpSocket,
    header: Bytes,
    target: Target,
}

impl Association {
    /// Asks `proxy` for a relay of datagrams, all of which will go to `target`.
    ///
    /// # Errors
    /// The proxy is not there or refuses.
    pub async fn open(
        proxy: SocketAddr,
        login: Option<&Login>,
        target: SocketAddr,
    ) -> Result<Self> {
        let (control, relay) = associate(proxy, login).await?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        // Nobody else's datagrams are taken in.
        socket.connect(relay).await?;
        let target = Target::from(target);
        let mut header = BytesMut::zeroed(3);
        target.encode(&mut header);
        Ok(Self {
            _control: control,
            socket,
            header: header.freeze(),
            target,
        })
    }

    /// Sends one datagram to the target.
    ///
    /// # Errors
    /// The relay is not there any more, or the datagram is too long for UDP.
    pub async fn send(&self, payload: &[u8]) -> Result<()> {
        let datagram = [&self.header, payload].concat();
        let sent = self.socket.send(&datagram).await?;
        ensure!(sent == datagram.len(), "a datagram was cut");
        Ok(())
    }

    /// The next datagram from the target.
    ///
    /// # Errors
    /// What the relay sends is none, or comes from somebody else.
    pub async fn receive(&self) -> Result<Bytes> {
        let mut datagram = BytesMut::with_capacity(MAX_UDP_PAYLOAD);
        self.socket.recv_buf(&mut datagram).await?;
        let fragment = datagram.get(2).context("a datagram without a header")?;
        ensure!(*fragment == 0, "a fragment, which nobody sent");
        let (from, len) = Target::decode(&datagram[3..])?.context("half an address")?;
        ensure!(from == self.target, "a datagram from {from}");
        datagram.advance(3 + len);
        Ok(datagram.freeze())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use titan_proto::socks5::{Authentication, Command, Reply, ServerHandshake, Step, reply};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// A relay of RFC 1928 for one client and one target, with faults to order.
    #[derive(Default, Clone, Copy)]
    pub(crate) struct Relay {
        pub(crate) refuses: bool,
        pub(crate) loses_every: Option<usize>,
        pub(crate) doubles_every: Option<usize>,
    }

    impl Relay {
        /// Serves one association and gives the proxy's address.
        pub(crate) async fn serve(self) -> SocketAddr {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let proxy = listener.local_addr().unwrap();
            tokio::spawn(async move {
                let (mut control, _) = listener.accept().await.unwrap();
                let near = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                // As many proxies say it: only the port counts.
                let bound = (Ipv4Addr::UNSPECIFIED, near.local_addr().unwrap().port());
                self.shake_hands(&mut control, bound.into()).await;
                let mut byte = [0];
                tokio::select! {
                    () = self.relay(near) => {}
                    _ = control.read(&mut byte) => {}
                }
            });
            proxy
        }

        async fn shake_hands(self, control: &mut TcpStream, bound: SocketAddr) {
            let mut server = ServerHandshake::new(Authentication::Required);
            let mut input = BytesMut::new();
            loop {
                let answer = match server.advance(&mut input).unwrap() {
                    Step::NeedMore => {
                        control.read_buf(&mut input).await.unwrap();
                        continue;
                    }
                    Step::Reply(bytes) => bytes,
                    Step::Authenticate(_) => server.accept(),
                    Step::Request(request) => {
                        assert_eq!(request.command, Command::UdpAssociate);
                        let verdict = if self.refuses {
                            Reply::CommandNotSupported
                        } else {
                            Reply::Succeeded
                        };
                        control
                            .write_all(&reply(verdict, Some(bound)))
                            .await
                            .unwrap();
                        return;
                    }
                };
                control.write_all(&answer).await.unwrap();
            }
        }

        async fn relay(self, near: UdpSocket) {
            let far = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let mut buffer = vec![0; MAX_UDP_PAYLOAD];
            let (mut header, mut client) = (Vec::new(), None);
            let mut count = 0;
            loop {
                let mut back = vec![0; MAX_UDP_PAYLOAD];
                tokio::select! {
                    got = near.recv_from(&mut buffer) => {
                        let (len, from) = got.unwrap();
                        let (to, rest) = Target::decode(&buffer[3..len]).unwrap().unwrap();
                        header = buffer[..3 + rest].to_vec();
                        client = Some(from);
                        let to = to.socket_addr().unwrap();
                        far.send_to(&buffer[3 + rest..len], to).await.unwrap();
                    }
                    got = far.recv(&mut back) => {
                        let datagram = [&header, &back[..got.unwrap()]].concat();
                        count += 1;
                        let is_nth = |every: Option<usize>| every.is_some_and(|n| count % n == 0);
                        let copies = match (is_nth(self.loses_every), is_nth(self.doubles_every)) {
                            (true, _) => 0,
                            (_, true) => 2,
                            _ => 1,
                        };
                        for _ in 0..copies {
                            near.send_to(&datagram, client.unwrap()).await.unwrap();
                        }
                    }
                }
            }
        }
    }
}
