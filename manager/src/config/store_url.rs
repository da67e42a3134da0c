//! Where the manager's state is kept, as one text.

use std::{fmt, path::PathBuf, str::FromStr};

use clap::{
    builder::{TypedValueParser, ValueParserFactory},
    error::ErrorKind,
};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::ConfigError;

/// Port of a Redis server and of a cluster's node where the URL names none.
const REDIS_PORT: u16 = 6379;
/// Port of a Sentinel where the URL names none.
const SENTINEL_PORT: u16 = 26379;

/// Where the manager's state is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum StoreUrl {
    /// `embedded:PATH`: one file on this machine, used by one manager at a time.
    Embedded(PathBuf),
    /// `redis://…` and its like: a Redis, used by any number of managers.
    Redis(RedisUrl),
}

/// A Redis: one server, one that Sentinels watch, or a Cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// What answers at `hosts`.
    pub kind: RedisKind,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// Host names or addresses with ports: at least one, and only one for [`RedisKind::Server`].
    pub hosts: Vec<(String, u16)>,
    /// Number of the database; a Cluster has only 0.
    pub database: i64,
    /// Name of the ACL user to log in as; absent: `default`.
    pub user: Option<String>,
    /// What to log in with.
    pub password: Option<RedisPassword>,
    /// The CA certificates to trust, in PEM; absent: those of the system.
    pub ca: Option<Vec<u8>>,
    /// What every key begins with.
    pub prefix: KeyPrefix,
}

/// What kind of Redis it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisKind {
    /// `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`
    Server,
    /// `redis-sentinel://[USER:PASSWORD@]HOST[:PORT],…/MASTER[/DATABASE]`
    Sentinel {
        /// Name under which the Sentinels know the servers.
        master: String,
    },
    /// `redis-cluster://[USER:PASSWORD@]HOST[:PORT],…`
    Cluster,
}

/// A password, shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisPassword(String);

impl RedisPassword {
    /// Wraps a password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password itself.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RedisPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisPassword(…)")
    }
}

/// What every key begins with: at most 64 of `A–Z a–z 0–9 . _ : -`.
///
/// Braces are not among them, because they choose the slot of a key in a Cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyPrefix(String);

impl KeyPrefix {
    const MAX_LEN: usize = 64;

    /// The prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for KeyPrefix {
    fn default() -> Self {
        Self("titan:".into())
    }
}

impl FromStr for KeyPrefix {
    type Err = ConfigError;
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let allows = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        if text.len() > Self::MAX_LEN || !text.chars().all(allows) {
            let message = "redis_prefix has at most 64 letters, digits and . _ : -";
            return Err(ConfigError::Value(message.into()));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for KeyPrefix {
    type Error = ConfigError;
    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl FromStr for StoreUrl {
    type Err = ConfigError;
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if let Some(path) = text.strip_prefix("embedded:") {
            return match path {
                "" => Err(malformed("embedded: lacks the path of a file")),
                path => Ok(Self::Embedded(path.into())),
            };
        }
        // The text itself is not repeated: it may hold a password.
        let (scheme, rest) = text.split_once("://").ok_or_else(unknown_scheme)?;
        let (kind, tls) = match scheme {
            "redis" | "rediss" => (Kind::Server, scheme == "rediss"),
            "redis-sentinel" | "rediss-sentinel" => (Kind::Sentinel, scheme == "rediss-sentinel"),
            "redis-cluster" | "rediss-cluster" => (Kind::Cluster, scheme == "rediss-cluster"),
            _ => return Err(unknown_scheme()),
        };
        parse_redis(kind, tls, rest).map(Self::Redis)
    }
}

impl TryFrom<String> for StoreUrl {
    type Error = ConfigError;
    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

/// Without the password.
impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(path) => write!(f, "embedded:{}", path.display()),
            Self::Redis(url) => url.fmt(f),
        }
    }
}

/// Without the password.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.kind {
            RedisKind::Server => "",
            RedisKind::Sentinel { .. } => "-sentinel",
            RedisKind::Cluster => "-cluster",
        };
        write!(f, "redis{}{kind}://", if self.tls { "s" } else { "" })?;
        let hosts = self
            .hosts
            .iter()
            .map(|(host, port)| match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            });
        f.write_str(&hosts.collect::<Vec<_>>().join(","))?;
        match &self.kind {
            RedisKind::Server => write!(f, "/{}", self.database),
            RedisKind::Sentinel { master } => write!(f, "/{master}/{}", self.database),
            RedisKind::Cluster => Ok(()),
        }
    }
}

/// Lets the command line refuse a URL without repeating it, as clap does by itself: it may hold a
/// password.
#[derive(Clone)]
pub struct StoreUrlParser;

impl TypedValueParser for StoreUrlParser {
    type Value = StoreUrl;
    fn parse_ref(
        &self,
        command: &clap::Command,
        _: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<StoreUrl, clap::Error> {
        let parsed = value
            .to_str()
            .ok_or_else(unknown_scheme)
            .and_then(str::parse);
        parsed.map_err(|error| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n")).with_cmd(command)
        })
    }
}

