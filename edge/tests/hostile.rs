//! A PoP that floods or overruns its edge: the tunnel is closed and counted, and a session of the edge's
//! other tunnel goes on.

mod support;

use std::time::{Duration, Instant};

use bytes::BytesMut;
use support::{
    Net, PATIENCE,
    pop::{PopSession, TestPop},
    target,
};
use titan_edge::IoChoice;
use titan_proto::{
    addr::Target,
    limits::{IDLE_FRAMES_BURST, INITIAL_WINDOW, MAX_FRAME},
    mux::{Connection, FrameHeader, FrameKind, OpenRequest, SessionId, Settings, Side},
    ws::{self, Opcode},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::TcpStream,
    time::timeout,
};

on_both! {
    a_flooding_pop_is_left_and_the_other_tunnel_goes_on
    a_pop_that_opens_and_resets_without_end_is_left
    a_pop_that_sends_beyond_its_credit_is_left
}

/// Longest an echo through the other tunnel may take, on two busy cores and without optimisation.
const UNDISTURBED: Duration = Duration::from_secs(2);

/// A session that does no harm, in the tunnel that the edge is about to leave.
struct Neighbour {
    net: Net,
    session: PopSession,
}

impl Neighbour {
    /// Its PoP has sent the edge away, which dials a new tunnel while the session lives on.
    async fn new(io: IoChoice) -> Self {
        let net = Net::open(io).await;
        let (listener, address) = target().await;
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (mut read, mut write) = socket.split();
            copy(&mut read, &mut write).await
        });
        let session = net.tunnel.open(address);
        session.opened().await.unwrap();
        net.tunnel.go_away();
        Self { net, session }
    }

    async fn echo(&self) {
        let started = Instant::now();
        self.session.send(b"still here").await.unwrap();
        assert_eq!(self.session.read_exactly(10).await.unwrap(), b"still here");
        let took = started.elapsed();
        assert!(took < UNDISTURBED, "an echo took {took:?}");
    }

    /// Goes on until `other` is done.
    async fn beside(&self, other: impl Future<Output = ()>) {
        let mut other = std::pin::pin!(other);
        let deadline = Instant::now() + PATIENCE;
        while timeout(Duration::from_millis(1), &mut other).await.is_err() {
            self.echo().await;
            assert!(Instant::now() < deadline, "waited in vain");
        }
        self.echo().await;
    }

    async fn was_violated(&self, times: u64) {
        let metrics = self.net.edge.metrics();
        let counted = async {
            while metrics.tunnels_violated.get() < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, counted).await.expect("it is counted");
        assert_eq!(metrics.tunnels_violated.get(), times);
    }
}

/// The PoP's end of a tunnel, sound up to where a test says otherwise.
struct RawPop {
    stream: TcpStream,
    connection: Connection,
}

impl RawPop {
    /// Waits for the edge and for its HELLO.
    async fn accept(pop: &TestPop) -> Self {
        let (stream, mut input, _) = pop.accept_stream().await;
        let connection = Connection::new(Side::Pop, Settings::default(), [9; 32], Instant::now());
        let mut raw = Self { stream, connection };
        loop {
            let sound = raw.connection.handle_input(&mut input, Instant::now());
            sound.expect("a sound edge");
            raw.flush().await;
            if raw.connection.is_running() {
                return raw;
            }
            let read = timeout(PATIENCE, raw.stream.read_buf(&mut input)).await;
            assert_ne!(read.expect("HELLO").unwrap(), 0);
        }
    }

    async fn open(&mut self, target: Target) -> SessionId {
        let id = self.connection.open(&OpenRequest::tcp(target)).unwrap();
        self.flush().await;
        id
    }

    async fn flush(&mut self) {
        let mut batch = Vec::new();
        self.connection.poll_transmit(usize::MAX, &mut batch);
        self.stream.write_all(&batch.concat()).await.unwrap();
    }

    /// Sends bytes until the edge has closed.
    async fn flood(self, bytes: Vec<u8>) {
        let (mut read, mut write) = self.stream.into_split();
        let sending = async {
            // It is cut off on the way.
            let _ = write.write_all(&bytes).await;
        };
        let mut heard = Vec::new();
        let _ = tokio::join!(sending, read.read_to_end(&mut heard));
    }
}

fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    ws::encode_frame_header(fin, opcode, None, payload.len() as u64, &mut frame);
    frame.extend_from_slice(payload);
    frame
}

fn message(kind: FrameKind, session: SessionId, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        kind,
        session: Some(session),
    };
    frame(true, Opcode::Binary, &[&header.encode(), payload].concat())
}

/// The session that a PoP opens as its `n`th in a slot of its own.
fn session(n: u32) -> SessionId {
    let [a, b, c, d] = (0x0100_0000 + n).to_be_bytes();
    let header = FrameHeader::decode([FrameKind::Fin as u8, 0, 0, 0, a, b, c, d]);
    header.unwrap().session.unwrap()
}

async fn a_flooding_pop_is_left_and_the_other_tunnel_goes_on(io: IoChoice) {
    let neighbour = Neighbour::new(io).await;
    let floods = [
        frame(true, Opcode::Ping, b"answer me"),
        message(FrameKind::Reset, session(1), b"\x01"),
        message(FrameKind::Credit, session(1), &[0, 0, 0, 1]),
    ];
    for (times, flood) in (1..).zip(floods) {
        let pop = RawPop::accept(&neighbour.net.pop).await;
        let flood = flood.repeat(2 * IDLE_FRAMES_BURST as usize);
        neighbour.beside(pop.flood(flood)).await;
        neighbour.was_violated(times).await;
    }
}

async fn a_pop_that_opens_and_resets_without_end_is_left(io: IoChoice) {
    let neighbour = Neighbour::new(io).await;
    let mut pop = RawPop::accept(&neighbour.net.pop).await;
    let (_listener, address) = target().await;
    pop.connection.open(&OpenRequest::tcp(address)).unwrap();
    let mut batch = Vec::new();
    pop.connection.poll_transmit(usize::MAX, &mut batch);
    let open = batch.concat()[2 + FrameHeader::LEN..].to_vec();
    let mut flood = BytesMut::new();
    for n in 0..2 * IDLE_FRAMES_BURST {
        flood.extend_from_slice(&message(FrameKind::Open, session(n), &open));
        flood.extend_from_slice(&message(FrameKind::Reset, session(n), b"\x0b"));
    }
    neighbour.beside(pop.flood(flood.to_vec())).await;
    neighbour.was_violated(1).await;
}

async fn a_pop_that_sends_beyond_its_credit_is_left(io: IoChoice) {
    let neighbour = Neighbour::new(io).await;
    let (_deaf, address) = target().await;
    let mut pop = RawPop::accept(&neighbour.net.pop).await;
    let id = pop.open(address).await;
    let block = message(FrameKind::Data, id, &vec![0; MAX_FRAME as usize]);
    // More than a window and what the sockets of a target take that does not read.
    let blocks = 16 * INITIAL_WINDOW / MAX_FRAME + 400;
    neighbour
        .beside(pop.flood(block.repeat(blocks as usize)))
        .await;
    neighbour.was_violated(1).await;
}
