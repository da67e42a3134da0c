//! `titan node`: the edges, and what they enrol with.

use std::io::Write;

use clap::{Args, Subcommand};
use titan_proto::control::{
    EnrolmentKeyCreate, EnrolmentKeyCreated, NodeId, NodeView, PopId, Region,
};

use crate::{
    client::{Client, Connection},
    output::{Format, or_dash, table, utc},
};

/// List, kick and remove nodes, and make the keys they enrol with.
#[derive(Debug, Args)]
pub(crate) struct NodeCommand {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List nodes.
    List(Filter),
    /// Print nodes as CSV.
    Export(Filter),
    /// Remove a node: it gets no more tokens unless it enrols again.
    Remove {
        /// The node.
        id: NodeId,
    },
    /// Send a node away: its tunnels and their sessions end. It may come back at once.
    Kick {
        /// The node.
        id: NodeId,
    },
    /// Make an enrolment key, and print it this once.
    Key {
        /// Region of the nodes that enrol with it: an ISO 3166-1 code of two letters.
        #[arg(long)]
        region: Option<Region>,
    },
}

#[derive(Debug, Args)]
struct Filter {
    /// Only nodes that a PoP holds a tunnel to, or only the others.
    #[arg(long, value_name = "BOOL")]
    online: Option<bool>,
    /// Only nodes of this region.
    #[arg(long)]
    region: Option<Region>,
    /// Only nodes of this PoP.
    #[arg(long)]
    pop: Option<PopId>,
    /// Only nodes whose program has this version.
    #[arg(long, value_name = "TEXT")]
    version: Option<String>,
}

impl Filter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let online = self.online.map(|online| ("online", online.to_string()));
        let region = self.region.map(|region| ("region", region.to_string()));
        let pop = self.pop.as_ref().map(|pop| ("pop", pop.to_string()));
        let version = self.version.clone().map(|version| ("version", version));
        [online, region, pop, version]
            .into_iter()
            .flatten()
            .collect()
    }
}

impl NodeCommand {
    /// Does what was asked.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.connection)?;
        match self.action {
            Action::List(filter) => {
                let nodes: Vec<NodeView> = client.list_where("/nodes", &filter.query()).await?;
                self.format.print(nodes.as_slice(), list_text)
            }
            Action::Export(filter) => {
                let mut table = client.export("/nodes", &filter.query(), "text/csv").await?;
                while let Some(rows) = table.chunk().await? {
                    std::io::stdout().lock().write_all(&rows)?;
                }
                Ok(())
            }
            Action::Remove { id } => {
                client.delete(&format!("/nodes/{id}")).await?;
                self.format.confirm(&format!("node {id} removed"))
            }
            Action::Kick { id } => {
                client.post_empty(&format!("/nodes/{id}/kick")).await?;
                self.format.confirm(&format!("node {id} kicked"))
            }
            Action::Key { region } => {
                let request = EnrolmentKeyCreate { region };
                let key: EnrolmentKeyCreated = client.post("/enrolment-keys", &request).await?;
                self.format.print(&key, |key| key.secret.clone())
            }
        }
    }
}

fn list_text(nodes: &[NodeView]) -> String {
    let head = [
        "ID", "STATE", "REGION", "POP", "ADDRESS", "VERSION", "ENROLLED",
    ];
    let row = |node: &NodeView| {
        [
            node.id.to_string(),
            if node.online { "online" } else { "offline" }.into(),
            or_dash(node.region),
            or_dash(node.pop.as_ref()),
            or_dash(node.address),
            node.version.clone(),
            utc(node.enrolled_at),
        ]
    };
    table(head, nodes.iter().map(row))
}
