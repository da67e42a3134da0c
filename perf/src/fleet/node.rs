//! One simulated edge: a key, an assignment, a tunnel.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use ed25519_dalek::{Signer, SigningKey};
use titan_proto::{
    control::{
        Assignment, AssignmentRequest, Challenge, EnrolRequest, EnrolResponse, NodeId,
        assignment_message, enrolment_message,
    },
    mux::{CloseCause, Connection, Event, SUBPROTOCOL, Settings, Side},
    reason::Reason,
    ws::upgrade,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep_until, timeout},
};

use super::Manager;
use crate::{limits::CONNECT_TIMEOUT, via::source_address};

/// Bytes of one write to a tunnel: control frames are all that these edges send.
const TRANSMIT: usize = 4 * 1024;

/// What the manager and the PoP take for an edge.
pub(super) struct Node {
    key: SigningKey,
    id: NodeId,
    index: usize,
}

impl Node {
    /// The `index`th node: its key and its source address follow from the number.
    pub(super) fn new(index: usize) -> Self {
        let mut seed = [0x5a; 32];
        seed[..8].copy_from_slice(&index.to_be_bytes());
        let key = SigningKey::from_bytes(&seed);
        let id = NodeId::from_public_key(key.verifying_key().as_bytes());
        Self { key, id, index }
    }

    /// Makes the node known to the manager.
    pub(super) async fn enrol(&self, manager: &Manager, key: &str) -> Result<()> {
        let request = EnrolRequest {
            enrolment_key: key.to_owned(),
            public_key: hex::encode(self.key.verifying_key().as_bytes()),
            signature: self.sign(&enrolment_message(key)),
            version: VERSION.to_owned(),
        };
        let answer: EnrolResponse = manager.post("/nodes/enrol", None, &request).await?;
        ensure!(
            answer.node_id == self.id,
            "the manager knows us by another id"
        );
        Ok(())
    }

    /// Asks the manager for a PoP and opens a tunnel there. It is not yet ready.
    pub(super) async fn open(&self, manager: &Manager) -> Result<Tunnel> {
        let assignment = self.assignment(manager).await?;
        let dial = Tunnel::dial(&assignment, self.index);
        timeout(CONNECT_TIMEOUT, dial)
            .await
            .context("the PoP does not answer")?
    }

    async fn assignment(&self, manager: &Manager) -> Result<Assignment> {
        let path = format!("/nodes/{}/challenge", self.id);
        let Challenge { challenge } = manager.post(&path, None, &()).await?;
        let request = AssignmentRequest {
            signature: self.sign(&assignment_message(self.id, &challenge)),
            challenge,
            version: VERSION.to_owned(),
            avoid: None,
        };
        manager
            .post(&format!("/nodes/{}/assignment", self.id), None, &request)
            .await
    }

    fn sign(&self, message: &[u8]) -> String {
        hex::encode(self.key.sign(message).to_bytes())
    }
}

/// A tunnel as the edge sees it.
pub(super) struct Tunnel {
    stream: TcpStream,
    connection: Connection,
    input: BytesMut,
    ready: bool,
}

impl Tunnel {
    async fn dial(assignment: &Assignment, index: usize) -> Result<Self> {
        let (address, path) = endpoint(&assignment.tunnel_url)?;
        let socket = TcpSocket::new_v4()?;
        socket.bind((source_address(index), 0).into())?;
        let mut stream = socket.connect(address).await.context("dialling the PoP")?;
        stream.set_nodelay(true)?;
        let (key, host) = (rand::random(), address.to_string());
        let token = Some(&*assignment.token);
        stream
            .write_all(&upgrade::request(
                &host,
                path,
                key,
                Some(SUBPROTOCOL),
                token,
            ))
            .await?;
        let mut input = BytesMut::new();
        while upgrade::parse_response(&mut input, key, Some(SUBPROTOCOL))?.is_none() {
            ensure!(stream.read_buf(&mut input).await? > 0, "the PoP hung up");
        }
        let now = Instant::now().into_std();
        let connection = Connection::new(Side::Edge, Settings::default(), rand::random(), now);
        let mut tunnel = Self {
            stream,
            connection,
            input,
            ready: false,
        };
        tunnel.take_in();
        Ok(tunnel)
    }

    /// Drives the tunnel until the PoP has said HELLO.
    pub(super) async fn ready(&mut self) -> Result<()> {
        while !self.ready {
            if let Some(cause) = self.turn().await? {
                bail!("the tunnel ended: {cause:?}");
            }
        }
        Ok(())
    }

    /// Drives the tunnel until it ends.
    pub(super) async fn run(mut self) -> Result<CloseCause> {
        loop {
            if let Some(cause) = self.turn().await? {
                return Ok(cause);
            }
        }
    }

    /// Sends what there is to send, then waits for something to happen.
    async fn turn(&mut self) -> Result<Option<CloseCause>> {
        let mut batch: Vec<Bytes> = Vec::new();
        while self.connection.poll_transmit(TRANSMIT, &mut batch) > 0 {
            for bytes in batch.drain(..) {
                self.stream.write_all(&bytes).await?;
            }
        }
        let Some(deadline) = self.connection.poll_timeout() else {
            bail!("the tunnel is over")
        };
        tokio::select! {
            readable = self.stream.readable() => {
                readable?;
                match self.stream.try_read_buf(&mut self.input) {
                    Ok(0) => self.connection.handle_eof(),
                    Ok(_) => return Ok(self.take_in()),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
            }
            () = sleep_until(Instant::from_std(deadline)) => {
                self.connection.handle_timeout(Instant::now().into_std());
            }
        }
        Ok(self.events())
    }

    fn take_in(&mut self) -> Option<CloseCause> {
        let now = Instant::now().into_std();
        // A violation is the cause in the event that follows.
        let _ = self.connection.handle_input(&mut self.input, now);
        if self.input.is_empty() {
            // Thousands of idle tunnels own no buffer.
            self.input = BytesMut::new();
        }
        self.events()
    }

    fn events(&mut self) -> Option<CloseCause> {
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Ready => self.ready = true,
                Event::Open { id, .. } => {
                    let reason = Reason::DeniedByPolicy;
                    self.connection
                        .reset(id, reason, "a simulated edge has no targets");
                }
                Event::Closed(cause) => return Some(cause),
                _ => {}
            }
        }
        None
    }
}

/// Address and path of `ws://address/path`.
fn endpoint(url: &str) -> Result<(SocketAddr, &str)> {
    let rest = url
        .strip_prefix("ws://")
        .context("the tunnel's URL is not ws://")?;
    let slash = rest.find('/').unwrap_or(rest.len());
    let (address, path) = rest.split_at(slash);
    let path = if path.is_empty() { "/" } else { path };
    Ok((
        address
            .parse()
            .with_context(|| format!("{address} is no address"))?,
        path,
    ))
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_differ_and_stay_the_same() {
        assert_ne!(Node::new(1).id, Node::new(2).id);
        assert_eq!(Node::new(1).id, Node::new(1).id);
    }

    #[test]
    fn endpoints_are_taken_apart() {
        let address = "127.0.0.1:81".parse().unwrap();
        assert_eq!(
            endpoint("ws://127.0.0.1:81/tunnel").unwrap(),
            (address, "/tunnel")
        );
        assert_eq!(endpoint("ws://127.0.0.1:81").unwrap(), (address, "/"));
        assert!(endpoint("http://127.0.0.1:81/").is_err());
    }
}
