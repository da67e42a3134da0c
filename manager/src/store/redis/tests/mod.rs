//! The store contract on Redis, and what is its own.

mod contract;
mod documented;
mod events;
mod faults;
mod presence;
mod usage;

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use super::{
    servers::{Cluster, Server},
    *,
};
use crate::config::{KeyPrefix, StoreUrl};

/// The server that all tests of this process share, each with keys of its own.
static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start("appendonly yes"));
/// The Cluster that all tests of this process share; patient, where the machine is busy.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(Duration::from_secs(10)));

/// The URL of a store that nobody has used before.
fn fresh(url: &str) -> RedisUrl {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    let prefix: KeyPrefix = format!("t{}:", TESTS.fetch_add(1, Ordering::Relaxed))
        .parse()
        .expect("a prefix");
    let Ok(StoreUrl::Redis(url)) = url.parse() else {
        panic!("{url} is no Redis")
    };
    RedisUrl { prefix, ..url }
}
