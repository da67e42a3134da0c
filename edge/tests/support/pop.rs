//! A PoP without clients: it accepts tunnels and opens sessions in them.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use titan_proto::{
    addr::Target,
    mux::{
        CloseCause, Connection, Datagram, DatagramPayload, Event, OpenRequest, Payload, Received,
        Reset, SUBPROTOCOL, SessionId, SessionKind, Settings, Side,
    },
    ws::upgrade,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};

use super::PATIENCE;

pub struct TestPop {
    listener: TcpListener,
}

/// The PoP's end of a tunnel.
#[derive(Clone)]
pub struct PopTunnel {
    shared: Arc<Shared>,
    /// The token the edge showed.
    pub bearer: String,
}

struct Shared {
    inner: Mutex<Inner>,
    changed: Notify,
    driver: Notify,
    cut: Notify,
}

struct Inner {
    connection: Connection,
    opened: HashMap<SessionId, SocketAddr>,
    resets: HashMap<SessionId, Reset>,
    finished: HashSet<SessionId>,
    ready: bool,
    going_away: bool,
    closed: Option<CloseCause>,
}

impl TestPop {
    pub async fn bind() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub fn url(&self) -> String {
        format!("ws://{}/tunnel", self.listener.local_addr().unwrap())
    }

    /// Waits for an edge, upgrades its connection and waits for its HELLO.
    pub async fn accept(&self) -> PopTunnel {
        let tunnel = self.accept_raw().await;
        tunnel
            .wait("HELLO", |inner| inner.ready.then_some(()))
            .await;
        tunnel
    }

    /// Waits for an edge and answers its upgrade with a refusal.
    pub async fn refuse(&self, status: u16) {
        let (mut stream, _) = timeout(PATIENCE, self.listener.accept())
            .await
            .unwrap()
            .unwrap();
        let mut input = BytesMut::new();
        while upgrade::parse_request(&mut input).unwrap().is_none() {
            assert_ne!(stream.read_buf(&mut input).await.unwrap(), 0);
        }
        stream
            .write_all(&upgrade::reject_response(status, "not now"))
            .await
            .unwrap();
    }

    /// Waits for an edge and upgrades its connection. Gives what came behind the request, and the token.
    pub async fn accept_stream(&self) -> (TcpStream, BytesMut, String) {
        let accepted = timeout(PATIENCE, self.listener.accept()).await;
        let (mut stream, _) = accepted.expect("the edge connects").unwrap();
        stream.set_nodelay(true).unwrap();
        let mut input = BytesMut::new();
        let request = loop {
            match upgrade::parse_request(&mut input).unwrap() {
                Some(request) => break request,
                None => assert_ne!(stream.read_buf(&mut input).await.unwrap(), 0),
            }
        };
        assert!(request.offers(SUBPROTOCOL));
        assert_eq!(request.path, "/tunnel");
        let response = upgrade::accept_response(&request, Some(SUBPROTOCOL));
        stream.write_all(&response).await.unwrap();
        (stream, input, request.bearer.unwrap())
    }

    async fn accept_raw(&self) -> PopTunnel {
        let (stream, input, bearer) = self.accept_stream().await;
        let shared = Arc::new(Shared::new());
        tokio::spawn(drive(shared.clone(), stream, input));
        PopTunnel { shared, bearer }
    }
}

impl Shared {
    fn new() -> Self {
        // Heartbeats come quickly, so that a round trip is known at once.
        let settings = Settings {
            heartbeat_interval: Duration::from_millis(100),
            ..Settings::default()
        };
        let connection = Connection::new(Side::Pop, settings, [7; 32], Instant::now());
        Self {
            inner: Mutex::new(Inner {
                connection,
                opened: HashMap::new(),
                resets: HashMap::new(),
                finished: HashSet::new(),
                ready: false,
                going_away: false,
                closed: None,
            }),
            changed: Notify::new(),
            driver: Notify::new(),
            cut: Notify::new(),
        }
    }

    /// One call of a test's; the driver then looks what there is to write.
    fn act<R>(&self, call: impl FnOnce(&mut Connection) -> R) -> R {
        let result = self.step(call);
        self.driver.notify_one();
        result
    }

