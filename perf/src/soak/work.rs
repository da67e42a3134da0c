//! What the clients of a soak do, over and over, until they are told to stop.

use std::{rc::Rc, time::Duration};

use anyhow::{anyhow, ensure};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    governor::Governor,
    ledger::{Fault, Kind, Ledger},
    pattern::Pattern,
    site::{Order, Site, Wish},
};
use crate::{
    limits::{
        POLL_INTERVAL, SOAK_BULK, SOAK_CHUNK, SOAK_CONNECTION, SOAK_MESSAGE, SOAK_SESSION_TIMEOUT,
        SOAK_SMALL, STALLED_RECEIVE_BUFFER,
    },
    via::Via,
};

/// What all clients share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) via: Via,
    pub(super) site: Rc<Site>,
    pub(super) ledger: Rc<Ledger>,
    pub(super) governor: Rc<Governor>,
    /// Becomes true when no more shall be begun and what can wait shall end.
    pub(super) stop: watch::Receiver<bool>,
}

/// One client.
pub(super) struct Client {
    shared: Shared,
    rng: SmallRng,
}

impl Client {
    pub(super) fn new(shared: Shared, seed: u64) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        Self { shared, rng }
    }

    /// Makes one session of that kind after the other.
    pub(super) async fn run(mut self, kind: Kind) {
        while !self.stopped() {
            self.shared.governor.admit(SOAK_CONNECTION).await;
            let id = self.shared.ledger.begin(kind);
            let session = self.session(kind, id);
            let outcome = timeout(SOAK_SESSION_TIMEOUT, session).await;
            let stuck = |_| Err(Fault::Broken(anyhow!("it does not get on")));
            let outcome = outcome.unwrap_or_else(stuck);
            let failed = outcome.is_err();
            self.shared.ledger.end(id, outcome);
            if failed {
                // A PoP without edges refuses at once.
                sleep(POLL_INTERVAL).await;
            }
        }
    }

    fn stopped(&self) -> bool {
        *self.shared.stop.borrow()
    }

    /// Waits for `pause`, or for the end.
    async fn pause(&mut self, pause: Duration) {
        let ended = self.shared.stop.wait_for(|&stop| stop);
        // The sender lives as long as the clients do.
        let _ = timeout(pause, ended).await;
    }

    async fn session(&mut self, kind: Kind, id: u64) -> Result<(), Fault> {
        match kind {
            Kind::Churn => self.churn(id).await,
            Kind::Down => self.down(id).await,
            Kind::Up => self.up(id).await,
            Kind::Stalled => self.stalled(id).await,
            Kind::HalfClosed => self.half_closed(id).await,
            Kind::Echo => self.echo(id).await,
            Kind::Udp => Err(Fault::Broken(anyhow!(
                "datagrams have clients of their own"
            ))),
        }
    }

    async fn order(&self, wish: Wish, session: u64, len: u64) -> Result<TcpStream, Fault> {
        let buffer = (len == u64::MAX).then_some(STALLED_RECEIVE_BUFFER);
        let (via, address) = (&self.shared.via, self.shared.site.address);
        let mut stream = via.dial_with(address, None, buffer).await?;
        let order = Order { wish, session, len };
        stream.write_all(&order.encode()).await?;
        Ok(stream)
    }

    async fn churn(&mut self, id: u64) -> Result<(), Fault> {
        let mut stream = self.order(Wish::Echo, id, 0).await?;
        self.message(&mut stream).await?;
        end(&mut stream).await
    }

    async fn down(&mut self, id: u64) -> Result<(), Fault> {
        let len = self.rng.random_range(SOAK_BULK);
        let mut stream = self.order(Wish::Send, id, len).await?;
        self.receive(&mut stream, id, len, Duration::ZERO).await
    }

    async fn up(&mut self, id: u64) -> Result<(), Fault> {
        let len = self.rng.random_range(SOAK_BULK);
        let mut stream = self.order(Wish::Read, id, len).await?;
        let (mut buffer, mut pattern) = (vec![0; SOAK_CHUNK], Pattern::new(id));
        while pattern.offset() < len {
            let left = usize::try_from(len - pattern.offset()).unwrap_or(SOAK_CHUNK);
            let chunk = &mut buffer[..left.min(SOAK_CHUNK)];
            self.shared.governor.admit(chunk.len()).await;
            pattern.fill(chunk);
            stream.write_all(chunk).await?;
            self.shared.ledger.checked(chunk.len());
        }
        stream.shutdown().await?;
        let mut arrived = [0; 8];
        stream.read_exact(&mut arrived).await?;
        let arrived = u64::from_be_bytes(arrived);
        if arrived != len {
            let what = format!("{arrived} of {len} bytes arrived at the target");
            return Err(Fault::Mismatch(what));
        }
        ensure_end(&mut stream).await
    }

    /// Never reads, and goes away at last.
    async fn stalled(&mut self, id: u64) -> Result<(), Fault> {
        let _unread = self.order(Wish::Send, id, u64::MAX).await?;
        let pause = self.rng.random_range(5_000..30_000);
        self.pause(Duration::from_millis(pause)).await;
        Ok(())
    }

    /// Ends its own direction first, and reads the answer slowly.
    async fn half_closed(&mut self, id: u64) -> Result<(), Fault> {
        let len = self.rng.random_range(*SOAK_BULK.start()..=1 << 20);
        let mut stream = self.order(Wish::Send, id, len).await?;
        stream.shutdown().await?;
        let pause = Duration::from_millis(self.rng.random_range(50..300));
        self.receive(&mut stream, id, len, pause).await
    }

    async fn echo(&mut self, id: u64) -> Result<(), Fault> {
        let mut stream = self.order(Wish::Echo, id, 0).await?;
        let lasts = Duration::from_millis(self.rng.random_range(2_000..20_000));
        let over = Instant::now() + lasts;
        while Instant::now() < over && !self.stopped() {
            self.shared.governor.admit(SOAK_SMALL).await;
            self.message(&mut stream).await?;
            let pause = self.rng.random_range(10..200);
            self.pause(Duration::from_millis(pause)).await;
        }
        end(&mut stream).await
    }

    /// Reads `len` bytes and the end, and rests for `pause` after each piece.
    async fn receive(
        &mut self,
        stream: &mut TcpStream,
        id: u64,
        len: u64,
        pause: Duration,
    ) -> Result<(), Fault> {
        let (mut buffer, mut pattern) = (vec![0; SOAK_CHUNK], Pattern::new(id));
        loop {
            self.shared.governor.admit(SOAK_CHUNK).await;
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            if !pattern.fits(&buffer[..read]) {
                return Err(Fault::Mismatch("other bytes arrived than were sent".into()));
            }
            self.shared.ledger.checked(read);
            if !pause.is_zero() {
                self.pause(pause).await;
            }
        }
        let arrived = pattern.offset();
        if arrived != len {
            // A clean end that comes too early is a lie, whoever was killed.
            return Err(Fault::Mismatch(format!(
                "a clean end after {arrived} of {len} bytes"
            )));
        }
        end(stream).await
    }

    /// A message there and back.
    async fn message(&mut self, stream: &mut TcpStream) -> Result<(), Fault> {
        let len = self.rng.random_range(1..=SOAK_MESSAGE);
        let mut message = vec![0; len];
        self.rng.fill(&mut message[..]);
        stream.write_all(&message).await?;
        let mut back = vec![0; len];
        stream.read_exact(&mut back).await?;
        self.shared.ledger.checked(len);
        if back != message {
            return Err(Fault::Mismatch("another message came back".into()));
        }
        Ok(())
    }
}

/// Ends the client's direction and waits for the other's end.
async fn end(stream: &mut TcpStream) -> Result<(), Fault> {
    // The other side may have gone already, after its own end.
    let _ = stream.shutdown().await;
    ensure_end(stream).await
}

async fn ensure_end(stream: &mut TcpStream) -> Result<(), Fault> {
    let ended: anyhow::Result<()> = async {
        ensure!(stream.read(&mut [0]).await? == 0, "more than the end");
        Ok(())
    }
    .await;
    Ok(ended?)
}
