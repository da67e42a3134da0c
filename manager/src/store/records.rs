//! What is stored, as opposed to what travels (`titan_proto::control`).

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use titan_proto::control::{
    LabelsUpdate, LimitsUpdate, NodeId, Note, PopId, Region, ReplyMode, Scope, UserLimits, UserName,
};

use super::{ChangeError, Labels, Package, PackageChange};

/// Seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct UnixTime(pub(crate) u64);

impl UnixTime {
    /// The time by this machine's clock.
    pub(crate) fn now() -> Self {
        Self(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        )
    }
}

/// SHA-256 of a secret with 256 random bits. Such secrets cannot be guessed, so that a fast hash
/// without salt keeps them as safe as a slow one would.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct SecretHash([u8; 32]);

impl SecretHash {
    /// Wraps a digest.
    pub(crate) const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

/// Takes the same time wherever the two differ.
impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}
impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> String {
        hex::encode(hash.0)
    }
}

impl TryFrom<String> for SecretHash {
    type Error = hex::FromHexError;
    fn try_from(text: String) -> Result<Self, hex::FromHexError> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest)?;
        Ok(Self(digest))
    }
}

/// A user who may use the proxies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// The name to log in with.
    pub(crate) name: UserName,
    /// Unique among all states of users of this name, and rising.
    pub(crate) version: u64,
    /// Argon2id in PHC string form.
    pub(crate) password_hash: String,
    /// Whether the user may connect.
    pub(crate) enabled: bool,
    /// How the user's connections are answered; absent: as each PoP's operator set.
    pub(crate) reply_mode: Option<ReplyMode>,
    /// What the user may do at once.
    #[serde(default)]
    pub(crate) limits: UserLimits,
    /// What the operator notes about the user.
    #[serde(default)]
    pub(crate) labels: Labels,
    /// The traffic the user may relay; absent: any.
    #[serde(default)]
    pub(crate) package: Option<Package>,
    /// When the user was created.
    pub(crate) created_at: UnixTime,
}

/// A user to be created; the store gives it its version.
#[derive(Debug, Clone)]
pub(crate) struct NewUser {
    /// See [`User::name`].
    pub(crate) name: UserName,
    /// See [`User::password_hash`].
    pub(crate) password_hash: String,
    /// See [`User::enabled`].
    pub(crate) enabled: bool,
    /// See [`User::reply_mode`].
    pub(crate) reply_mode: Option<ReplyMode>,
    /// See [`User::limits`].
    pub(crate) limits: UserLimits,
    /// See [`User::labels`].
    pub(crate) labels: Labels,
    /// See [`User::package`].
    pub(crate) package: Option<Package>,
    /// See [`User::created_at`].
    pub(crate) created_at: UnixTime,
}

impl NewUser {
    /// The user with the version that the store chose.
    pub(crate) fn with_version(self, version: u64) -> User {
        let Self {
            name,
            password_hash,
            enabled,
            reply_mode,
            limits,
            labels,
            package,
            created_at,
        } = self;
        User {
            name,
            version,
            password_hash,
            enabled,
            reply_mode,
            limits,
            labels,
            package,
            created_at,
        }
    }
}

/// What is to be different about a user; absent fields stay.
#[derive(Debug, Clone, Default)]
pub(crate) struct UserChange {
    /// See [`User::password_hash`].
    pub(crate) password_hash: Option<String>,
    /// See [`User::enabled`].
    pub(crate) enabled: Option<bool>,
    /// See [`User::reply_mode`].
    pub(crate) reply_mode: Option<Option<ReplyMode>>,
    /// See [`User::limits`]; `Some(None)`: none.
    pub(crate) limits: Option<Option<LimitsUpdate>>,
    /// See [`User::labels`]; `Some(None)`: none.
    pub(crate) labels: Option<Option<LabelsUpdate>>,
    /// See [`User::package`].
    pub(crate) package: Option<PackageChange>,
}

/// What became of a change to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UserUpdated {
    /// The user as it is now.
    Done(User),
    /// There is no such user.
    Missing,
    /// The user has another version than expected, this one.
    Conflict(u64),
    /// The user stays as it is: the change makes no sense for it.
    Refused(ChangeError),
}