impl ValueParserFactory for StoreUrl {
    type Parser = StoreUrlParser;
    fn value_parser() -> StoreUrlParser {
        StoreUrlParser
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Server,
    Sentinel,
    Cluster,
}

fn parse_redis(kind: Kind, tls: bool, rest: &str) -> Result<RedisUrl, ConfigError> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // A password may hold an @ that somebody forgot to encode; a host cannot.
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    let (user, password) = login.map_or(Ok((None, None)), parse_login)?;
    let port = if kind == Kind::Sentinel {
        SENTINEL_PORT
    } else {
        REDIS_PORT
    };
    let hosts = hosts
        .split(',')
        .map(|host| parse_host(host, port))
        .collect::<Result<Vec<_>, _>>()?;
    if kind == Kind::Server && hosts.len() > 1 {
        return Err(malformed(
            "redis:// names one server; for several there are redis-sentinel:// and redis-cluster://",
        ));
    }
    let (kind, database) = match kind {
        Kind::Server => (RedisKind::Server, path),
        Kind::Cluster => (RedisKind::Cluster, path),
        Kind::Sentinel => {
            let (master, database) = path.split_once('/').unwrap_or((path, ""));
            let master = decode(master)?;
            if master.is_empty() {
                return Err(malformed(
                    "redis-sentinel:// lacks the master's name behind the hosts: …/NAME",
                ));
            }
            (RedisKind::Sentinel { master }, database)
        }
    };
    let database = parse_database(database)?;
    if kind == RedisKind::Cluster && database != 0 {
        return Err(malformed("a Redis Cluster has only database 0"));
    }
    Ok(RedisUrl {
        kind,
        tls,
        hosts,
        database,
        user,
        password,
        ca: None,
        prefix: KeyPrefix::default(),
    })
}

type Login = (Option<String>, Option<RedisPassword>);

/// `USER:PASSWORD`, `USER` or `:PASSWORD`, percent-encoded.
fn parse_login(text: &str) -> Result<Login, ConfigError> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (text, None),
    };
    let user = Some(decode(user)?).filter(|user| !user.is_empty());
    let password = password.map(decode).transpose()?;
    let password = password.filter(|password| !password.is_empty());
    Ok((user, password.map(RedisPassword)))
}

fn parse_host(text: &str, default_port: u16) -> Result<(String, u16), ConfigError> {
    let bad = || {
        malformed(
            "a host is a name, an IPv4 address or an IPv6 address in brackets, with :PORT behind it or not",
        )
    };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(bad)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            match port {
                "" => (host, None),
                port => (host, Some(port.strip_prefix(':').ok_or_else(bad)?)),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    if host.is_empty() || !host.chars().all(is_plain) {
        return Err(bad());
    }
    let port = port.map_or(Ok(default_port), |port| port.parse().map_err(|_| bad()))?;
    Ok((host.into(), port))
}

fn parse_database(text: &str) -> Result<i64, ConfigError> {
    match text {
        "" => Ok(0),
        text => text
            .parse::<u16>()
            .map(i64::from)
            .map_err(|_| malformed("the database behind the host is not a number")),
    }
}

fn decode(text: &str) -> Result<String, ConfigError> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(Into::into)
        .map_err(|_| malformed("what is percent-encoded is no UTF-8"))
}

fn malformed(why: &str) -> ConfigError {
    ConfigError::Value(format!("store: {why}"))
}

fn unknown_scheme() -> ConfigError {
    malformed(
        "not of the form embedded:PATH, redis://HOST, redis-sentinel://HOST,…/MASTER or redis-cluster://HOST,… \
         (with TLS: rediss…)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis(text: &str) -> RedisUrl {
        match text.parse() {
            Ok(StoreUrl::Redis(url)) => url,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn each_form_is_understood() {
        let url = redis("redis://redis.example");
        assert_eq!(url.to_string(), "redis://redis.example:6379/0");
        let url = redis("rediss://titan:p%40ss@[2001:db8::1]:7000/3");
        assert_eq!(url.to_string(), "rediss://[2001:db8::1]:7000/3");
        assert_eq!(url.user.as_deref(), Some("titan"));
        assert_eq!(url.password, Some(RedisPassword::new("p@ss")));
        let url = redis("redis-sentinel://:p@ss@a,b:5/main/2");
        assert_eq!(url.to_string(), "redis-sentinel://a:26379,b:5/main/2");
        assert_eq!(
            (url.user, url.password),
            (None, Some(RedisPassword::new("p@ss")))
        );
        let url = redis("rediss-cluster://127.0.0.1:7001,127.0.0.1:7002");
        assert_eq!(
            url.to_string(),
            "rediss-cluster://127.0.0.1:7001,127.0.0.1:7002"
        );
        assert!(url.tls && url.kind == RedisKind::Cluster);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (bad, why) in [
            ("floppy:", "embedded:PATH"),
            ("embedded:", "lacks the path"),
            ("redis:", "redis://HOST"),
            ("redis://", "a host is"),
            ("redis://a:port", "a host is"),
            ("redis://[::1", "a host is"),
            ("redis://a,b", "names one server"),
            ("redis://a/zero", "not a number"),
            ("redis-cluster://a/1", "only database 0"),
            ("redis-sentinel://a", "lacks the master's name"),
            ("redis://%ff@a", "no UTF-8"),
        ] {
            let error = bad.parse::<StoreUrl>().expect_err(bad).to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!("titan{1}:".parse::<KeyPrefix>().is_err());
    }

    #[test]
    fn no_secret_is_shown() {
        let url: StoreUrl = "redis://titan:hunter2@127.0.0.1/".parse().expect("valid");
        assert!(!format!("{url:?} {url}").contains("hunter2"));
        for bad in [
            "redis://u:hunter2@",
            "floppy://u:hunter2@a",
            "redis://u:hunter2@a/b",
            "redis://u:hunter2/@a",
        ] {
            let error = bad.parse::<StoreUrl>().expect_err("malformed");
            assert!(!format!("{error:?} {error}").contains("hunter2"));
        }
    }
}
