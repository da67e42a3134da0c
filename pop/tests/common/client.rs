//! A proxy client that says exactly what a test wants said.

use std::{io, net::SocketAddr};

use titan_proto::addr::Target;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{PASSWORD, USER, within};

/// A TCP connection whose every wait is bounded.
pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("connect", TcpStream::connect(address))
            .await
            .expect("connects");
        stream.set_nodelay(true).expect("a socket");
        Self { stream }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within("send", self.stream.write_all(bytes.as_ref()))
            .await
            .expect("sends");
    }

    pub async fn finish(&mut self) {
        within("shutdown", self.stream.shutdown())
            .await
            .expect("half-closes");
    }

    pub async fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        within("read", self.stream.read_exact(&mut bytes))
            .await
            .expect("reads");
        bytes
    }

    /// Everything until the end of the stream.
    pub async fn rest(&mut self) -> String {
        String::from_utf8_lossy(&self.rest_or_error().await.expect("a clean end")).into_owned()
    }

    /// Everything until the end of the stream, or how it broke.
    pub async fn rest_or_error(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        within("the end", self.stream.read_to_end(&mut bytes))
            .await
            .map(|_| bytes)
    }

    /// An HTTP head, up to and with the empty line.
    pub async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.read(1).await);
        }
        String::from_utf8(head).expect("ASCII")
    }

    /// An HTTP response whose content has a length.
    pub async fn response(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
        let content = self.read(length.unwrap_or(0)).await;
        (head, String::from_utf8(content).expect("text"))
    }

    /// Logs in by SOCKS5 and gives the status byte.
    pub async fn socks5_login(&mut self, user: &str, password: &str) -> u8 {
        self.send([5, 1, 2]).await;
        assert_eq!(self.read(2).await, [5, 2]);
        let mut login = vec![1, u8::try_from(user.len()).expect("short")];
        login.extend_from_slice(user.as_bytes());
        login.push(u8::try_from(password.len()).expect("short"));
        login.extend_from_slice(password.as_bytes());
        self.send(login).await;
        self.read(2).await[1]
    }

    /// Asks for a target by SOCKS5 after a login and gives the reply code.
    pub async fn socks5_connect(&mut self, host: &str) -> u8 {
        self.send(socks5_request(host)).await;
        self.socks5_reply().await
    }

    pub async fn socks5_reply(&mut self) -> u8 {
        self.socks5_answer().await.0
    }

    /// The reply code and the address that comes with it.
    pub async fn socks5_answer(&mut self) -> (u8, SocketAddr) {
        let reply = self.read(4).await;
        let address = if reply[3] == 4 { 16 } else { 4 };
        let address = self.read(address + 2).await;
        let encoded = [&reply[3..], &address].concat();
        let (bound, _) = Target::decode(&encoded).expect("sound").expect("whole");
        (reply[1], bound.socket_addr().expect("no name"))
    }

    /// Logs in by SOCKS5 and asks for a relay of datagrams that will come from `source`.
    pub async fn socks5_associate(
        &mut self,
        parameters: &str,
        source: SocketAddr,
    ) -> (u8, SocketAddr) {
        let user = format!("{USER}{parameters}");
        assert_eq!(self.socks5_login(&user, PASSWORD).await, 0);
        let mut request = vec![5, 3, 0];
        Target::from(source).encode(&mut request);
        self.send(request).await;
        self.socks5_answer().await
    }

    /// A whole SOCKS5 handshake as the test user with `parameters` behind the name.
    pub async fn socks5(&mut self, parameters: &str, host: &str) -> u8 {
        assert_eq!(
            self.socks5_login(&format!("{USER}{parameters}"), PASSWORD)
                .await,
            0
        );
        self.socks5_connect(host).await
    }

    /// Sends bytes to an echo and reads them back.
    pub async fn echo(&mut self, bytes: &[u8]) {
        self.send(bytes).await;
        assert!(self.read(bytes.len()).await == bytes, "the echo differs");
    }
}

/// A CONNECT request of SOCKS5 for port 80 of `host`.
pub fn socks5_request(host: &str) -> Vec<u8> {
    let mut request = vec![5, 1, 0, 3, u8::try_from(host.len()).expect("short")];
    request.extend_from_slice(host.as_bytes());
    request.extend_from_slice(&80_u16.to_be_bytes());
    request
}

/// The header with which the test user logs in by HTTP.
pub fn proxy_authorization(parameters: &str) -> String {
    basic(&format!("{USER}{parameters}"), PASSWORD)
}

pub fn basic(user: &str, password: &str) -> String {
    format!(
        "Proxy-Authorization: Basic {}\r\n",
        base64(format!("{user}:{password}").as_bytes())
    )
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes(word);
        for place in 0..4 {
            let index = (word >> (18 - 6 * place)) & 63;
            out.push(if place > chunk.len() {
                '='
            } else {
                ALPHABET[index as usize].into()
            });
        }
    }
    out
}
