//! `titan user`: who may use the proxies.

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};
use titan_proto::control::{
    LimitsUpdate, ReplyMode, UserCreate, UserCreated, UserName, UserUpdate, UserView,
};

use crate::{
    client::{Client, Connection},
    output::{Format, fields, table, utc},
};

/// Add, list, show, change and remove users.
#[derive(Debug, Args)]
pub(crate) struct UserCommand {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    format: Format,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a user. Without --password one is made, and printed this once.
    Add {
        /// The name to log in with: letters, digits and . _ @ +
        name: UserName,
        /// The password, 8 to 255 bytes.
        #[arg(long)]
        password: Option<String>,
        /// Let the user connect only after `titan user set NAME --enabled true`.
        #[arg(long)]
        disabled: bool,
        /// When the user's clients are told that they are connected.
        #[arg(long, value_enum, default_value_t)]
        reply_mode: ReplyModeArg,
    },
    /// List all users.
    List,
    /// Show a user.
    Show {
        /// The user.
        name: UserName,
    },
    /// Change a user; what is not named stays.
    Set(Change),
    /// Remove a user.
    Remove {
        /// The user.
        name: UserName,
    },
}

#[derive(Debug, Args)]
struct Change {
    /// The user.
    name: UserName,
    #[command(flatten)]
    what: What,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct What {
    /// A new password, 8 to 255 bytes.
    #[arg(long)]
    password: Option<String>,
    /// Whether the user may connect.
    #[arg(long, value_name = "BOOL")]
    enabled: Option<bool>,
    /// When the user's clients are told that they are connected.
    #[arg(long, value_enum)]
    reply_mode: Option<ReplyModeArg>,
}

/// [`ReplyMode`], and the wish for none.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum ReplyModeArg {
    /// As each PoP's operator set.
    #[default]
    Default,
    /// As soon as an edge has been picked.
    Optimistic,
    /// When the edge has connected to the target.
    Confirmed,
}

impl UserCommand {
    /// Does what was asked.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.connection)?;
        match self.action {
            Action::Add {
                name,
                password,
                disabled,
                reply_mode,
            } => {
                let enabled = !disabled;
                let user = UserCreate {
                    name,
                    password,
                    enabled,
                    reply_mode: reply_mode.into(),
                    limits: LimitsUpdate::default(),
                    labels: BTreeMap::new(),
                    package: None,
                };
                let created: UserCreated = client.post("/users", &user).await?;
                self.format.print(&created, created_text)
            }
            Action::List => {
                let users: Vec<UserView> = client.list("/users").await?;
                self.format.print(users.as_slice(), list_text)
            }
            Action::Show { name } => {
                let user: UserView = client.get(&path(&name)).await?;
                self.format.print(&user, show_text)
            }
            Action::Set(Change { name, what }) => {
                let update = UserUpdate::from(what);
                let user: UserView = client.patch(&path(&name), &update).await?;
                self.format.print(&user, show_text)
            }
            Action::Remove { name } => {
                client.delete(&path(&name)).await?;
                self.format.confirm(&format!("user {name} removed"))
            }
        }
    }
}

impl From<ReplyModeArg> for Option<ReplyMode> {
    fn from(arg: ReplyModeArg) -> Self {
        match arg {
            ReplyModeArg::Default => None,
            ReplyModeArg::Optimistic => Some(ReplyMode::Optimistic),
            ReplyModeArg::Confirmed => Some(ReplyMode::Confirmed),
        }
    }
}

impl From<What> for UserUpdate {
    fn from(what: What) -> Self {
        let What {
            password,
            enabled,
            reply_mode,
        } = what;
        Self {
            password,
            enabled,
            reply_mode: reply_mode.map(Into::into),
            ..Self::default()
        }
    }
}

/// The alphabet of names needs no escaping in a path.
fn path(name: &UserName) -> String {
    format!("/users/{name}")
}

fn created_text(created: &UserCreated) -> String {
    let name = &created.user.name;
    match &created.password {
        Some(password) => format!("user {name} added, with the password\n{password}"),
        None => format!("user {name} added"),
    }
}

fn list_text(users: &[UserView]) -> String {
    let row = |user: &UserView| {
        [
            user.name.to_string(),
            state(user).into(),
            reply_mode(user).into(),
            utc(user.created_at),
        ]
    };
    table(
        ["NAME", "STATE", "REPLY MODE", "CREATED"],
        users.iter().map(row),
    )
}

fn show_text(user: &UserView) -> String {
    fields([
        ("name", user.name.to_string()),
        ("state", state(user).into()),
        ("reply mode", reply_mode(user).into()),
        ("created", utc(user.created_at)),
        ("version", user.version.to_string()),
    ])
}

fn state(user: &UserView) -> &'static str {
    if user.enabled { "enabled" } else { "disabled" }
}

fn reply_mode(user: &UserView) -> &'static str {
    match user.reply_mode {
        None => "default",
        Some(ReplyMode::Optimistic) => "optimistic",
        Some(ReplyMode::Confirmed) => "confirmed",
    }
}
