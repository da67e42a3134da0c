//! Usage: from what the shards hand over to what the manager has counted.
//!
//! ```text
//!  shards ──each second──▶ open ──each second──▶ spool (disk) ──▶ manager
//!                                                   ▲                │
//!                                                   └─ acknowledged ─┘
//! ```
//!
//! A batch is on disk before it is sent, and stays there until it is acknowledged. So nothing is lost
//! while the manager is away or the PoP is down; a crash of the PoP costs what was relayed in the
//! interval that ran. Where the disk takes no more, or the spool has reached its bound, no new
//! sessions are let in: what nobody can pay for is not served.

mod open;
mod record;
mod spool;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use titan_proto::control::{UsageReply, UsageReport, UsageStream, UserName, UserState};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until, timeout},
};

pub use self::spool::Spool;
use self::{
    open::Open,
    spool::{Parcel, Span},
};
use super::{
    Manager,
    accounts::announce,
    manager::{ManagerError, UsageError},
};
use crate::{
    limits::{COLLECT_GRACE, MANAGER_TIMEOUT, REPORT_INTERVAL, REPORT_RETRY},
    mesh::{Mesh, News, Report},
    metrics::{Metrics, UsageMetrics},
    users::{Accounts, Moment, UsageDelta},
};

/// The task that writes batches and sends them.
pub(super) struct Usage {
    manager: Manager,
    mesh: Mesh,
    accounts: Arc<Accounts>,
    metrics: Arc<Metrics>,
    spool: Arc<Mutex<Spool>>,
    /// Bytes of the spool from which on no new sessions are let in.
    bound: u64,
    open: Open,
    close_at: Instant,
    flight: Option<Flight>,
    retry_at: Instant,
    /// Users who may relay no more, as the manager last said.
    ended: HashSet<UserName>,
    is_paused: bool,
    trouble: bool,
}

const SPOOL_FULL: &str = "the spool of usage is full";

/// A report on its way.
struct Flight {
    span: Span,
    answer: JoinHandle<Result<UsageReply, UsageError>>,
}

impl Usage {
    pub(super) fn new(
        manager: Manager,
        mesh: Mesh,
        accounts: Arc<Accounts>,
        metrics: Arc<Metrics>,
        spool: Spool,
        bound: u64,
    ) -> Self {
        metrics.usage.spool_bytes_cut.add(spool.cut());
        let now = Instant::now();
        Self {
            manager,
            mesh,
            accounts,
            metrics,
            spool: Arc::new(Mutex::new(spool)),
            bound,
            open: Open::default(),
            close_at: now,
            flight: None,
            retry_at: now,
            ended: HashSet::new(),
            is_paused: false,
            trouble: false,
        }
    }

    /// Works until no shard is left to hand anything over; then what is there goes to the disk, and
    /// to the manager if it answers.
    pub(super) async fn run(mut self, mut deltas: mpsc::UnboundedReceiver<Vec<UsageDelta>>) {
        let bytes = self.note().await;
        self.pause(bytes >= self.bound, SPOOL_FULL);
        loop {
            self.send().await;
            tokio::select! {
                handed_over = deltas.recv() => match handed_over {
                    Some(deltas) => self.collect(deltas),
                    None => break,
                },
                () = sleep_until(self.close_at), if !self.open.is_empty() => self.close().await,
                answer = answered(&mut self.flight) => self.hear(answer).await,
                () = sleep_until(self.retry_at), if self.retry_at > Instant::now() => {}
            }
        }
        self.finish().await;
    }

    fn collect(&mut self, deltas: Vec<UsageDelta>) {
        if self.open.is_empty() {
            // All shards hand over at the beat; a moment later what they have had is there.
            let now = Instant::now();
            let beat = Instant::from_std(self.mesh.next_report(now.into_std()));
            let this = beat - REPORT_INTERVAL + COLLECT_GRACE;
            self.close_at = if this > now {
                this
            } else {
                this + REPORT_INTERVAL
            };
        }
        self.open.add(deltas);
    }

    /// Ends the interval: what came in it goes to the disk.
    async fn close(&mut self) {
        let (at, batches) = (unix_now(), self.open.batches());
        match self.on_disk(move |spool| spool.append(at, batches)).await {
            Ok(()) => {
                self.open.begin();
                self.keep_small().await;
                let bytes = self.note().await;
                self.pause(bytes >= self.bound, SPOOL_FULL);
            }
            Err(error) => {
                self.close_at = Instant::now() + REPORT_RETRY;
                tracing::error!(%error, "usage cannot be written to the disk; it is kept in memory");
                self.pause(true, "usage cannot be written to the disk");
            }
        }
    }

    /// While the manager is away batches add up; those it has not been sent are merged.
    async fn keep_small(&mut self) {
        if let Err(error) = self.on_disk(Spool::merge).await {
            tracing::warn!(%error, "batches of usage cannot be merged");
        }
    }

    /// Lets new sessions in or keeps them out.
    fn pause(&mut self, pause: bool, why: &str) {
        if std::mem::replace(&mut self.is_paused, pause) == pause {
            return;
        }
        self.metrics.usage.paused.set(usize::from(pause));
        self.mesh.broadcast(&News::Metering(!pause), None);
        if pause {
            tracing::error!("{why}: no new sessions until it is not");
        } else {
            tracing::info!("usage is counted again: new sessions are let in");
        }
    }

    /// Sends what waits, unless something is on its way or the last attempt was a moment ago.
    async fn send(&mut self) {
        if self.flight.is_some() || self.retry_at > Instant::now() {
            return;
        }
        match self.on_disk(Spool::front).await {
            Ok(None) => {}
            Ok(Some(parcel)) => self.flight = Some(self.dispatch(parcel)),
            Err(error) => {
                tracing::error!(%error, "the spool of usage cannot be read; nothing is sent");
                self.retry_later();
            }
        }
    }

