//! An edge on the real protocol whose targets are scripts, chosen by the target's name.
//!
//! | target | what it does |
//! | --- | --- |
//! | `echo.test` | connects, sends back what it gets, ends when the client does |
//! | `refused.test` | refuses the connection |
//! | `silent.test` | never answers |
//! | `cut.test` | connects and resets the session at the first byte |
//! | `greeter.test` | connects, says hello, ends its direction, swallows what comes |
//! | `mute.test` | connects and ends its direction without a byte |
//! | `deaf.test` | connects and takes nothing |
//! | `endless.test` | connects and sends for as long as somebody takes it |
//! | `http.test` and names below it | answers each request with all it got of it, agrees to `Expect` |
//! | `script.test` | answers each request with its content as it is; `X-Then: end` or `reset` says what follows |
//! | `quiet.test` | answers one request and no further one |
//! | `once.test` | answers one request and ends instead of answering a second |
//! | `unwilling.test` | answers 417 to any head, without waiting for content |
//! | `ws.test` | answers with 101 (Switching Protocols) and is an echo from there on |
//!
//! In a UDP session every datagram comes back from the address it went to, or from
//! [`NAMED`] if it went to a name.
//!
//! An edge may also treat all its sessions alike, see [`Manner`].

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    net::SocketAddr,
    time::Instant,
};

use bytes::{Buf, Bytes, BytesMut};
use titan_proto::{
    addr::Target as Address,
    mux::{
        Connection, DatagramPayload, Event, OpenRequest, Payload, Received, SUBPROTOCOL, SessionId,
        SessionKind, Settings, Side,
    },
    reason::Reason,
    ws::upgrade,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, watch},
};

use super::within;

/// A running edge.
pub struct Edge {
    commands: mpsc::UnboundedSender<Command>,
    news: watch::Receiver<News>,
}

/// What an edge makes of its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// What the target's name says.
    Serves,
    /// Connects, takes every byte, and no answer ever comes.
    Holds,
    /// Never connects, and takes no byte.
    Dials,
    /// Refuses every session.
    Refuses(Reason),
}

/// What datagrams to names come back from.
pub const NAMED: &str = "192.0.2.33:53";

#[derive(Debug, Clone, Copy, Default)]
pub struct News {
    pub opened: usize,
    /// Bytes that came for the targets of an edge that holds them.
    pub held: usize,
    /// Clients of those that have ended their direction.
    pub ended: usize,
    /// UDP sessions that have not ended.
    pub associations: usize,
    /// HTTP requests that were left without an answer.
    pub unanswered: usize,
    pub going_away: bool,
    pub closed: bool,
}

enum Command {
    /// Cut the TCP connection.
    Die,
    /// Refuse every session that was neither connected nor refused.
    Refuse(Reason),
}

impl Edge {
    /// Dials a PoP; the error is the HTTP status of a refusal.
    pub async fn connect(pop: SocketAddr, token: &str) -> Result<Self, u16> {
        Self::connect_as(Manner::Serves, pop, token).await
    }

    /// The same for an edge that treats all its sessions alike.
    pub async fn connect_as(manner: Manner, pop: SocketAddr, token: &str) -> Result<Self, u16> {
        Self::connect_with(manner, Settings::default(), pop, token).await
    }

    /// The same for an edge with other settings.
    pub async fn connect_with(
        manner: Manner,
        settings: Settings,
        pop: SocketAddr,
        token: &str,
    ) -> Result<Self, u16> {
        let mut stream = within("dial", TcpStream::connect(pop))
            .await
            .expect("connects");
        let key = [7; 16];
        let request = upgrade::request("pop", "/tunnel", key, Some(SUBPROTOCOL), Some(token));
        stream.write_all(&request).await.expect("sends");
        let mut input = BytesMut::new();
        loop {
            match upgrade::parse_response(&mut input, key, Some(SUBPROTOCOL)) {
                Ok(Some(())) => break,
                Ok(None) => {
                    let read = within("upgrade", stream.read_buf(&mut input)).await;
                    assert!(read.expect("reads") > 0, "the PoP closed without an answer");
                }
                Err(error) => return Err(error.status()),
            }
        }
        let (commands, orders) = mpsc::unbounded_channel();
        let (tell, news) = watch::channel(News::default());
        let now = Instant::now();
        let conn = Connection::new(Side::Edge, settings, [5; 32], now);
        let (targets, news_out) = (HashMap::new(), News::default());
        let driver = Driver {
            manner,
            conn,
            stream,
            input,
            targets,
            associations: HashSet::new(),
            dialling: Vec::new(),
            tell,
            news: news_out,
        };
        tokio::spawn(driver.run(orders));
        Ok(Self { commands, news })
    }

    /// Cuts the connection without a word.
    pub fn die(&self) {
        let _ = self.commands.send(Command::Die);
    }

    /// Refuses the sessions that it is still dialling for.
    pub fn refuse(&self, reason: Reason) {
        let _ = self.commands.send(Command::Refuse(reason));
    }

