//! `titan block`: nodes and networks that the manager turns away.

use clap::{Args, Subcommand};
use titan_proto::control::{BlockCreate, BlockTarget, BlockView, Note};

use crate::{
    arguments::parse_target,
    client::{Client, Connection},
    output::{Format, or_dash, table, utc},
};

/// Block nodes and the networks they come from.
#[derive(Debug, Args)]
pub(crate) struct BlockCommand {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Block a node or a network: it gets no enrolment and no PoP.
    Add {
        /// A node's id, an address, or a network in CIDR notation.
        #[arg(value_parser = parse_target)]
        target: BlockTarget,
        /// Why, for other operators.
        #[arg(long, value_name = "TEXT")]
        reason: Option<Note>,
    },
    /// List all blocks.
    List,
    /// Lift a block.
    Remove {
        /// The block's id, as the list shows it.
        id: String,
    },
}

impl BlockCommand {
    /// Does what was asked.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.connection)?;
        match self.action {
            Action::Add { target, reason } => {
                let request = BlockCreate { target, reason };
                let block: BlockView = client.post("/blocks", &request).await?;
                self.format
                    .print(&block, |block| format!("block {} made", block.id))
            }
            Action::List => {
                let blocks: Vec<BlockView> = client.list("/blocks").await?;
                self.format.print(blocks.as_slice(), list_text)
            }
            Action::Remove { id } => {
                client.delete_item("/blocks", &id).await?;
                self.format.confirm(&format!("block {id} lifted"))
            }
        }
    }
}

fn list_text(blocks: &[BlockView]) -> String {
    let row = |block: &BlockView| {
        let target = match block.target {
            BlockTarget::Node(node) => node.to_string(),
            BlockTarget::Address(net) => net.to_string(),
        };
        [
            block.id.clone(),
            target,
            or_dash(block.reason.as_ref()),
            utc(block.created_at),
        ]
    };
    table(
        ["ID", "TARGET", "REASON", "CREATED"],
        blocks.iter().map(row),
    )
}
