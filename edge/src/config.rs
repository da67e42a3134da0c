//! What an operator can set: a TOML file, overridden by the environment, overridden by flags.

mod tunnels;

use std::{
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, CommandFactory, Parser, ValueEnum};
use serde::Deserialize;

pub use tunnels::{BadTunnelCount, TunnelCount};

use crate::error::ConfigError;

/// Everything an edge needs to run, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Base URL of the manager, `http://` or `https://`.
    pub manager: reqwest::Url,
    /// Key to enrol with where the manager does not know this node yet.
    pub enrolment_key: Option<Secret>,
    /// File of the node's private key, made on the first start.
    pub identity_file: PathBuf,
    /// How sockets are driven.
    pub io: IoChoice,
    /// How many tunnels to the PoP are kept open.
    pub tunnels: TunnelCount,
    /// Whether targets in private networks, loopback included, may be connected to.
    pub allow_private: bool,
    /// How long sessions may go on after a stop was asked for.
    pub drain_timeout: Duration,
}

impl Config {
    /// A configuration with the defaults for everything that has one.
    ///
    /// # Errors
    ///
    /// `manager` is no `http` or `https` URL.
    pub fn new(manager: &str, data_dir: &Path) -> Result<Self, ConfigError> {
        Ok(Self {
            manager: parse_manager(manager)?,
            enrolment_key: None,
            identity_file: data_dir.join(IDENTITY_FILE),
            io: IoChoice::Auto,
            tunnels: TunnelCount::default(),
            allow_private: false,
            drain_timeout: DEFAULT_DRAIN,
        })
    }
}

/// A text that must not be shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, to be sent and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How sockets are driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum IoChoice {
    /// io_uring where the system gives it, epoll elsewhere.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// How the program logs; a library caller has a log of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines are written: a level, or directives as in `info,titan_edge=debug`.
    pub filter: String,
}

/// The exit client (edge) of Titan IP Overlay: dials a PoP and connects to targets on its behalf.
#[derive(Parser)]
#[command(name = "titan-edge", version)]
pub struct Cli {
    /// TOML file with the settings below; see edge.example.toml.
    #[arg(long, value_name = "FILE", env = "TITAN_EDGE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Cli {
    /// Joins flags, environment and file into a configuration.
    ///
    /// # Errors
    ///
    /// The file cannot be read, a key is unknown or missing, or a value makes no sense.
    pub fn into_config(self) -> Result<(Config, LogConfig), ConfigError> {
        let file = match &self.config {
            Some(path) => Settings::read(path)?,
            None => Settings::default(),
        };
        self.settings.or(file).check()
    }

    /// Refuses variables with our prefix that name no setting: most likely one is misspelt.
    ///
    /// # Errors
    ///
    /// The first such variable.
    pub fn check_environment(
        variables: impl IntoIterator<Item = OsString>,
    ) -> Result<(), ConfigError> {
        let command = Self::command();
        let known: Vec<_> = command
            .get_arguments()
            .filter_map(clap::Arg::get_env)
            .collect();
        let unknown = variables.into_iter().find(|name| {
            name.to_string_lossy().starts_with(ENV_PREFIX) && !known.contains(&name.as_os_str())
        });
        match unknown {
            Some(name) => Err(ConfigError::UnknownVariable(
                name.to_string_lossy().into_owned(),
            )),
            None => Ok(()),
        }
    }
}

/// The settings as they are written, each of them optional in each place.
#[derive(Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Base URL of the manager, for example https://manager.example:8080.
    #[arg(long, value_name = "URL", env = "TITAN_EDGE_MANAGER_URL")]
    manager_url: Option<String>,
    /// Key to enrol this node with; needed until the node is enrolled.
    #[arg(
        long,
        value_name = "KEY",
        env = "TITAN_EDGE_ENROLMENT_KEY",
        hide_env_values = true
    )]
    enrolment_key: Option<String>,
    /// File that holds the enrolment key.
    #[arg(long, value_name = "FILE", env = "TITAN_EDGE_ENROLMENT_KEY_FILE")]
    enrolment_key_file: Option<PathBuf>,
    /// Directory of the node's identity key; made if it does not exist.
    #[arg(long = "data", value_name = "DIR", env = "TITAN_EDGE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// How sockets are driven [default: auto].
    #[arg(long, env = "TITAN_EDGE_IO")]
    io: Option<IoChoice>,
    /// Tunnels to the PoP that are kept open, 1 to 16 [default: 1].
    #[arg(long, value_name = "N", env = "TITAN_EDGE_TUNNELS")]
    tunnels: Option<TunnelCount>,
    /// Let clients reach private networks and this machine itself.
    #[arg(long, env = "TITAN_EDGE_ALLOW_PRIVATE", num_args = 0..=1, default_missing_value = "true")]
    allow_private: Option<bool>,
    /// Seconds that sessions may go on after SIGTERM [default: 30].
    #[arg(long, value_name = "SECONDS", env = "TITAN_EDGE_DRAIN_S")]
    drain_s: Option<u64>,
    /// How log lines look [default: text].
    #[arg(long, env = "TITAN_EDGE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
    /// Which lines are logged: a level or directives [default: info].
    #[arg(long, value_name = "FILTER", env = "TITAN_EDGE_LOG_LEVEL")]
    log_level: Option<String>,
}

