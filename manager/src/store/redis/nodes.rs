//! Nodes.

use titan_proto::control::{NodeId, PopId};

use super::{RedisStore, names::NODES, table::Change};
use crate::{
    error::StoreError,
    limits,
    store::{Node, Result},
};

impl RedisStore {
    pub(super) async fn add_node(&self, node: Node) -> Result<Node> {
        let id = node.id.to_string();
        // A node that is removed between the two steps is simply added.
        for _ in 0..limits::MAX_CHANGE_ATTEMPTS {
            if self.create(NODES, &id, &node).await? {
                return Ok(node);
            }
            let renew = |known: Node| {
                let renewed = Node {
                    region: node.region,
                    version: node.version.clone(),
                    ..known
                };
                Change::To(renewed.clone(), renewed)
            };
            if let Some(renewed) = self.change(NODES, &id, renew).await? {
                return Ok(renewed);
            }
        }
        Err(StoreError::Contended(id))
    }

    pub(super) async fn assign_node(&self, id: NodeId, pop: &PopId, version: &str) -> Result<bool> {
        let assign = |node: Node| match node.pop.as_ref() == Some(pop) && node.version == version {
            // Most edges come back to the same PoP: those cost no write.
            true => Change::Keep(()),
            false => {
                let (pop, version) = (Some(pop.clone()), version.to_owned());
                Change::To(
                    Node {
                        pop,
                        version,
                        ..node
                    },
                    (),
                )
            }
        };
        let found = self.change(NODES, &id.to_string(), assign).await?.is_some();
        if found {
            self.expect_tunnel(pop).await?;
        }
        Ok(found)
    }
}
