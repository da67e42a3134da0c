//! Datagrams through SOCKS5 UDP ASSOCIATE (RFC 1928 §7), at a bounded rate.

mod client;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    limits::{DATAGRAM_LOST_AFTER, DATAGRAMS_UNDER_WAY, ECHO_LEN, MAX_UDP_PAYLOAD},
    sample::{Roles, used},
    via::Login,
};
pub use client::{Association, HEADER_V4};

/// How many datagrams, how large, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, clap::Args)]
pub struct Plan {
    /// Datagrams
    #[arg(long = "datagrams", default_value_t = 100_000)]
    pub count: u64,
    /// Datagrams a second
    #[arg(long = "datagram-rate", default_value_t = 10_000.0)]
    pub rate: f64,
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Echoed {
    /// Datagrams that were sent.
    pub sent: u64,
    /// Datagrams that came back, each counted once.
    pub returned: u64,
    /// Datagrams that came back a second time, or with other bytes than were sent.
    pub wrong: u64,
    /// Time from the first to the last.
    pub seconds: f64,
    /// CPU of each role, in microseconds for each that came back.
    pub cpu_us: BTreeMap<String, f64>,
    /// Length of the largest datagram that came back, its SOCKS5 header included.
    pub largest: usize,
}

/// Sends datagrams through `proxy` to the echo at `target` and waits for them to come back: at
/// most [`DATAGRAMS_UNDER_WAY`] at once, each with its number in it. Then tries how large one may
/// be.
///
/// # Errors
/// The proxy refuses, a watched process ends, or nothing comes back at all.
pub async fn measure(
    proxy: SocketAddr,
    login: Option<&Login>,
    target: SocketAddr,
    plan: &Plan,
    watched: &Roles,
) -> Result<Echoed> {
    let mut flow = Flow::open(proxy, login, target, plan).await?;
    // The first one opens the way: a session through the tunnel, a socket at the edge.
    flow.open_way().await?;
    let (start, before) = (Instant::now(), watched.cpu()?);
    flow.run(plan, start).await?;
    let (spent, elapsed) = (used(&before, &watched.cpu()?), start.elapsed());
    ensure!(flow.returned > 0, "no datagram came back");
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / flow.returned as f64;
    let cpu_us = spent
        .into_iter()
        .map(|(role, cpu)| (role, each(cpu)))
        .collect();
    let (sent, returned, wrong) = (flow.sent, flow.returned, flow.wrong);
    Ok(Echoed {
        sent,
        returned,
        wrong,
        seconds: elapsed.as_secs_f64(),
        cpu_us,
        largest: largest(&flow.association).await?,
    })
}

/// Numbered datagrams through one association.
struct Flow {
    association: Association,
    /// Whether the datagram of that number has come back.
    seen: Vec<bool>,
    sent: u64,
    returned: u64,
    wrong: u64,
    /// Datagrams that are not waited for any more.
    given_up: u64,
}

impl Flow {
    async fn open(
        proxy: SocketAddr,
        login: Option<&Login>,
        target: SocketAddr,
        plan: &Plan,
    ) -> Result<Self> {
        Ok(Self {
            association: Association::open(proxy, login, target).await?,
            seen: vec![false; usize::try_from(plan.count)?],
            sent: 0,
            returned: 0,
            wrong: 0,
            given_up: 0,
        })
    }

    /// One datagram there and back, which is not counted.
    async fn open_way(&self) -> Result<()> {
        for _ in 0..ATTEMPTS {
            self.association.send(b"open").await?;
            let answer = timeout(DATAGRAM_LOST_AFTER, self.association.receive());
            if let Ok(answer) = answer.await {
                return answer.map(drop);
            }
        }
        anyhow::bail!("no datagram comes back")
    }

    async fn run(&mut self, plan: &Plan, start: Instant) -> Result<()> {
        while self.sent < plan.count {
            while self.under_way() >= DATAGRAMS_UNDER_WAY {
                self.receive_one().await?;
            }
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let due = start + Duration::from_secs_f64(self.sent as f64 / plan.rate);
            self.receive_until(due).await?;
            let message = message(self.sent);
            self.association.send(&message).await?;
            self.sent += 1;
        }
        while self.under_way() > 0 {
            self.receive_one().await?;
        }
        Ok(())
    }

    fn under_way(&self) -> u64 {
        self.sent - (self.returned + self.given_up).min(self.sent)
    }