    /// Waits until the edge has seen something.
    pub async fn saw(&mut self, what: impl FnMut(&News) -> bool) {
        within("news of the edge", self.news.wait_for(what))
            .await
            .expect("the edge lives");
    }

    /// Bytes that came for the targets of an edge that holds them.
    pub fn held(&self) -> usize {
        self.news.borrow().held
    }

    /// Sessions it was asked for.
    pub fn opened(&self) -> usize {
        self.news.borrow().opened
    }
}

struct Driver {
    manner: Manner,
    conn: Connection,
    stream: TcpStream,
    input: BytesMut,
    targets: HashMap<SessionId, Target>,
    associations: HashSet<SessionId>,
    dialling: Vec<SessionId>,
    tell: watch::Sender<News>,
    news: News,
}

struct Target {
    name: String,
    outgoing: VecDeque<Bytes>,
    seen: Vec<u8>,
    finish: bool,
    /// Requests answered.
    answered: usize,
    /// The request under way was told to continue.
    agreed: bool,
}

impl Driver {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Command>) {
        let _ended = self.drive(&mut orders).await;
        self.news.closed = true;
        self.tell.send_replace(self.news);
    }

    async fn drive(&mut self, orders: &mut mpsc::UnboundedReceiver<Command>) -> io::Result<()> {
        self.take_in();
        loop {
            self.transmit().await?;
            if self.conn.is_over() {
                return self.stream.shutdown().await;
            }
            let timeout = self.conn.poll_timeout().unwrap_or_else(Instant::now);
            tokio::select! {
                read = self.stream.read_buf(&mut self.input) => {
                    if read? == 0 {
                        self.conn.handle_eof();
                    }
                    self.take_in();
                }
                () = tokio::time::sleep_until(timeout.into()) => {
                    self.conn.handle_timeout(Instant::now());
                }
                Some(command) = orders.recv() => match command {
                    Command::Die => return Ok(()),
                    Command::Refuse(reason) => self.refuse(reason),
                },
            }
        }
    }

    fn take_in(&mut self) {
        self.conn
            .handle_input(&mut self.input, Instant::now())
            .expect("the PoP is sound");
        self.settle();
    }

    async fn transmit(&mut self) -> io::Result<()> {
        let mut frames = Vec::new();
        while self.conn.poll_transmit(64 * 1024, &mut frames) > 0 {
            for frame in frames.drain(..) {
                self.stream.write_all(&frame).await?;
            }
            self.settle();
        }
        Ok(())
    }

    fn settle(&mut self) {
        while let Some(event) = self.conn.poll_event() {
            match event {
                Event::Open { id, request } => self.open(id, &request),
                Event::Readable(id) if self.associations.contains(&id) => self.send_back(id),
                Event::Readable(id) => self.read(id),
                Event::Writable(id) => self.flush(id),
                Event::Reset { id, .. } | Event::Finished(id) => {
                    self.targets.remove(&id);
                    self.associations.remove(&id);
                }
                Event::GoingAway => self.news.going_away = true,
                Event::Ready | Event::Closed(_) | Event::Opened { .. } => {}
            }
        }
        self.news.associations = self.associations.len();
        self.tell.send_replace(self.news);
    }

    fn send_back(&mut self, id: SessionId) {
        while let Some(received) = self.conn.receive_datagram(id) {
            let Received::Data(datagram) = received else {
                return self.conn.finish(id);
            };
            let named = || NAMED.parse::<Address>().expect("valid");
            let source = match datagram.address.host.ip() {
                Some(_) => datagram.address,
                None => named(),
            };
            let answer = DatagramPayload::copy_from(&source, &datagram.data).expect("short");
            self.conn.send_datagram(id, answer).expect("there is room");
        }
    }

    fn associate(&mut self, id: SessionId) {
        self.associations.insert(id);
        self.conn
            .accept(id, SocketAddr::from(([192, 0, 2, 1], 4242)));
    }

    fn open(&mut self, id: SessionId, request: &OpenRequest) {
        self.news.opened += 1;
        let name = match self.manner {
            Manner::Serves if request.kind == SessionKind::Udp => return self.associate(id),
            Manner::Serves => request.target.host.to_string(),
            Manner::Holds => HELD.to_owned(),
            Manner::Dials => "silent.test".to_owned(),
            Manner::Refuses(reason) => return self.conn.reset(id, reason, "not here"),
        };
        match name.as_str() {
            "refused.test" => self
                .conn
                .reset(id, Reason::ConnectionRefused, "nobody listens"),
            "silent.test" => self.dialling.push(id),
            _ => {
                self.conn
                    .accept(id, SocketAddr::from(([192, 0, 2, 1], 4242)));
                let outgoing = match name.as_str() {
                    "greeter.test" => VecDeque::from([Bytes::from_static(b"hello")]),
                    "endless.test" => VecDeque::from([Bytes::from_static(&[b'x'; 64 * 1024])]),
                    _ => VecDeque::new(),
                };
                let finish = matches!(name.as_str(), "greeter.test" | "mute.test");
                self.targets.insert(
                    id,
                    Target {
                        name,
                        outgoing,
                        seen: Vec::new(),
                        finish,
                        answered: 0,
                        agreed: false,
                    },
                );
                self.flush(id);
                self.read(id);
            }
        }
    }

    fn refuse(&mut self, reason: Reason) {
        for id in self.dialling.drain(..) {
            self.conn.reset(id, reason, "not here");
        }
    }

    fn read(&mut self, id: SessionId) {
        if self
            .targets
            .get(&id)
            .is_some_and(|target| target.name == "deaf.test")
        {
            return;
        }
        while let Some(received) = self.conn.receive(id) {
            let Some(target) = self.targets.get_mut(&id) else {
                return;
            };
            match (target.name.as_str(), received) {
                ("cut.test", Received::Data(_)) => {
                    self.conn.reset(id, Reason::TargetReset, "");
                    self.targets.remove(&id);
                    return;
                }
                (HELD, Received::Data(bytes)) => {
                    self.news.held += bytes.len();
                    self.conn.consumed(id, bytes.len());
                }
                (HELD, Received::End) => self.news.ended += 1,
                ("echo.test", Received::Data(bytes)) => target.outgoing.push_back(bytes),
                ("ws.test", Received::Data(bytes)) if target.answered > 0 => {
                    self.conn.consumed(id, bytes.len());
                    target.outgoing.push_back(bytes);
                }
                (name, Received::Data(bytes)) if speaks_http(name) => {
                    self.conn.consumed(id, bytes.len());
                    target.seen.extend_from_slice(&bytes);
                    if answer_requests(target) {
                        self.flush(id);
                        self.conn.reset(id, Reason::TargetReset, "");
                        self.targets.remove(&id);
                        return;
                    }
                    let is_quiet = target.name == "quiet.test" && target.answered > 1;
                    self.news.unanswered += usize::from(is_quiet);
                }
                (_, Received::Data(bytes)) => self.conn.consumed(id, bytes.len()),
                (_, Received::End) => target.finish = true,
            }
            self.flush(id);
        }
    }

    fn flush(&mut self, id: SessionId) {
        let Some(target) = self.targets.get_mut(&id) else {
            return;
        };
        while let Some(front) = target.outgoing.front_mut() {
            let n = self.conn.send_capacity(id).min(front.len());
            if n == 0 && !front.is_empty() {
                return;
            }
            let piece = front.split_to(n);
            if !front.has_remaining() {
                target.outgoing.pop_front();
                if target.name == "endless.test" {
                    target
                        .outgoing
                        .push_back(Bytes::from_static(&[b'x'; 64 * 1024]));
                }
            }
            self.conn
                .send(id, Payload::copy_from(&piece))
                .expect("there is room");
            if target.name == "echo.test" {
                self.conn.consumed(id, n);
            }
        }
        if target.finish {
            self.conn.finish(id);
        }
    }
}

