//! An edge without a protocol behind it: it says what a test wants said, and reads when it is told to.

use std::time::Instant;

use bytes::BytesMut;
use titan_proto::{
    mux::{Connection, FrameHeader, FrameKind, SUBPROTOCOL, SessionId, Settings, Side},
    ws::{self, Deframer, Opcode, Piece, Role, upgrade},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Client, World, within};

/// The edge's end of a tunnel, as bytes.
pub struct RawEdge {
    pub stream: TcpStream,
    input: BytesMut,
    deframer: Deframer,
}

impl RawEdge {
    /// Upgrades a connection and says nothing more.
    pub async fn upgrade(world: &World) -> Self {
        let mut client = Client::connect(world.pop.tunnel_addr()).await;
        let (key, token) = ([7; 16], world.manager.token(1000));
        let request = upgrade::request("pop", "/tunnel", key, Some(SUBPROTOCOL), Some(&token));
        client.send(request).await;
        let mut edge = Self {
            stream: client.stream,
            input: BytesMut::new(),
            deframer: Deframer::new(Role::Client),
        };
        while upgrade::parse_response(&mut edge.input, key, Some(SUBPROTOCOL))
            .expect("the PoP takes the edge")
            .is_none()
        {
            edge.read().await;
        }
        edge
    }

    /// An edge that has said HELLO and answered the first ping: it gets sessions.
    pub async fn start(world: &World) -> Self {
        let before = world.metric("tunnels_active").await;
        let mut edge = Self::upgrade(world).await;
        let now = Instant::now();
        let mut hello = Vec::new();
        Connection::new(Side::Edge, Settings::default(), [3; 32], now)
            .poll_transmit(usize::MAX, &mut hello);
        edge.send(&hello.concat()).await;
        world.tunnels(before + 1).await;
        loop {
            if let Piece::Ping(payload) = edge.next().await {
                edge.send(&frame(true, Opcode::Pong, &payload)).await;
                return edge;
            }
        }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        within("send", self.stream.write_all(bytes))
            .await
            .expect("sends");
    }

    /// Sends one mux frame.
    pub async fn say(&mut self, kind: FrameKind, id: Option<SessionId>, payload: &[u8]) {
        self.send(&message(kind, id, payload)).await;
    }

    /// Asks for no more sessions: what comes next goes to other edges.
    pub async fn go_away(&mut self, world: &World) {
        let before = world.metric("tunnels_active").await;
        self.say(FrameKind::GoAway, None, b"").await;
        world.tunnels(before - 1).await;
    }

    /// Waits for an OPEN and answers that the target is connected.
    pub async fn connect_next(&mut self) -> SessionId {
        loop {
            let Piece::Data { bytes, .. } = self.next().await else {
                continue;
            };
            let Some(Ok(header)) = bytes.first_chunk().copied().map(FrameHeader::decode) else {
                continue;
            };
            if let (FrameKind::Open, Some(id)) = (header.kind, header.session) {
                let bound = [1, 192, 0, 2, 1, 0x10, 0x92];
                self.say(FrameKind::Opened, Some(id), &bound).await;
                return id;
            }
        }
    }

    /// Reads up to the PoP's close frame and gives its code.
    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            if let Piece::Close(close) = self.next().await {
                return close.map(|(code, _)| code.get());
            }
        }
    }

    /// The next piece of what the PoP says.
    pub async fn next(&mut self) -> Piece {
        loop {
            if let Some(piece) = self.deframer.next(&mut self.input).expect("a sound PoP") {
                return piece;
            }
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let read = within("the PoP", self.stream.read_buf(&mut self.input)).await;
        assert!(read.expect("reads") > 0, "the PoP has closed");
    }
}

/// A WebSocket frame as an edge writes it. Its key of zeros leaves the payload as it is.
pub fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    ws::encode_frame_header(fin, opcode, Some([0; 4]), payload.len() as u64, &mut frame);
    frame.extend_from_slice(payload);
    frame
}

/// A mux frame as an edge writes it.
pub fn message(kind: FrameKind, session: Option<SessionId>, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { kind, session }.encode();
    frame(true, Opcode::Binary, &[&header, payload].concat())
}

/// A session that no tunnel here has.
pub fn unknown_session() -> SessionId {
    let header = FrameHeader::decode([FrameKind::Fin as u8, 0, 0, 0, 0x77, 0x77, 0x77, 0x77]);
    header.expect("valid").session.expect("a session")
}