    /// Takes in what comes back before `due`.
    async fn receive_until(&mut self, due: Instant) -> Result<()> {
        if due <= Instant::now() {
            return Ok(());
        }
        loop {
            tokio::select! {
                datagram = self.association.receive() => {
                    let datagram = datagram?;
                    self.take(&datagram);
                }
                () = sleep_until(due) => return Ok(()),
            }
        }
    }

    /// Takes in the next one; where none comes, gives up all that are under way.
    async fn receive_one(&mut self) -> Result<()> {
        match timeout(DATAGRAM_LOST_AFTER, self.association.receive()).await {
            Ok(datagram) => {
                let datagram = datagram?;
                self.take(&datagram);
            }
            Err(_) => self.given_up += self.under_way(),
        }
        Ok(())
    }

    fn take(&mut self, datagram: &[u8]) {
        let number = datagram
            .first_chunk()
            .map(|bytes| u64::from_be_bytes(*bytes));
        let number = number.filter(|&number| number < self.sent && datagram == message(number));
        let place = number.and_then(|number| usize::try_from(number).ok());
        match place.and_then(|place| self.seen.get_mut(place)) {
            Some(seen) if !*seen => {
                *seen = true;
                self.returned += 1;
            }
            _ => self.wrong += 1,
        }
    }
}

/// The datagram of that number: the number, and then bytes that follow from it.
fn message(number: u64) -> [u8; ECHO_LEN] {
    let mut message = [0; ECHO_LEN];
    for (place, word) in message.chunks_exact_mut(8).enumerate() {
        let value = number.wrapping_mul(1 + 2 * place as u64);
        word.copy_from_slice(&value.to_be_bytes());
    }
    message
}

/// The largest of a series of datagrams that comes back, its header included: 0 if none does.
async fn largest(association: &Association) -> Result<usize> {
    let mut largest = 0;
    for len in SIZES {
        let payload: Vec<u8> = (0..=250).cycle().take(len - HEADER_V4).collect();
        for _ in 0..ATTEMPTS {
            association.send(&payload).await.context("a large one")?;
            let answer = timeout(DATAGRAM_LOST_AFTER / 4, association.receive()).await;
            if let Ok(answer) = answer
                && answer? == payload
            {
                largest = len;
                break;
            }
        }
        if largest != len {
            break;
        }
    }
    Ok(largest)
}

/// Lengths that are tried: a small one, an Ethernet frame's, a jumbo frame's, and the most that
/// IPv4 carries.
const SIZES: [usize; 5] = [512, 1_472, 8_972, 32_768, MAX_UDP_PAYLOAD];

/// Datagrams may be lost by right: how often one is tried before it is held against the proxy.
const ATTEMPTS: usize = 3;

#[cfg(test)]
mod tests {
    use super::{client::tests::Relay, *};
    use crate::target;

    async fn through(relay: Relay) -> Result<Echoed> {
        let ip = std::net::Ipv4Addr::LOCALHOST.into();
        let target = target::start(ip, None, None)?.datagrams;
        let proxy = relay.serve().await;
        let mut watched = Roles::default();
        watched.add("me", std::process::id());
        let plan = Plan {
            count: 1_000,
            rate: 20_000.0,
        };
        let login: Login = "perf:secret".parse()?;
        measure(proxy, Some(&login), target.unwrap(), &plan, &watched).await
    }

    #[tokio::test]
    async fn a_relay_that_loses_nothing() {
        let found = through(Relay::default()).await.unwrap();
        assert_eq!((found.sent, found.returned, found.wrong), (1_000, 1_000, 0));
        assert_eq!(found.largest, MAX_UDP_PAYLOAD);
        assert!(found.cpu_us["me"] > 0.0, "{found:?}");
        assert!(found.seconds >= 0.049, "the rate is kept: {found:?}");
    }

    #[tokio::test]
    async fn what_is_doubled_or_changed_is_wrong() {
        let relay = Relay {
            doubles_every: Some(10),
            ..Relay::default()
        };
        let found = through(relay).await.unwrap();
        assert_eq!(found.returned, 1_000);
        assert!((99..=100).contains(&found.wrong), "{found:?}");
    }

    #[tokio::test]
    async fn what_is_lost_is_not_waited_for_for_ever() {
        let relay = Relay {
            loses_every: Some(100),
            ..Relay::default()
        };
        let found = through(relay).await.unwrap();
        assert!((989..=990).contains(&found.returned), "{found:?}");
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_an_error() {
        let relay = Relay {
            refuses: true,
            ..Relay::default()
        };
        let error = through(relay).await.unwrap_err();
        assert!(format!("{error:#}").contains("not supported"), "{error:#}");
    }
}
