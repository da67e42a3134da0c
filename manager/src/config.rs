//! Configuration: flags over environment over file over defaults, parsed once into types.

mod store_url;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::Deserialize;

use crate::limits;

pub use store_url::{KeyPrefix, RedisKind, RedisPassword, RedisUrl, StoreUrl};

/// How the manager runs; every value is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Address to serve the API on.
    pub listen: SocketAddr,
    /// Where users, nodes and PoPs are kept.
    pub store: StoreUrl,
    /// File that receives the admin token when the store has none yet.
    pub admin_token_file: PathBuf,
    /// Tunnels above which a PoP gets no new nodes.
    pub max_tunnels_per_pop: u32,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Requests a second with one admin token.
    pub token_requests_per_s: NonZeroU32,
    /// Which log lines are written: `tracing` filter directives.
    pub log_level: String,
    /// How log lines are written.
    pub log_format: LogFormat,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            store: StoreUrl::Embedded("titan-data/manager.redb".into()),
            admin_token_file: "titan-data/admin-token".into(),
            max_tunnels_per_pop: limits::DEFAULT_MAX_TUNNELS_PER_POP,
            trusted_proxies: Vec::new(),
            token_requests_per_s: limits::DEFAULT_TOKEN_REQUESTS_PER_S,
            log_level: "info".into(),
            log_format: LogFormat::Text,
        }
    }
}

impl Config {
    /// Reads `file`, if one is given, and puts what `over` holds above it.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, has an unknown key or a value out of range.
    pub fn load(file: Option<&Path>, over: Settings) -> Result<Self, ConfigError> {
        let file = file.map(Settings::read).transpose()?.unwrap_or_default();
        over.over(file).into_config()
    }
}

/// What a file, the environment or the command line may set: every key of [`Config`], all optional.
#[derive(Debug, Clone, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Address to serve the API on [default: 127.0.0.1:8080]
    #[arg(long, env = "TITAN_MANAGER_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Where users, nodes and PoPs are kept [default: embedded:titan-data/manager.redb]
    #[arg(
        long,
        env = "TITAN_MANAGER_STORE",
        value_name = "URL",
        hide_env_values = true
    )]
    pub store: Option<StoreUrl>,
    /// File that holds the password for Redis; empty: the store's URL has it, or none is needed
    #[arg(long, env = "TITAN_MANAGER_REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,
    /// File with the CA certificates (PEM) that Redis is trusted by; empty: those of the system
    #[arg(long, env = "TITAN_MANAGER_REDIS_CA_FILE", value_name = "FILE")]
    pub redis_ca_file: Option<PathBuf>,
    /// What every key in Redis begins with [default: titan:]
    #[arg(long, env = "TITAN_MANAGER_REDIS_PREFIX", value_name = "TEXT")]
    pub redis_prefix: Option<KeyPrefix>,
    /// File that receives the admin token when the store has none yet [default: titan-data/admin-token]
    #[arg(long, env = "TITAN_MANAGER_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Tunnels above which a PoP gets no new nodes [default: 50000]
    #[arg(long, env = "TITAN_MANAGER_MAX_TUNNELS_PER_POP", value_name = "N")]
    pub max_tunnels_per_pop: Option<u32>,
    /// Peers whose X-Forwarded-For is believed, in CIDR notation [default: none]
    #[arg(
        long,
        env = "TITAN_MANAGER_TRUSTED_PROXIES",
        value_name = "NETS",
        value_delimiter = ','
    )]
    pub trusted_proxies: Option<Vec<IpNet>>,
    /// Requests a second with one admin token [default: 500]
    #[arg(long, env = "TITAN_MANAGER_TOKEN_REQUESTS_PER_S", value_name = "N")]
    pub token_requests_per_s: Option<NonZeroU32>,
    /// Which log lines are written: error, warn, info, debug, trace, or filter directives [default: info]
    #[arg(long, env = "TITAN_MANAGER_LOG_LEVEL", value_name = "FILTER")]
    pub log_level: Option<String>,
    /// How log lines are written [default: text]
    #[arg(long, env = "TITAN_MANAGER_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

impl Settings {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File {
            path: path.into(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| ConfigError::Syntax {
            path: path.into(),
            line: source.span().map_or(1, |span| line_of(&text, span.start)),
            message: source.message().into(),
        })
    }

    fn over(self, under: Self) -> Self {
        Self {
            listen: self.listen.or(under.listen),
            store: self.store.or(under.store),
            redis_password_file: self.redis_password_file.or(under.redis_password_file),
            redis_ca_file: self.redis_ca_file.or(under.redis_ca_file),
            redis_prefix: self.redis_prefix.or(under.redis_prefix),
            admin_token_file: self.admin_token_file.or(under.admin_token_file),
            max_tunnels_per_pop: self.max_tunnels_per_pop.or(under.max_tunnels_per_pop),
            trusted_proxies: self.trusted_proxies.or(under.trusted_proxies),
            token_requests_per_s: self.token_requests_per_s.or(under.token_requests_per_s),
            log_level: self.log_level.or(under.log_level),
            log_format: self.log_format.or(under.log_format),
        }
    }

