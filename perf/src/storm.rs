//! Many edges whose tunnels are cut at one moment, and who all come back.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::Serialize;
use tokio::time::sleep;

use crate::{
    fleet::{Fleet, Manager},
    limits::{REQUESTS_AT_A_TIME, STOP_TIMEOUT, UNITS_PER_HOLDER},
    load::Latency,
    sample::{Roles, used},
};

/// How a storm went.
#[derive(Debug, Clone, Serialize)]
pub struct Storm {
    /// Edges.
    pub edges: usize,
    /// Seconds from the cut until the last edge was back.
    pub seconds: f64,
    /// When each edge was back.
    pub latency: Latency,
    /// Attempts that failed, at the manager or at the PoP.
    pub retries: u64,
    /// CPU of each role, in microseconds for each edge.
    pub cpu_us_per_edge: BTreeMap<String, f64>,
}

/// Enrols `edges`, connects them, cuts every tunnel and lets all come back at once: challenge,
/// assignment, dial, upgrade, HELLO.
///
/// # Errors
/// The manager refuses an edge, or there are more than one process can hold.
pub async fn run(manager_url: &str, key: &str, edges: usize, watched: &Roles) -> Result<Storm> {
    ensure!(
        edges <= UNITS_PER_HOLDER,
        "at most {UNITS_PER_HOLDER} edges"
    );
    let manager = Manager::new(manager_url)?;
    let mut fleet = Fleet::enrol(manager, key, 0, edges).await?;
    fleet.connect(REQUESTS_AT_A_TIME).await?;
    fleet.cut().await;
    // The PoP has seen every end before anybody comes back.
    sleep(STOP_TIMEOUT).await;
    let before = watched.cpu()?;
    let round = fleet.connect(edges).await?;
    let spent = used(&before, &watched.cpu()?);
    #[expect(clippy::cast_precision_loss, reason = "at most thousands")]
    let each = |cpu: std::time::Duration| cpu.as_secs_f64() * 1e6 / edges as f64;
    Ok(Storm {
        edges,
        seconds: round.elapsed.as_secs_f64(),
        latency: round.latency,
        retries: round.retries,
        cpu_us_per_edge: spent
            .into_iter()
            .map(|(role, cpu)| (role, each(cpu)))
            .collect(),
    })
}
