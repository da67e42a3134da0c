//! The contract, on one server and on a Cluster.

use std::sync::Arc;

use super::{documented::Inventory, *};
use crate::store::contract::{Fixture, contract_tests};

/// A store of its own on a shared Redis, in real time.
struct Shared {
    store: Arc<RedisStore>,
    inventory: Inventory,
}

impl Shared {
    async fn on_server() -> Self {
        Self::new(fresh(&SERVER.url()), &[&SERVER]).await
    }

    async fn on_cluster() -> Self {
        Self::new(
            fresh(&CLUSTER.url()),
            &CLUSTER.nodes.iter().collect::<Vec<_>>(),
        )
        .await
    }

    async fn new(url: RedisUrl, servers: &[&Server]) -> Self {
        Self {
            store: Arc::new(RedisStore::open(&url).await.expect("a store")),
            inventory: Inventory::of(&url.prefix, servers),
        }
    }
}

impl Fixture for Shared {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn advance(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn inspect(&self) {
        self.inventory.check().await;
    }
}

mod server {
    use super::*;
    contract_tests!(Shared::on_server().await, #[tokio::test]);
}

mod cluster {
    use super::*;
    contract_tests!(Shared::on_cluster().await, #[tokio::test]);
}
