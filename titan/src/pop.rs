//! `titan pop`: the ingress gateways.

use clap::{Args, Subcommand};
use titan_proto::control::{PopCreate, PopCreated, PopId, PopView, Region};

use crate::{
    client::{Client, Connection},
    output::{Format, or_dash, table},
};

/// Register, list and remove PoPs.
#[derive(Debug, Args)]
pub(crate) struct PopCommand {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Register a PoP, and print its credential this once.
    Add {
        /// The PoP's name: lower-case letters, digits and -
        id: PopId,
        /// Nodes of this region prefer it: an ISO 3166-1 code of two letters.
        #[arg(long)]
        region: Option<Region>,
    },
    /// List all PoPs.
    List,
    /// Remove a PoP: its credential is worthless at once.
    Remove {
        /// The PoP.
        id: PopId,
    },
}

impl PopCommand {
    /// Does what was asked.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.connection)?;
        match self.action {
            Action::Add { id, region } => {
                let request = PopCreate { id, region };
                let created: PopCreated = client.post("/pops", &request).await?;
                self.format
                    .print(&created, |created| created.credential.clone())
            }
            Action::List => {
                let pops: Vec<PopView> = client.list("/pops").await?;
                self.format.print(pops.as_slice(), list_text)
            }
            Action::Remove { id } => {
                client.delete(&format!("/pops/{id}")).await?;
                self.format.confirm(&format!("PoP {id} removed"))
            }
        }
    }
}

fn list_text(pops: &[PopView]) -> String {
    let head = [
        "ID",
        "STATE",
        "REGION",
        "TUNNELS",
        "SESSIONS",
        "PROXY",
        "TUNNEL URL",
        "VERSION",
    ];
    let row = |pop: &PopView| {
        [
            pop.id.to_string(),
            if pop.online { "online" } else { "offline" }.into(),
            or_dash(pop.region),
            pop.tunnels.to_string(),
            pop.sessions.to_string(),
            or_dash(pop.proxy_addr.as_ref()),
            or_dash(pop.tunnel_url.as_ref()),
            or_dash(pop.version.as_ref()),
        ]
    };
    table(head, pops.iter().map(row))
}