impl Settings {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.into(),
            source,
        })?;
        toml::from_str(&text).map_err(|error| {
            let line = error
                .span()
                .map(|span| 1 + text[..span.start].matches('\n').count());
            let place = line
                .map(|line| format!("line {line}: "))
                .unwrap_or_default();
            let message = place + &error.message().replace('\n', " ");
            ConfigError::Malformed {
                path: path.into(),
                message,
            }
        })
    }

    /// These settings, and `other`'s where these say nothing. The two ways to give the enrolment
    /// key are one setting: a flag for the file outweighs a key in the file.
    fn or(self, other: Self) -> Self {
        let has_key = self.enrolment_key.is_some() || self.enrolment_key_file.is_some();
        let (key, key_file) = if has_key {
            (self.enrolment_key, self.enrolment_key_file)
        } else {
            (other.enrolment_key, other.enrolment_key_file)
        };
        Self {
            manager_url: self.manager_url.or(other.manager_url),
            enrolment_key: key,
            enrolment_key_file: key_file,
            data_dir: self.data_dir.or(other.data_dir),
            io: self.io.or(other.io),
            tunnels: self.tunnels.or(other.tunnels),
            allow_private: self.allow_private.or(other.allow_private),
            drain_s: self.drain_s.or(other.drain_s),
            log_format: self.log_format.or(other.log_format),
            log_level: self.log_level.or(other.log_level),
        }
    }

    fn check(self) -> Result<(Config, LogConfig), ConfigError> {
        let enrolment_key = self.enrolment_key()?;
        let manager = self.manager_url.ok_or(ConfigError::Missing(
            "manager_url",
            "MANAGER_URL",
            "manager-url",
        ))?;
        let data_dir = self
            .data_dir
            .ok_or(ConfigError::Missing("data_dir", "DATA_DIR", "data"))?;
        let config = Config {
            enrolment_key,
            io: self.io.unwrap_or_default(),
            tunnels: self.tunnels.unwrap_or_default(),
            allow_private: self.allow_private.unwrap_or_default(),
            drain_timeout: self.drain_s.map_or(DEFAULT_DRAIN, Duration::from_secs),
            ..Config::new(&manager, &data_dir)?
        };
        let log = LogConfig {
            format: self.log_format.unwrap_or_default(),
            filter: self.log_level.unwrap_or_else(|| "info".to_owned()),
        };
        Ok((config, log))
    }

    fn enrolment_key(&self) -> Result<Option<Secret>, ConfigError> {
        let key = match (&self.enrolment_key, &self.enrolment_key_file) {
            (Some(_), Some(_)) => {
                let message = "set it or `enrolment_key_file`, not both".to_owned();
                return Err(ConfigError::Invalid {
                    key: "enrolment_key",
                    message,
                });
            }
            (Some(key), None) => key.trim().to_owned(),
            (None, Some(path)) => fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable {
                    path: path.clone(),
                    source,
                })?
                .trim()
                .to_owned(),
            (None, None) => return Ok(None),
        };
        if key.is_empty() {
            let message = "is empty".to_owned();
            return Err(ConfigError::Invalid {
                key: "enrolment_key",
                message,
            });
        }
        Ok(Some(Secret(key)))
    }
}

fn parse_manager(text: &str) -> Result<reqwest::Url, ConfigError> {
    let invalid = |message: String| ConfigError::Invalid {
        key: "manager_url",
        message,
    };
    let url = reqwest::Url::parse(text).map_err(|error| invalid(format!("{text:?}: {error}")))?;
    let usable = matches!(url.scheme(), "http" | "https") && url.has_host();
    if !usable || url.query().is_some() || url.fragment().is_some() {
        return Err(invalid(format!(
            "{text:?} is no http:// or https:// base URL"
        )));
    }
    Ok(url)
}