/// Stands for the target of a session that is held.
const HELD: &str = "";

fn speaks_http(name: &str) -> bool {
    name.ends_with("http.test")
        || [
            "script.test",
            "quiet.test",
            "once.test",
            "unwilling.test",
            "ws.test",
        ]
        .contains(&name)
}

/// Answers every whole request that was seen; `true` where the session is to be reset then.
fn answer_requests(target: &mut Target) -> bool {
    while !target.finish
        && let Some(request) = next_request(target)
    {
        target.answered += 1;
        let (head, content) = request.split_once("\r\n\r\n").expect("whole");
        let answer = match target.name.as_str() {
            "script.test" => content.to_owned(),
            "quiet.test" if target.answered > 1 => continue,
            "once.test" if target.answered > 1 => {
                target.finish = true;
                return false;
            }
            "unwilling.test" => {
                "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n".to_owned()
            }
            "ws.test" => "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\n\r\n"
                .to_owned(),
            _ => format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{request}",
                request.len()
            ),
        };
        target.outgoing.push_back(Bytes::from(answer));
        let head = head.to_ascii_lowercase();
        target.finish = head.contains("x-then: end") || head.contains("connection: close");
        if head.contains("x-then: reset") {
            return true;
        }
    }
    false
}

/// Takes a whole request off the front of what was seen: the head, and the content it announces.
fn next_request(target: &mut Target) -> Option<String> {
    let text = String::from_utf8_lossy(&target.seen).into_owned();
    let start = text.find("\r\n\r\n")? + 4;
    let head = text[..start].to_ascii_lowercase();
    let announced = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let end = if target.name == "unwilling.test" || target.name == "ws.test" {
        Some(start)
    } else if head.contains("transfer-encoding: chunked") {
        text[start..].find("0\r\n\r\n").map(|at| start + at + 5)
    } else {
        Some(start + announced.unwrap_or(0)).filter(|&end| end <= text.len())
    };
    let Some(end) = end else {
        if head.contains("expect: 100-continue") && !target.agreed {
            target.agreed = true;
            let agreed = Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n");
            target.outgoing.push_back(agreed);
        }
        return None;
    };
    target.agreed = false;
    let rest = target.seen.split_off(end);
    let request = std::mem::replace(&mut target.seen, rest);
    Some(String::from_utf8_lossy(&request).into_owned())
}