    /// One call of the driver's own.
    fn step<R>(&self, call: impl FnOnce(&mut Connection) -> R) -> R {
        let mut inner = self.inner.lock().unwrap();
        let result = call(&mut inner.connection);
        while let Some(event) = inner.connection.poll_event() {
            inner.note(event);
        }
        drop(inner);
        self.changed.notify_waiters();
        result
    }
}

impl Inner {
    fn note(&mut self, event: Event) {
        match event {
            Event::Ready => self.ready = true,
            Event::GoingAway => self.going_away = true,
            Event::Closed(cause) => self.closed = Some(cause),
            Event::Opened { id, bound } => drop(self.opened.insert(id, bound)),
            Event::Reset { id, reset } => drop(self.resets.insert(id, reset)),
            Event::Finished(id) => drop(self.finished.insert(id)),
            Event::Readable(_) | Event::Writable(_) => {}
            Event::Open { .. } => panic!("an edge opens no session"),
        }
    }
}

async fn drive(shared: Arc<Shared>, mut stream: TcpStream, mut input: BytesMut) {
    let mut batch = Vec::new();
    loop {
        shared.step(|connection| connection.handle_input(&mut input, Instant::now()).ok());
        while shared.step(|connection| connection.poll_transmit(256 << 10, &mut batch)) > 0 {
            for bytes in batch.drain(..) {
                if stream.write_all(&bytes).await.is_err() {
                    return shared.step(Connection::handle_eof);
                }
            }
        }
        let deadline = shared.step(|connection| connection.poll_timeout());
        let Some(deadline) = deadline else {
            // The tunnel is over; the last frame was written.
            return;
        };
        tokio::select! {
            read = stream.read_buf(&mut input) => {
                if !matches!(read, Ok(1..)) {
                    return shared.step(Connection::handle_eof);
                }
            }
            () = shared.driver.notified() => {}
            () = shared.cut.notified() => return shared.step(Connection::handle_eof),
            () = tokio::time::sleep_until(deadline.into()) => {
                shared.step(|connection| connection.handle_timeout(Instant::now()));
            }
        }
    }
}

impl PopTunnel {
    /// Opens a TCP session.
    pub fn open(&self, target: Target) -> PopSession {
        self.open_request(&OpenRequest {
            kind: SessionKind::Tcp,
            target,
        })
    }

    pub fn open_request(&self, request: &OpenRequest) -> PopSession {
        let id = self
            .shared
            .act(|connection| connection.open(request))
            .unwrap();
        PopSession {
            tunnel: self.clone(),
            id,
        }
    }

    /// Drops the connection as a broken line does.
    pub fn cut(&self) {
        self.shared.cut.notify_one();
    }

    pub fn go_away(&self) {
        self.shared.act(Connection::go_away);
    }

    /// Waits for the edge's GOAWAY.
    pub async fn going_away(&self) {
        self.wait("GOAWAY", |inner| inner.going_away.then_some(()))
            .await;
    }

    /// Waits for the end of the tunnel.
    pub async fn closed(&self) -> CloseCause {
        self.wait("the tunnel's end", |inner| inner.closed.clone())
            .await
    }

    pub fn is_closed(&self) -> bool {
        self.shared.inner.lock().unwrap().closed.is_some()
    }

    /// Waits until a round trip was measured on this side.
    pub async fn measured(&self) {
        self.wait("a round trip", |inner| inner.connection.rtt().map(drop))
            .await;
    }

    async fn wait<T>(&self, what: &str, mut check: impl FnMut(&mut Inner) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let changed = self.shared.changed.notified();
                if let Some(found) = check(&mut self.shared.inner.lock().unwrap()) {
                    return found;
                }
                changed.await;
            }
        };
        timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("{what} never came"))
    }
}

/// The PoP's end of a session.
#[derive(Clone)]
pub struct PopSession {
    tunnel: PopTunnel,
    id: SessionId,
}

impl PopSession {
    /// Waits for OPENED, or the reset in its place.
    pub async fn opened(&self) -> Result<SocketAddr, Reset> {
        let answer = |inner: &mut Inner| {
            let opened = inner.opened.get(&self.id).map(|bound| Ok(*bound));
            opened.or_else(|| inner.resets.get(&self.id).map(|reset| Err(reset.clone())))
        };
        self.tunnel.wait("OPENED or RESET", answer).await
    }

