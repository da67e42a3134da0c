//! The program `titan-manager` on a real Redis: outages, several managers, migration, TLS.

// Each test binary uses a part of what it offers.
#[allow(dead_code)]
#[path = "../../src/store/redis/servers.rs"]
mod servers;

mod edge;
mod migration;
mod outage;
mod process;
mod shared;
mod startup;
mod tls;