/// A node (edge) that has enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    /// Derived from `public_key`.
    pub(crate) id: NodeId,
    /// The node's Ed25519 key.
    #[serde(with = "hex::serde")]
    pub(crate) public_key: [u8; 32],
    /// Region of the enrolment key it used.
    pub(crate) region: Option<Region>,
    /// Version of its program when it last asked for a PoP.
    pub(crate) version: String,
    /// When it enrolled first.
    pub(crate) enrolled_at: UnixTime,
    /// The PoP it was last sent to.
    pub(crate) pop: Option<PopId>,
}

/// A PoP that an operator registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pop {
    /// Its name.
    pub(crate) id: PopId,
    /// Nodes of this region prefer it.
    pub(crate) region: Option<Region>,
    /// What it authenticates with.
    pub(crate) credential: SecretHash,
    /// When it was registered.
    pub(crate) created_at: UnixTime,
}

/// A key with which nodes enrol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EnrolmentKey {
    /// Public handle.
    pub(crate) id: String,
    /// The secret part.
    pub(crate) secret: SecretHash,
    /// Region of the nodes that use it.
    pub(crate) region: Option<Region>,
    /// When it was made.
    pub(crate) created_at: UnixTime,
}

/// A token that opens some or all of what an operator may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AdminToken {
    /// Public handle.
    pub(crate) id: String,
    /// The secret part.
    pub(crate) secret: SecretHash,
    /// For whom or what it is.
    #[serde(default)]
    pub(crate) name: Option<Note>,
    /// What it opens.
    #[serde(default = "every_scope")]
    pub(crate) scopes: BTreeSet<Scope>,
    /// When it was made.
    pub(crate) created_at: UnixTime,
    /// From when on it opens nothing.
    #[serde(default)]
    pub(crate) expires_at: Option<UnixTime>,
    /// When it was last used, more or less.
    #[serde(default)]
    pub(crate) last_used_at: Option<UnixTime>,
}

impl AdminToken {
    /// Whether operators can rely on it to get at everything else.
    pub(crate) fn opens_all_for_ever(&self) -> bool {
        self.scopes.contains(&Scope::All) && self.expires_at.is_none()
    }
}

/// Tokens without scopes in their record were made when there were none.
fn every_scope() -> BTreeSet<Scope> {
    BTreeSet::from([Scope::All])
}

/// What became of something to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is there.
    Done,
    /// Its id belongs to another.
    Taken,
    /// There are as many as may be.
    Full,
}

/// What became of an admin token to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenRemoved {
    /// It is gone.
    Done,
    /// There is no such token.
    Missing,
    /// It stays: no other opens everything for ever.
    Last,
}

/// What a PoP last said about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PopPresence {
    /// Where edges dial it.
    pub(crate) tunnel_url: String,
    /// Where customers reach its proxy port.
    pub(crate) proxy_addr: String,
    /// Version of its program.
    pub(crate) version: String,
    /// Region of its registration.
    pub(crate) region: Option<Region>,
    /// Tunnels it holds, and nodes sent to it since it said so.
    pub(crate) tunnels: u32,
    /// Sessions it carries.
    pub(crate) sessions: u32,
    /// Whether it takes new nodes.
    pub(crate) accepting: bool,
}

/// One heartbeat, as the store takes it in.
#[derive(Debug, Clone)]
pub(crate) struct Heartbeat {
    /// Random number of this run of the PoP.
    pub(crate) boot_id: String,
    /// Number of the heartbeat within this run.
    pub(crate) sequence: u64,
    /// What the PoP says about itself.
    pub(crate) presence: PopPresence,
    /// Whether `connected` is the whole list.
    pub(crate) full: bool,
    /// Nodes that are connected now.
    pub(crate) connected: Vec<(NodeId, IpAddr)>,
    /// Nodes that are not connected any more.
    pub(crate) disconnected: Vec<NodeId>,
}

/// What became of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeartbeatOutcome {
    /// The store holds all that the PoP told.
    Applied,
    /// The store lacks what came before: the next heartbeat must be full.
    Resync,
    /// A later heartbeat of the same run has been taken in already; this one changed nothing.
    Stale,
}

/// A PoP that is online.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LivePop {
    /// Its name.
    pub(crate) id: PopId,
    /// What it last said.
    pub(crate) presence: PopPresence,
}

/// Where a node is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeLocation {
    /// The PoP that holds its tunnel.
    pub(crate) pop: PopId,
    /// The address the tunnel comes from.
    pub(crate) address: IpAddr,
}

/// What became of a claim to a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NonceClaim {
    /// It is the caller's, and nobody else's.
    Granted,
    /// It was claimed before.
    Used,
    /// The store remembers as many as it may; try again when some have expired.
    Full,
}
