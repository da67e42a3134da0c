//! What travels between threads.

use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Instant};

use bytes::BytesMut;
use titan_proto::{
    addr::Target,
    control::{NodeId, PopId, Region, ReplyMode, UserName, UserRecord},
    http::ForwardRequest,
    mux::{OpenRequest, Reset},
};

use super::Reservation;
use crate::{
    directory::{ShardId, TunnelEntry, TunnelKey},
    users::{Account, LoginAnswer, Seat, UsageDelta},
};

/// A socket that moves to another shard, with what is known of it.
#[derive(Debug)]
pub enum Work {
    /// A client whose tunnel the receiving shard owns.
    Client(ClientMove),
    /// An HTTP client whose request goes to a tunnel that the receiving shard owns.
    Request(Box<RequestMove>),
    /// A tunnel that the receiving shard shall own.
    Tunnel(TunnelMove),
}

/// A client on its way to the shard of its tunnel.
#[derive(Debug)]
pub struct ClientMove {
    /// Its socket.
    pub fd: OwnedFd,
    /// What it wants.
    pub order: Order,
    /// The tunnel that was chosen.
    pub tunnel: TunnelKey,
    /// What has come of it so far.
    pub progress: Progress,
}

/// What a client asked for, understood and allowed.
#[derive(Debug)]
pub struct Order {
    /// Who asked.
    pub user: UserName,
    /// The client's place among the user's connections.
    pub seat: Arc<Seat>,
    /// Where to. For a relay of datagrams it is the address they will come from, zeros if unknown.
    pub target: Target,
    /// In which form the client is answered.
    pub answer: Answer,
    /// Whether it is answered before the edge has connected.
    pub reply_mode: ReplyMode,
    /// Bytes for the target that are here already.
    pub early: BytesMut,
}

impl Order {
    /// What is asked of an edge for it.
    pub fn open_request(&self) -> OpenRequest {
        match self.answer {
            Answer::Socks5Associate => OpenRequest::udp(),
            Answer::Socks5 | Answer::HttpConnect | Answer::HttpUpgraded => {
                OpenRequest::tcp(self.target.clone())
            }
        }
    }
}

/// What has come of an order so far.
#[derive(Debug)]
pub struct Progress {
    /// How often a tunnel was chosen that did not take the session, since one last did.
    pub routed: u8,
    /// Tunnels that took the session and failed it, the last one at the end.
    pub failed: Vec<Failed>,
    /// Whether the client was told that it is connected: it must not be told again.
    pub told: bool,
    /// Whether the client has ended its direction: nothing follows the early bytes.
    pub ended: bool,
    /// When an edge must have connected to the target.
    pub open_by: Instant,
}

impl Progress {
    /// An order that nobody has tried to carry yet, and which some edge must have opened by then.
    pub fn new(open_by: Instant) -> Self {
        Self {
            routed: 0,
            failed: Vec::new(),
            told: false,
            ended: false,
            open_by,
        }
    }

    /// The tunnel took the session and failed it.
    pub fn note_failure(&mut self, tunnel: &TunnelEntry, reset: Reset) {
        self.routed = 0;
        self.failed.push(Failed {
            tunnel: tunnel.key,
            node: tunnel.node,
            reset,
        });
    }
}

/// A tunnel that failed a session before its target had answered.
#[derive(Debug)]
pub struct Failed {
    /// The tunnel.
    pub tunnel: TunnelKey,
    /// The edge at its other end.
    pub node: NodeId,
    /// What it said, or what was said in its place.
    pub reset: Reset,
}

/// The form in which a client is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A SOCKS5 reply (RFC 1928 §6), then bytes both ways.
    Socks5,
    /// A SOCKS5 reply with the address of a relay for datagrams (RFC 1928 §7).
    Socks5Associate,
    /// An HTTP response to CONNECT (RFC 9110 §9.3.6), then bytes both ways.
    HttpConnect,
    /// The target's own 101 (Switching Protocols), which the client has, then bytes both ways.
    HttpUpgraded,
}

/// An HTTP client on its way to the shard of its request's tunnel.
#[derive(Debug)]
pub struct RequestMove {
    /// Its socket.
    pub fd: OwnedFd,
    /// What it has sent behind the request's head: content, and maybe further requests.
    pub input: BytesMut,
    /// Whether it has ended its direction behind that.
    pub has_ended: bool,
    /// The request.
    pub order: RequestOrder,
    /// The tunnel that was chosen.
    pub tunnel: TunnelKey,
    /// What has come of it so far.
    pub progress: Progress,
}

