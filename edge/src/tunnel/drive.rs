//! The tasks of one tunnel.
//!
//! One task reads, one writes, and this one keeps the time. Nothing here waits for a session, and
//! nothing is dropped while the socket works on it: a tunnel ends by its socket being shut down.

use std::{io, rc::Rc};

use bytes::{Bytes, BytesMut};
use titan_proto::{mux::Pace, read_size::ReadSize};
use tokio::{
    task::{JoinHandle, spawn_local, yield_now},
    time::{Instant, sleep},
};

use crate::{
    limits::{CLOSE_GRACE, MAX_TUNNEL_READ, MIN_READ, READ_BURST},
    link::Link,
    net::Stream,
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
    input: BytesMut,
    egress: Rc<Egress>,
    facts: Rc<Facts>,
) {
    let mut reader = Reader {
        size: ReadSize::new(MIN_READ, MAX_TUNNEL_READ),
        rest: BytesMut::new(),
        link,
        stream,
        egress,
        facts,
    };
    reader.take_in(input);
    while reader.stream.readable().await.is_ok() && reader.burst().await {}
    reader.link.handle_eof();
    reader.stream.shutdown();
}

struct Reader {
    size: ReadSize,
    /// The start of a header or of a control frame, at most some 150 bytes: an idle tunnel owns no
    /// read buffer.
    rest: BytesMut,
    link: Rc<Link>,
    stream: Stream,
    egress: Rc<Egress>,
    facts: Rc<Facts>,
}

impl Reader {
    /// Takes what the socket has, within bounds; `false` at its end.
    async fn burst(&mut self) -> bool {
        for _ in 0..READ_BURST {
            let asked = self.size.get();
            let mut buffer = BytesMut::with_capacity(self.rest.len() + asked);
            buffer.extend_from_slice(&self.rest);
            let (result, buffer) = self.stream.read_now(buffer, asked);
            match result {
                Ok(0) => return false,
                Ok(read) => {
                    self.size.note(asked, read);
                    self.take_in(buffer);
                    if read < asked {
                        return true;
                    }
                }
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
            // The sessions that have just got something come before the next large read.
            yield_now().await;
        }
        true
    }

    fn take_in(&mut self, mut buffer: BytesMut) {
        if self.link.is_over() {
            // Only the peer's close frame and the end are waited for.
            return;
        }
        self.link.handle_input(&mut buffer);
        self.rest.clear();
        self.rest.extend_from_slice(&buffer);
        while let Some((session, request)) = self.link.next_opened() {
            let (egress, facts) = (self.egress.clone(), self.facts.clone());
            spawn_local(session::run(session, request, egress, facts));
        }
    }
}

/// 2. Connection → socket.
async fn write(link: Rc<Link>, stream: Stream) {
    let mut pace = Pace::default();
    limit_unsent(&stream, pace);
    let mut batch: Vec<Bytes> = Vec::new();
    loop {
        if !link.wants_transmit() {
            pace.pause();
        }
        if !link.next_batch(pace.batch(), &mut batch).await {
            break;
        }
        let bytes = batch.iter().map(Bytes::len).sum();
        pace.begin(bytes, now);
        if stream.write_all(&mut batch).await.is_err() {
            link.handle_eof();
            return stream.shutdown();
        }
        if pace.wrote(bytes, now) {
            limit_unsent(&stream, pace);
        }
    }
    // The end tells the peer that the close frame was the last.
    if stream.shutdown_write().is_err() {
        stream.shutdown();
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn limit_unsent(stream: &Stream, pace: Pace) {
    if let Err(error) = stream.limit_unsent(pace.batch()) {
        tracing::debug!(%error, "cannot bound the unsent bytes of the tunnel");
    }
}