    /// Waits for the peer's reset.
    pub async fn was_reset(&self) -> Reset {
        self.tunnel
            .wait("RESET", |inner| inner.resets.get(&self.id).cloned())
            .await
    }

    /// Waits until both directions have ended well.
    pub async fn finished(&self) {
        self.tunnel
            .wait("the session's end", |i| {
                i.finished.contains(&self.id).then_some(())
            })
            .await;
    }

    /// Sends all of `bytes` as fast as the edge takes them.
    pub async fn send(&self, mut bytes: &[u8]) -> Result<(), Reset> {
        while !bytes.is_empty() {
            let room = self.tunnel.wait("room", |inner| self.room(inner)).await?;
            let (part, rest) = bytes.split_at(room.min(bytes.len()));
            let payload = Payload::copy_from(part);
            // Nobody else uses the room of this session.
            let _ = self
                .tunnel
                .shared
                .act(|connection| connection.send(self.id, payload));
            bytes = rest;
        }
        Ok(())
    }

    /// Sends as much of `bytes` as may be sent now and says how much that was.
    pub fn send_now(&self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        loop {
            let room = self
                .tunnel
                .shared
                .act(|connection| connection.send_capacity(self.id));
            let part = &bytes[sent..bytes.len().min(sent + room)];
            if part.is_empty() {
                return sent;
            }
            let payload = Payload::copy_from(part);
            self.tunnel
                .shared
                .act(|connection| connection.send(self.id, payload))
                .unwrap();
            sent += part.len();
        }
    }

    pub fn finish(&self) {
        self.tunnel
            .shared
            .act(|connection| connection.finish(self.id));
    }

    pub fn reset(&self, reason: titan_proto::reason::Reason) {
        self.tunnel
            .shared
            .act(|connection| connection.reset(self.id, reason, ""));
    }

    /// The next bytes, `None` at the end.
    pub async fn read(&self) -> Result<Option<Bytes>, Reset> {
        let received = self
            .tunnel
            .wait("bytes", |inner| self.received(inner))
            .await?;
        match received {
            Received::Data(bytes) => {
                self.tunnel
                    .shared
                    .act(|connection| connection.consumed(self.id, bytes.len()));
                Ok(Some(bytes))
            }
            Received::End => Ok(None),
        }
    }

    /// Everything up to the end.
    pub async fn read_to_end(&self) -> Result<Vec<u8>, Reset> {
        let mut all = Vec::new();
        while let Some(bytes) = self.read().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }

    /// Exactly `len` bytes.
    pub async fn read_exactly(&self, len: usize) -> Result<Vec<u8>, Reset> {
        let mut all = Vec::new();
        while all.len() < len {
            all.extend_from_slice(&self.read().await?.expect("more bytes"));
        }
        assert_eq!(all.len(), len);
        Ok(all)
    }

    /// Sends a datagram in a UDP session.
    pub fn send_datagram(&self, target: &Target, data: &[u8]) {
        let datagram = DatagramPayload::copy_from(target, data).unwrap();
        self.tunnel
            .shared
            .act(|connection| connection.send_datagram(self.id, datagram))
            .unwrap();
    }

    /// The next datagram of a UDP session, or its end.
    pub async fn datagram(&self) -> Received<Datagram> {
        self.tunnel
            .wait("a datagram", |inner| {
                inner.connection.receive_datagram(self.id)
            })
            .await
    }

    fn room(&self, inner: &mut Inner) -> Option<Result<usize, Reset>> {
        if let Some(reset) = inner.resets.get(&self.id) {
            return Some(Err(reset.clone()));
        }
        match inner.connection.send_capacity(self.id) {
            0 => None,
            room => Some(Ok(room)),
        }
    }

    fn received(&self, inner: &mut Inner) -> Option<Result<Received, Reset>> {
        if let Some(received) = inner.connection.receive(self.id) {
            return Some(Ok(received));
        }
        inner.resets.get(&self.id).map(|reset| Err(reset.clone()))
    }
}