/// Name of the key file in the data directory.
const IDENTITY_FILE: &str = "identity.pem";

/// Long enough for a page to finish loading, short enough for a service manager's patience (90 s).
const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

const ENV_PREFIX: &str = "TITAN_EDGE_";

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, flags: &[&str]) -> Result<(Config, LogConfig), ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edge.toml");
        fs::write(&path, file).unwrap();
        let path = path.to_str().unwrap();
        let arguments = ["titan-edge", "--config", path]
            .into_iter()
            .chain(flags.iter().copied());
        Cli::try_parse_from(arguments).unwrap().into_config()
    }

    const LEAST: &str = "manager_url = 'http://127.0.0.1:8080'\ndata_dir = '/var/lib/titan-edge'\n";

    #[test]
    fn the_least_file_gets_the_defaults() {
        let (config, log) = load(LEAST, &[]).unwrap();
        assert_eq!(
            config.identity_file,
            Path::new("/var/lib/titan-edge/identity.pem")
        );
        assert_eq!(config.io, IoChoice::Auto);
        assert_eq!(config.tunnels, TunnelCount::default());
        assert!(!config.allow_private);
        assert_eq!(config.drain_timeout, DEFAULT_DRAIN);
        assert_eq!(
            log,
            LogConfig {
                format: LogFormat::Text,
                filter: "info".to_owned()
            }
        );
    }

    #[test]
    fn flags_outweigh_the_file() {
        let file = format!(
            "{LEAST}io = 'uring'\ntunnels = 2\nallow_private = false\nenrolment_key = 'a'\n"
        );
        let flags = ["--io", "epoll", "--allow-private", "--enrolment-key", "b"];
        let (config, _) = load(&file, &flags).unwrap();
        assert_eq!(config.tunnels.get(), 2, "no flag");
        let flags = [&flags[..], &["--tunnels", "4"]].concat();
        let (config, _) = load(&file, &flags).unwrap();
        assert_eq!(config.tunnels.get(), 4);
        assert_eq!(config.io, IoChoice::Epoll);
        assert!(config.allow_private);
        assert_eq!(config.enrolment_key, Some(Secret::from("b")));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = load(&format!("{LEAST}alow_private = true\n"), &[])
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("alow_private"), "{error}");
        assert!(error.contains("line 3"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    #[test]
    fn bad_values_are_refused() {
        for bad in [
            "manager_url = 'http://h'",
            "manager_url = 'ftp://h'\ndata_dir = '/d'",
            "manager_url = 'nonsense'\ndata_dir = '/d'",
            "manager_url = 'http://h/?a=b'\ndata_dir = '/d'",
            "data_dir = '/d'",
            "manager_url = 'http://h'\ndata_dir = '/d'\nio = 'kqueue'",
            "manager_url = 'http://h'\ndata_dir = '/d'\ntunnels = 0",
            "manager_url = 'http://h'\ndata_dir = '/d'\ntunnels = 17",
            "manager_url = 'http://h'\ndata_dir = '/d'\nenrolment_key = ' '",
            "manager_url = 'http://h'\ndata_dir = '/d'\nenrolment_key_file = '/does/not/exist'",
            "manager_url = 'http://h'\ndata_dir = '/d'\nenrolment_key = 'k'\nenrolment_key_file = '/f'",
        ] {
            assert!(load(bad, &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn misspelt_variables_are_refused() {
        let check = |name: &str| Cli::check_environment([OsString::from(name)]);
        assert!(check("TITAN_EDGE_MANAGER_URL").is_ok());
        assert!(check("TITAN_EDGE_CONFIG").is_ok());
        assert!(check("PATH").is_ok());
        assert!(check("TITAN_EDGE_MANGER").is_err());
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::from("hush")), "Secret(…)");
    }

    #[test]
    fn the_example_lists_every_key_and_is_valid() {
        let example = include_str!("../edge.example.toml");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edge.toml");
        fs::write(&path, example).unwrap();
        Settings::read(&path).ok().unwrap().check().unwrap();
        let command = Cli::command();
        for argument in command.get_arguments() {
            let key = argument.get_id().as_str();
            if key == "config" {
                continue;
            }
            let listed = example.lines().any(|line| {
                line.trim_start_matches("# ")
                    .starts_with(&format!("{key} = "))
            });
            assert!(listed, "edge.example.toml does not list `{key}`");
        }
    }
}
