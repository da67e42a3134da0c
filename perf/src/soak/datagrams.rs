//! Datagrams of a soak, where the PoP relays them.

use std::time::Duration;

use anyhow::{Result, anyhow};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::time::{Instant, sleep, timeout};

use super::{
    ledger::{Fault, Kind},
    work::Shared,
};
use crate::{
    limits::{DATAGRAM_LOST_AFTER, POLL_INTERVAL, SOAK_CONNECTION, SOAK_MESSAGE, SOAK_SMALL},
    udp::Association,
    via::Via,
};

/// Whether the PoP relays datagrams.
///
/// # Errors
/// Why it does not.
pub(super) async fn available(shared: &Shared) -> Result<()> {
    associate(shared).await.map(drop)
}

async fn associate(shared: &Shared) -> Result<Association> {
    let Via::Socks5 { proxy, login } = &shared.via else {
        return Err(anyhow!("there is no SOCKS5 proxy"));
    };
    Association::open(*proxy, login.as_ref(), shared.site.datagrams).await
}

/// Makes one association after the other.
pub(super) async fn run(shared: Shared, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    while !*shared.stop.borrow() {
        shared.governor.admit(SOAK_CONNECTION).await;
        let id = shared.ledger.begin(Kind::Udp);
        let outcome = association(&shared, &mut rng).await;
        let failed = outcome.is_err();
        shared.ledger.end(id, outcome);
        if failed {
            sleep(POLL_INTERVAL).await;
        }
    }
}

/// A few seconds of datagrams, one under way at a time. One that is lost is only counted; one that
/// is changed is not forgiven.
async fn association(shared: &Shared, rng: &mut SmallRng) -> Result<(), Fault> {
    let association = associate(shared).await?;
    let over = Instant::now() + Duration::from_millis(rng.random_range(2_000..20_000));
    let mut number = 0u32;
    while Instant::now() < over && !*shared.stop.borrow() {
        shared.governor.admit(SOAK_SMALL).await;
        let len = rng.random_range(NUMBER..=SOAK_MESSAGE);
        let mut message = vec![0; len];
        rng.fill(&mut message[..]);
        number += 1;
        message[..NUMBER].copy_from_slice(&number.to_be_bytes());
        association.send(&message).await?;
        let answer = timeout(DATAGRAM_LOST_AFTER, answer(&association, number)).await;
        shared.ledger.datagram(answer.is_ok());
        if let Ok(answer) = answer
            && answer? != message
        {
            return Err(Fault::Mismatch("another datagram came back".into()));
        }
        sleep(Duration::from_millis(rng.random_range(5..100))).await;
    }
    Ok(())
}

/// The answer to that datagram; late ones to earlier ones are passed over.
async fn answer(association: &Association, number: u32) -> Result<bytes::Bytes> {
    loop {
        let datagram = association.receive().await?;
        if datagram.get(..NUMBER) != Some(&(number - 1).to_be_bytes()[..]) {
            return Ok(datagram);
        }
    }
}

/// Bytes of a datagram's number.
const NUMBER: usize = 4;
