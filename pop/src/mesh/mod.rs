//! How threads talk: each shard has two queues and a doorbell, the control thread has one queue.
//!
//! * *Work* is sockets that move to the shard that owns (or will own) their tunnel. The queue is
//!   bounded; a shard that is so far behind gets no more.
//! * *News* is everything a shard must not miss: tunnels that come and go, answers from the
//!   control thread, the end. Each piece answers something bounded, so the queue needs no bound.
//!
//! No waker crosses a thread (ARCHITECTURE.md, "Living with monoio"): the receiving shard waits on its doorbell like on any
//! socket.

mod beat;
mod messages;
mod placement;
mod status;

use std::{io, sync::Arc, time::Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use titan_proto::control::NodeId;
use tokio::sync::mpsc;

pub use messages::{
    Answer, ClientMove, Failed, LoginRequest, News, Order, Progress, Report, RequestMove,
    RequestOrder, SentAway, Ticket, TokenAuthority, TunnelMove, Work,
};
pub use placement::Reservation;
pub use status::Status;

use self::{beat::Beat, placement::Placement};
use crate::{
    directory::ShardId,
    limits::{HANDOVER_QUEUE, MESH_BURST},
    net::{Doorbell, Installed, Ringer},
};

/// The sending side of everything: to any shard from anywhere, to the control thread from a shard.
#[derive(Debug, Clone)]
pub struct Mesh {
    peers: Arc<[Peer]>,
    control: mpsc::UnboundedSender<Report>,
    placement: Placement,
    beat: Beat,
}

#[derive(Debug)]
struct Peer {
    work: Sender<Work>,
    news: Sender<News>,
    bell: Ringer,
}

impl Mesh {
    /// The mesh of that many shards, what each of them receives with, and what the control thread
    /// receives with.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new(shards: u16) -> io::Result<(Self, Vec<Mailbox>, mpsc::UnboundedReceiver<Report>)> {
        let (mut peers, mut mailboxes) = (Vec::new(), Vec::new());
        for _ in 0..shards {
            let (bell, ringer) = Doorbell::new()?;
            let (work, work_in) = bounded(HANDOVER_QUEUE);
            let (news, news_in) = unbounded();
            peers.push(Peer {
                work,
                news,
                bell: ringer,
            });
            mailboxes.push(Mailbox {
                work: work_in,
                news: news_in,
                bell,
            });
        }
        let (control, reports) = mpsc::unbounded_channel();
        Ok((
            Self {
                peers: peers.into(),
                control,
                placement: Placement::new(shards),
                beat: Beat::starting_at(Instant::now()),
            },
            mailboxes,
            reports,
        ))
    }

    /// Moves a socket to `shard`, or gives it back where the shard is overloaded or gone.
    ///
    /// # Errors
    /// The work itself, not taken.
    pub fn send_work(&self, shard: ShardId, work: Work) -> Result<(), Box<Work>> {
        let Some(peer) = self.peers.get(shard.index()) else {
            return Err(Box::new(work));
        };
        peer.work
            .try_send(work)
            .map_err(|refused| Box::new(refused.into_inner()))?;
        peer.bell.ring();
        Ok(())
    }

    /// Tells one shard.
    pub fn tell(&self, shard: ShardId, news: News) {
        if let Some(peer) = self.peers.get(shard.index()) {
            // A shard that has ended needs no news.
            let _ = peer.news.send(news);
            peer.bell.ring();
        }
    }

    /// Tells every shard but `except`.
    pub fn broadcast(&self, news: &News, except: Option<ShardId>) {
        for shard in self.shards().filter(|&shard| Some(shard) != except) {
            self.tell(shard, news.clone());
        }
    }

    /// Tells the control thread.
    pub fn report(&self, report: Report) {
        let _ = self.control.send(report);
    }

    /// When usage is handed over next, for all shards the same moment.
    pub fn next_report(&self, now: Instant) -> Instant {
        self.beat.next(now)
    }

    /// Reserves a place for a tunnel of `node` that `local` has accepted: on the shard with the
    /// fewest tunnels; of several with as few, on one with few of this node, else on `local`.
    /// `None` where the node has as many tunnels as it may.
    pub fn reserve_tunnel(&self, node: NodeId, local: ShardId) -> Option<Reservation> {
        self.placement.reserve(node, local)
    }

    fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        // There are never more shards than the type of their number.
        (0..u16::try_from(self.peers.len()).unwrap_or(u16::MAX)).map(ShardId)
    }
}

/// The receiving side of one shard, made before its thread.
#[derive(Debug)]
pub struct Mailbox {
    work: Receiver<Work>,
    news: Receiver<News>,
    bell: Doorbell,
}

impl Mailbox {
    /// Puts the doorbell on the calling core's ring.
    ///
    /// # Errors
    /// When epoll has no room for it.
    pub fn open(self) -> io::Result<OpenMailbox> {
        Ok(OpenMailbox {
            work: self.work,
            news: self.news,
            bell: self.bell.install()?,
        })
    }
}

/// The receiving side of one shard on its core.
#[derive(Debug)]
pub struct OpenMailbox {
    work: Receiver<Work>,
    news: Receiver<News>,
    bell: Installed,
}

/// One message.
#[derive(Debug)]
pub enum Message {
    /// A socket.
    Work(Work),
    /// Something to know.
    News(News),
}

impl OpenMailbox {
    /// Waits for messages and appends a bounded number of them to `out`, news first: it may say
    /// what is to be known of the sockets that come with it.
    ///
    /// # Errors
    /// When the wait itself fails.
    pub async fn receive(&self, out: &mut Vec<Message>) -> io::Result<()> {
        self.bell.heard().await?;
        out.extend(self.news.try_iter().take(MESH_BURST).map(Message::News));
        out.extend(self.work.try_iter().take(MESH_BURST).map(Message::Work));
        if !self.is_empty() {
            // The rest after a turn of the ring: other tasks are due.
            self.bell.ring_self();
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.news.is_empty() && self.work.is_empty()
    }
}
