//! `titan token`: what operators and their programs are let in with.

use clap::{Args, Subcommand, ValueEnum};
use titan_proto::control::{AdminTokenCreate, AdminTokenCreated, AdminTokenView, Note, Scope};

use crate::{
    arguments::Time,
    client::{Client, Connection},
    output::{Format, or_dash, table, utc},
};

/// Make, list and revoke admin tokens.
#[derive(Debug, Args)]
pub(crate) struct TokenCommand {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token, and print it this once.
    Add {
        /// For whom or what it is.
        name: Note,
        /// What it opens.
        #[arg(long, value_enum, value_delimiter = ',', required = true)]
        scopes: Vec<ScopeArg>,
        /// From when on it opens nothing: 2027-01-31, 2027-01-31T12:00:00Z, +30days.
        #[arg(long, value_name = "TIME")]
        expires: Option<Time>,
    },
    /// List all tokens.
    List,
    /// Revoke a token.
    Revoke {
        /// The token's id, as the list shows it.
        id: String,
    },
}

/// [`Scope`], for the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ScopeArg {
    /// To see users, nodes, PoPs, enrolment keys and blocks.
    Read,
    /// To see and change users.
    Users,
    /// To see and change nodes, PoPs, enrolment keys and blocks.
    Nodes,
    /// Everything, admin tokens included.
    All,
}

impl TokenCommand {
    /// Does what was asked.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.connection)?;
        match self.action {
            Action::Add {
                name,
                scopes,
                expires,
            } => {
                let request = AdminTokenCreate {
                    name,
                    scopes: scopes.into_iter().map(Scope::from).collect(),
                    expires_at: expires.map(|time| time.0),
                };
                let token: AdminTokenCreated = client.post("/admin-tokens", &request).await?;
                self.format.print(&token, |token| token.secret.clone())
            }
            Action::List => {
                let tokens: Vec<AdminTokenView> = client.list("/admin-tokens").await?;
                self.format.print(tokens.as_slice(), list_text)
            }
            Action::Revoke { id } => {
                client.delete_item("/admin-tokens", &id).await?;
                self.format.confirm(&format!("token {id} revoked"))
            }
        }
    }
}

impl From<ScopeArg> for Scope {
    fn from(arg: ScopeArg) -> Self {
        match arg {
            ScopeArg::Read => Self::Read,
            ScopeArg::Users => Self::Users,
            ScopeArg::Nodes => Self::Nodes,
            ScopeArg::All => Self::All,
        }
    }
}

fn list_text(tokens: &[AdminTokenView]) -> String {
    let row = |token: &AdminTokenView| {
        let scopes = token.scopes.iter().map(|scope| scope.as_str());
        [
            token.id.clone(),
            or_dash(token.name.as_ref()),
            scopes.collect::<Vec<_>>().join(","),
            or_dash(token.expires_at.map(utc)),
            or_dash(token.last_used_at.map(utc)),
            utc(token.created_at),
        ]
    };
    let head = ["ID", "NAME", "SCOPES", "EXPIRES", "LAST USED", "CREATED"];
    table(head, tokens.iter().map(row))
}
