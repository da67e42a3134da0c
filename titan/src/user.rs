//! `titan user`: who may use the proxies.

use clap::{Args, Subcommand, ValueEnum};
use titan_proto::control::{
    LabelName, PackageRenewal, ReplyMode, UserCreate, UserCreated, UserName, UserUpdate, UserView,
};

use crate::{
    arguments::{Bytes, Time},
    client::{Client, Connection},
    output::{Format, fields, table, utc},
    terms::{Terms, labels_text, left_text, limits_text, package_text, until_text},
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
    Add(New),
    /// List users.
    List(Filter),
    /// Show a user.
    Show {
        /// The user.
        name: UserName,
    },
    /// Change a user; what is not named stays.
    Set(Change),
    /// Add to a user's package: bytes to what is left of it, time to its end.
    Renew(Renewal),
    /// Start a user's package anew: nothing of it is used up any more.
    Reset {
        /// The user.
        name: UserName,
    },
    /// Remove a user.
    Remove {
        /// The user.
        name: UserName,
    },
}

#[derive(Debug, Args)]
struct New {
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
    #[command(flatten)]
    terms: Terms,
}

#[derive(Debug, Args)]
struct Filter {
    /// Only users with this label, NAME or NAME=VALUE.
    #[arg(long)]
    label: Option<String>,
    /// Only users who may connect, or only those who may not.
    #[arg(long, value_name = "BOOL")]
    enabled: Option<bool>,
    /// Only users whose name begins like this.
    #[arg(long, value_name = "TEXT")]
    prefix: Option<UserName>,
}

#[derive(Debug, Args)]
struct Change {
    /// The user.
    name: UserName,
    #[command(flatten)]
    what: What,
}

#[derive(Debug, Args)]
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
    #[command(flatten)]
    terms: Terms,
    /// A label to remove; may be repeated.
    #[arg(long, value_name = "NAME")]
    unlabel: Vec<LabelName>,
    /// Take the user's package away: any traffic, at any time.
    #[arg(long, conflicts_with_all = ["from", "until", "bytes"])]
    no_package: bool,
}

#[derive(Debug, Args)]
struct Renewal {
    /// The user.
    name: UserName,
    /// Bytes to add, as in 10GB.
    #[arg(long, value_name = "SIZE", required_unless_present = "until")]
    bytes: Option<Bytes>,
    /// The package's new end: 2027-01-31, 2027-01-31T12:00:00Z, +30days.
    #[arg(long, value_name = "TIME")]
    until: Option<Time>,
    /// Name of this renewal, such as the number of an order: with the same one it counts once, even if
    /// the command is given again within a day.
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
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
            Action::Add(new) => {
                let created: UserCreated = client.post("/users", &new.into_request()?).await?;
                self.format.print(&created, created_text)
            }
            Action::List(filter) => {
                let users: Vec<UserView> = client.list_where("/users", &filter.query()).await?;
                self.format.print(users.as_slice(), list_text)
            }
            Action::Show { name } => {
                let user: UserView = client.get(&path(&name)).await?;
                self.format.print(&user, show_text)
            }
            Action::Set(Change { name, what }) => {
                let update = what.into_request()?;
                let user: UserView = client.patch(&path(&name), &update).await?;
                self.format.print(&user, show_text)
            }
            Action::Renew(renewal) => {
                let (path, key) = (
                    format!("{}/package", path(&renewal.name)),
                    renewal.key.clone(),
                );
                let user: UserView = client
                    .post_once(&path, key, &renewal.into_request())
                    .await?;
                self.format.print(&user, show_text)
            }
            Action::Reset { name } => {
                let path = format!("{}/package/reset", path(&name));
                let user: UserView = client.post(&path, &()).await?;
                self.format.print(&user, show_text)
            }
            Action::Remove { name } => {
                client.delete(&path(&name)).await?;
                self.format.confirm(&format!("user {name} removed"))
            }
        }
    }
}

impl New {
    fn into_request(self) -> anyhow::Result<UserCreate> {
        Ok(UserCreate {
            name: self.name,
            password: self.password,
            enabled: !self.disabled,
            reply_mode: self.reply_mode.into(),
            limits: self.terms.limits()?,
            labels: self.terms.labels(),
            package: self.terms.package(),
        })
    }
}

impl Filter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let label = self.label.clone().map(|label| ("label", label));
        let enabled = self.enabled.map(|enabled| ("enabled", enabled.to_string()));
        let prefix = self
            .prefix
            .as_ref()
            .map(|prefix| ("prefix", prefix.to_string()));
        [label, enabled, prefix].into_iter().flatten().collect()
    }
}

impl What {
    fn into_request(self) -> anyhow::Result<UserUpdate> {
        let limits = self.terms.limits()?;
        let mut labels = self.terms.label_changes();
        labels.extend(self.unlabel.into_iter().map(|name| (name, None)));
        let package = match self.no_package {
            true => Some(None),
            false => self.terms.package_changes().map(Some),
        };
        let update = UserUpdate {
            password: self.password,
            enabled: self.enabled,
            reply_mode: self.reply_mode.map(Into::into),
            limits: (limits != Default::default()).then_some(Some(limits)),
            labels: (!labels.is_empty()).then_some(Some(labels)),
            package,
        };
        if update == UserUpdate::default() {
            anyhow::bail!("nothing to change was named; see `titan user set --help`");
        }
        Ok(update)
    }
}

impl Renewal {
    fn into_request(self) -> PackageRenewal {
        PackageRenewal {
            bytes: self.bytes.map(|bytes| bytes.0.get()),
            until: self.until.map(|time| time.0),
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
            left_text(user),
            until_text(user),
            labels_text(user),
            utc(user.created_at),
        ]
    };
    let head = [
        "NAME",
        "STATE",
        "REPLY MODE",
        "LEFT",
        "UNTIL",
        "LABELS",
        "CREATED",
    ];
    table(head, users.iter().map(row))
}

fn show_text(user: &UserView) -> String {
    fields([
        ("name", user.name.to_string()),
        ("state", state(user).into()),
        ("reply mode", reply_mode(user).into()),
        ("limits", limits_text(&user.limits)),
        ("package", package_text(user.package.as_ref())),
        ("labels", labels_text(user)),
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