/// A plain HTTP request, understood and allowed.
#[derive(Debug)]
pub struct RequestOrder {
    /// Who asked.
    pub user: UserName,
    /// The client's place among the user's connections.
    pub seat: Arc<Seat>,
    /// The user name as the client sent it, with its parameters: requests that differ in it do not
    /// share a session.
    pub login_name: String,
    /// What is to be passed on.
    pub request: ForwardRequest,
    /// Bytes of it that have been counted, because another edge was sent them before.
    pub counted: u64,
}

/// A tunnel after its upgrade, on its way to its shard.
#[derive(Debug)]
pub struct TunnelMove {
    /// Its socket; the answer to the upgrade has been sent.
    pub fd: OwnedFd,
    /// Bytes that came behind the upgrade request.
    pub early: BytesMut,
    /// Its place on the receiving shard, and which edge it belongs to, as its token says.
    pub reservation: Reservation,
    /// When its token was issued, in seconds since the Unix epoch.
    pub issued_at_s: u64,
    /// The edge's region, as its token says.
    pub region: Option<Region>,
    /// Where it comes from.
    pub peer: SocketAddr,
}

/// What every shard must hear.
#[derive(Debug, Clone)]
pub enum News {
    /// A tunnel is ready for sessions.
    TunnelUp(Arc<TunnelEntry>),
    /// A tunnel takes no more sessions.
    TunnelDown(Arc<TunnelEntry>),
    /// Which tokens are to be believed.
    Authority(Arc<TokenAuthority>),
    /// The answer to a [`LoginRequest`].
    Login(Ticket, LoginAnswer),
    /// A user's record as it is now.
    UserChanged(Arc<UserRecord>),
    /// There is no such user any more.
    UserGone(UserName),
    /// The manager could not be asked for a newer record.
    UserUnchanged(UserName),
    /// Whether what new sessions relay can be counted; none are let in where not.
    Metering(bool),
    /// Nobody knows what has changed about any user.
    UsersForgotten,
    /// A user's account has ended, or what the user may do has changed.
    AccountChanged(Arc<Account>),
    /// A node is sent away: its tunnels end, and so does what it was let in with.
    NodeSentAway(SentAway),
    /// Take no more clients; end when the last session has, at the deadline at the latest.
    Drain(Instant),
}

/// Whom to believe about tunnels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenAuthority {
    /// Who we are: the audience a token must name.
    pub pop: PopId,
    /// The manager's Ed25519 public key.
    pub key: [u8; 32],
}

/// A node that is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentAway {
    /// The node.
    pub node: NodeId,
    /// When the manager decided it, in seconds since the Unix epoch by the clock that its tokens are
    /// dated by. A token from then or before opens no tunnel any more.
    pub at_s: u64,
    /// What the edge is told.
    pub why: &'static str,
}

/// Names one login that a shard waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// A login that a shard cannot decide by itself.
pub struct LoginRequest {
    /// Who asks.
    pub shard: ShardId,
    /// To be given back with the answer.
    pub ticket: Ticket,
    /// The user's base name.
    pub name: UserName,
    /// The password as the client sent it.
    pub password: String,
}

/// Without the password.
impl std::fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginRequest")
            .field("ticket", &self.ticket)
            .finish_non_exhaustive()
    }
}

/// What the control thread must hear.
#[derive(Debug)]
pub enum Report {
    /// A tunnel is ready for sessions.
    TunnelUp(Arc<TunnelEntry>),
    /// A tunnel takes no more sessions.
    TunnelDown(Arc<TunnelEntry>),
    /// Find out about a login.
    Login(LoginRequest),
    /// Get a newer record of a user.
    RefreshUser(UserName),
    /// What users have relayed through a shard since it last said so.
    Usage(Vec<UsageDelta>),
    /// The package of a user was used up on a shard.
    PackageUsedUp(Arc<Account>),
    /// A shard has ended.
    ShardEnded(ShardId),
    /// Begin to drain: whoever holds the PoP, or a signal, says so.
    Drain,
    /// Watch for the signals that drain.
    WatchSignals,
}