    fn dispatch(&self, parcel: Parcel) -> Flight {
        let (manager, span) = (self.manager.clone(), parcel.span());
        let report = UsageReport {
            stream: parcel.stream,
            sent_at: unix_now(),
            batches: parcel.batches,
        };
        let answer = tokio::spawn(async move { manager.report_usage(&report).await });
        Flight { span, answer }
    }

    /// Acts on the answer to what was on its way.
    async fn hear(&mut self, (span, answer): (Span, Result<UsageReply, UsageError>)) {
        self.flight = None;
        let Span {
            stream,
            first,
            last,
        } = span;
        match answer {
            Ok(reply) if reply.applied >= first => {
                if std::mem::take(&mut self.trouble) {
                    tracing::info!("the manager counts usage again");
                }
                self.acknowledge(stream, reply.applied.min(last)).await;
                self.heed(reply);
            }
            Err(UsageError::OutOfOrder(expected)) if (first + 1..=last).contains(&expected) => {
                self.acknowledge(stream, expected - 1).await;
            }
            Err(UsageError::OutOfOrder(expected)) => self.start_over(span, expected).await,
            Ok(_) => self.unheard("its answer acknowledges nothing"),
            Err(UsageError::Manager(error)) => self.unheard(&error.to_string()),
        }
        let bytes = self.note().await;
        if self.is_paused && self.open.is_empty() {
            self.pause(bytes >= self.bound, SPOOL_FULL);
        }
    }

    async fn acknowledge(&mut self, stream: UsageStream, sequence: u64) {
        match self
            .on_disk(move |spool| spool.acknowledge(stream, sequence))
            .await
        {
            Ok(count) => self.metrics.usage.batches_sent.add(count),
            // They stay in the file, and are sent once more after a restart.
            Err(error) => tracing::warn!(%error, "the spool of usage cannot be made smaller"),
        }
    }

    /// The manager does not know what came before these batches and was acknowledged: its store is
    /// older than that. What is here has to be counted all the same.
    async fn start_over(&mut self, span: Span, expected: u64) {
        tracing::error!(
            stream = %span.stream, expected, first = span.first,
            "[DIAG] the manager has lost usage that it had acknowledged; what waits is sent under a new stream"
        );
        if let Err(error) = self.on_disk(Spool::restart_stream).await {
            tracing::error!(%error, "the spool of usage cannot be written anew");
        }
        self.retry_later();
    }

    /// Gets the newest records of users who may relay no more, so that they are let in no more.
    fn heed(&mut self, reply: UsageReply) {
        for user in reply.users {
            if let Some(bytes) = user.bytes_left {
                let account = self
                    .accounts
                    .set_bytes_left(&user.name, bytes, Moment::now());
                account.inspect(|account| announce(&self.mesh, account));
            }
            let has_ended = user.state != UserState::Active || user.bytes_left == Some(0);
            if !has_ended {
                self.ended.remove(&user.name);
            } else if self.ended.insert(user.name.clone()) {
                self.mesh.report(Report::RefreshUser(user.name));
            }
        }
    }

    fn unheard(&mut self, why: &str) {
        if !std::mem::replace(&mut self.trouble, true) {
            tracing::warn!(
                error = why,
                "usage is not counted by the manager; it waits on disk"
            );
        }
        self.retry_later();
    }

    fn retry_later(&mut self) {
        self.retry_at = Instant::now() + REPORT_RETRY;
    }

    /// Writes the last interval, and sends what waits for as long as a request may take.
    async fn finish(mut self) {
        if !self.open.is_empty() {
            self.close().await;
        }
        let _ = timeout(MANAGER_TIMEOUT, self.send_all()).await;
        let waiting = self.on_disk(|spool| spool.waiting()).await;
        if waiting > 0 {
            tracing::info!(batches = waiting, "usage waits on disk for the next start");
        }
    }

    /// Sends until nothing waits, or something goes wrong.
    async fn send_all(&mut self) {
        self.retry_at = Instant::now();
        loop {
            self.send().await;
            if self.flight.is_none() {
                return;
            }
            let answer = answered(&mut self.flight).await;
            self.hear(answer).await;
        }
    }

    /// Puts the spool's state into the metrics; gives its bytes.
    async fn note(&self) -> u64 {
        let (waiting, oldest, bytes) = self
            .on_disk(|spool| (spool.waiting(), spool.oldest(), spool.bytes()))
            .await;
        let UsageMetrics {
            batches_waiting,
            oldest_waiting,
            spool_bytes,
            ..
        } = &self.metrics.usage;
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        batches_waiting.set(waiting);
        oldest_waiting.set(size(oldest.unwrap_or(0)));
        spool_bytes.set(size(bytes));
        bytes
    }

    /// Works with the spool on a thread that may wait for the disk: logins must not.
    async fn on_disk<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Spool) -> R + Send + 'static,
    ) -> R {
        let spool = Arc::clone(&self.spool);
        let done = spawn_blocking(move || {
            // Every change is made in the file first: a panic leaves memory behind, never ahead.
            work(&mut spool.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match done.await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

/// Waits for the answer to the report that is on its way; for ever where none is.
async fn answered(flight: &mut Option<Flight>) -> (Span, Result<UsageReply, UsageError>) {
    let Some(Flight { span, answer }) = flight else {
        return std::future::pending().await;
    };
    let answer = answer.await;
    let answer =
        answer.unwrap_or_else(|error| Err(ManagerError::Unreachable(error.to_string()).into()));
    (*span, answer)
}

/// This machine's time, seconds since the Unix epoch.
fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since: Duration| since.as_secs())
}