    fn into_config(self) -> Result<Config, ConfigError> {
        let default = Config::default();
        let store = self.store.clone().unwrap_or(default.store);
        let config = Config {
            listen: self.listen.unwrap_or(default.listen),
            store: self.complete(store)?,
            admin_token_file: self.admin_token_file.unwrap_or(default.admin_token_file),
            max_tunnels_per_pop: self
                .max_tunnels_per_pop
                .unwrap_or(default.max_tunnels_per_pop),
            trusted_proxies: self.trusted_proxies.unwrap_or(default.trusted_proxies),
            token_requests_per_s: self
                .token_requests_per_s
                .unwrap_or(default.token_requests_per_s),
            log_level: self.log_level.unwrap_or(default.log_level),
            log_format: self.log_format.unwrap_or(default.log_format),
        };
        if config.max_tunnels_per_pop == 0 {
            return Err(ConfigError::Value(
                "max_tunnels_per_pop must be at least 1".into(),
            ));
        }
        Ok(config)
    }

    /// The store with what is set beside its URL: prefix, password and certificates of a Redis.
    ///
    /// # Errors
    /// A file cannot be read, or there are two passwords.
    pub fn complete(&self, store: StoreUrl) -> Result<StoreUrl, ConfigError> {
        let StoreUrl::Redis(mut url) = store else {
            return Ok(store);
        };
        if let Some(path) = named(self.redis_password_file.as_ref()) {
            if url.password.is_some() {
                let message = "redis_password_file: the store's URL holds a password already";
                return Err(ConfigError::Value(message.into()));
            }
            let text = String::from_utf8_lossy(&read(path)?).into_owned();
            url.password = Some(RedisPassword::new(text.trim_end_matches(['\r', '\n'])));
        }
        if let Some(path) = named(self.redis_ca_file.as_ref()) {
            if !url.tls {
                let message = "redis_ca_file: the store's URL asks for no TLS (rediss…)";
                return Err(ConfigError::Value(message.into()));
            }
            url.ca = Some(read(path)?);
        }
        url.prefix = self.redis_prefix.clone().unwrap_or_default();
        Ok(StoreUrl::Redis(url))
    }
}

/// An empty path stands for none, so that a file can name every key.
fn named(path: Option<&PathBuf>) -> Option<&PathBuf> {
    path.filter(|path| !path.as_os_str().is_empty())
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|source| ConfigError::File {
        path: path.into(),
        source,
    })
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Why a configuration is not usable. Always the operator's to mend; the program exits with 64.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    File {
        /// The file: that of `--config`, or one named in it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no TOML, has an unknown key, or a value has the wrong type.
    #[error("{path}:{line}: {message}", path = path.display())]
    Syntax {
        /// The file named by `--config`.
        path: PathBuf,
        /// Line of the fault, counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A value is not among those that make sense.
    #[error("{0}")]
    Value(String),
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|&byte| byte == b'\n')
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../manager.example.toml");

    fn load(text: &str, over: Settings) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("manager.toml");
        std::fs::write(&path, text).expect("a file");
        Config::load(Some(&path), over)
    }

    #[test]
    fn the_example_lists_every_key_with_its_default() {
        let example: Settings = toml::from_str(EXAMPLE).expect("the example parses");
        // Exhaustive, so that a new key must be put here and into the example.
        let Settings {
            listen: Some(_),
            store: Some(_),
            redis_password_file: Some(_),
            redis_ca_file: Some(_),
            redis_prefix: Some(_),
            admin_token_file: Some(_),
            max_tunnels_per_pop: Some(_),
            trusted_proxies: Some(_),
            token_requests_per_s: Some(_),
            log_level: Some(_),
            log_format: Some(_),
        } = example
        else {
            panic!("the example lacks a key: {example:?}")
        };
        assert_eq!(example.into_config().expect("valid"), Config::default());
    }

    #[test]
    fn what_is_set_above_wins() {
        let over = Settings {
            log_level: Some("debug".into()),
            ..Settings::default()
        };
        let config = load("listen = \"[::1]:1\"\nlog_level = \"warn\"", over).expect("valid");
        assert_eq!(config.log_level, "debug");
        assert_eq!(config.listen, "[::1]:1".parse().expect("an address"));
    }

    #[test]
    fn a_fault_names_its_line() {
        let error = load("listen = \"[::1]:1\"\nlisten_to = 5", Settings::default())
            .expect_err("unknown key")
            .to_string();
        assert!(
            error.contains("manager.toml:2: unknown field `listen_to`"),
            "{error}"
        );
        let error = load("store = \"redis:\"", Settings::default()).expect_err("bad store");
        assert!(error.to_string().contains("embedded:PATH"), "{error}");
        assert!(load("max_tunnels_per_pop = 0", Settings::default()).is_err());
    }

    #[test]
    fn a_store_survives_its_text_form() {
        let store = Config::default().store;
        assert_eq!(store.to_string().parse::<StoreUrl>().expect("valid"), store);
    }
}
