//! The tasks of one tunnel.
//!
//! One task reads, one writes, and this one keeps the time. Nothing here waits for a session, and
//! nothing is dropped while the socket works on it: a tunnel ends by its socket being shut down.

use std::{rc::Rc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    task::{JoinHandle, spawn_local, yield_now},
    time::{Instant, sleep},
};

use crate::{
    limits::{
        CLOSE_GRACE, FAST_WRITE, FIRST_WRITE_BATCH, MAX_TUNNEL_READ, MAX_WRITE_BATCH, MIN_READ,
        MIN_WRITE_BATCH, SLOW_WRITE,
    },
    link::Link,
    net::{ReadSize, Stream},
    session::{self, Egress, Facts},
};

/// Drives a tunnel until its socket is closed.
pub(super) async fn drive(
    link: Rc<Link>,
    stream: Stream,
    input: BytesMut,
    egress: Rc<Egress>,
    facts: Rc<Facts>,
) {
    let reader = spawn_local(read(link.clone(), stream.clone(), input, egress, facts));
    let writer = spawn_local(write(link.clone(), stream.clone()));
    let tasks = async {
        tokio::join!(watch(reader, &link, &stream), watch(writer, &link, &stream));
    };
    tokio::pin!(tasks);
    let mut status = link.status();
    loop {
        tokio::select! {
            () = &mut tasks => return,
            () = link.tick() => {}
            _ = status.wait_for(|status| status.closed.is_some()) => break,
        }
    }
    // 3. The close handshake has its time; a peer that does not read must not hold the socket.
    tokio::select! {
        () = &mut tasks => {}
        () = sleep(CLOSE_GRACE) => {
            stream.reset();
            tasks.await;
        }
    }
}

/// Waits for the end of the reader or the writer. If it panicked, the tunnel is over: it cannot go
/// on without it.
async fn watch(task: JoinHandle<()>, link: &Link, stream: &Stream) {
    if let Err(error) = task.await {
        tracing::error!(%error, "a task of the tunnel failed");
        link.handle_eof();
        stream.shutdown();
    }
}

/// 1. Socket → connection, and a task for every session that is opened.
async fn read(
    link: Rc<Link>,
    stream: Stream,
    mut input: BytesMut,
    egress: Rc<Egress>,
    facts: Rc<Facts>,
) {
    let mut size = ReadSize::new(MAX_TUNNEL_READ);
    loop {
        if link.is_over() {
            // Only the peer's close frame and the end are waited for.
            input.clear();
        } else {
            link.handle_input(&mut input);
        }
        while let Some((session, request)) = link.next_opened() {
            spawn_local(session::run(
                session,
                request,
                egress.clone(),
                facts.clone(),
            ));
        }
        if size.get() > MIN_READ {
            // The sessions that have just got something come before the next large read.
            yield_now().await;
        } else if input.is_empty() {
            // An idle tunnel owns no buffer where the system lets it wait without one.
            input = BytesMut::new();
            if stream.readable().await.is_err() {
                break;
            }
        }
        let asked = size.get();
        let (result, filled) = stream.read(input, asked).await;
        input = filled;
        match result {
            Ok(read) if read > 0 => size.learn(read, asked),
            _ => break,
        }
    }
    link.handle_eof();
    stream.shutdown();
}

/// 2. Connection → socket.
async fn write(link: Rc<Link>, stream: Stream) {
    let mut pace = Pace::new(&stream);
    let mut batch: Vec<Bytes> = Vec::new();
    while link.next_batch(pace.batch, &mut batch).await {
        let bytes = batch.iter().map(Bytes::len).sum();
        let start = Instant::now();
        if stream.write_all(&mut batch).await.is_err() {
            link.handle_eof();
            return stream.shutdown();
        }
        pace.learn(&stream, bytes, start.elapsed());
    }
    // The end tells the peer that the close frame was the last.
    if stream.shutdown_write().is_err() {
        stream.shutdown();
    }
}

/// How much is given to the kernel at a time.
///
/// What the kernel holds can no longer be overtaken by another session's bytes. So both the batch
/// and what may lie unsent in the socket are small on a slow line, where a queue is delay, and
/// large on a fast one, where it is only fewer system calls.
struct Pace {
    batch: usize,
}

impl Pace {
    fn new(stream: &Stream) -> Self {
        let pace = Self {
            batch: FIRST_WRITE_BATCH,
        };
        pace.apply(stream);
        pace
    }

    fn learn(&mut self, stream: &Stream, bytes: usize, took: Duration) {
        let before = self.batch;
        self.batch = next_batch(before, bytes, took);
        if self.batch != before {
            self.apply(stream);
        }
    }

    fn apply(&self, stream: &Stream) {
        if let Err(error) = stream.limit_unsent(self.batch) {
            tracing::debug!(%error, "cannot bound the unsent bytes of the tunnel");
        }
    }
}

fn next_batch(batch: usize, bytes: usize, took: Duration) -> usize {
    if took > SLOW_WRITE {
        (batch / 2).max(MIN_WRITE_BATCH)
    } else if bytes >= batch && took < FAST_WRITE {
        (batch * 2).min(MAX_WRITE_BATCH)
    } else {
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_follow_the_speed_of_the_line() {
        let mut batch = FIRST_WRITE_BATCH;
        for _ in 0..10 {
            batch = next_batch(batch, batch, Duration::from_micros(100));
        }
        assert_eq!(batch, MAX_WRITE_BATCH);
        assert_eq!(next_batch(batch, 100, Duration::ZERO), batch);
        for _ in 0..10 {
            batch = next_batch(batch, batch, Duration::from_millis(20));
        }
        assert_eq!(batch, MIN_WRITE_BATCH);
        assert_eq!(
            next_batch(batch, 100, Duration::ZERO),
            batch,
            "small writes prove nothing"
        );
    }
}
