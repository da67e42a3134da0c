//! Settings: a TOML file, environment variables `TITAN_POP_<KEY>` and flags, later ones winning.
//!
//! A configuration is parsed once into types that cannot be wrong; what reads it later checks
//! nothing. Every key is documented in `pop.example.toml`.

mod overrides;
mod ports;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;
use titan_proto::control::ReplyMode;
use tracing_subscriber::EnvFilter;

pub use overrides::Overrides;
pub use ports::{NoPortRange, PortRange};

use crate::{
    error::{ConfigError, StartError},
    limits::{
        HANDSHAKE_S, MAX_HANDSHAKES, MAX_HANDSHAKES_PER_ADDRESS, OPEN_TIMEOUT_S,
        SESSION_MEMORY_MIB, SPOOL_MIB, TUNNEL_HEARTBEAT_S,
    },
};

/// The settings of one PoP.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Base URL of the manager, `http://` or `https://`, without a path.
    pub manager_url: String,
    /// The PoP's credential as the manager showed it at registration.
    #[serde(default)]
    pub credential: Option<Secret>,
    /// File that holds the credential; its trailing white space is ignored.
    #[serde(default)]
    pub credential_file: Option<PathBuf>,
    /// Folder for what must survive a restart: usage that the manager has not counted yet.
    #[serde(default = "default_data_dir")]
    pub data_dir: PathBuf,
    /// MiB of usage on disk from which on no new sessions are let in.
    #[serde(default = "default_spool_mib")]
    pub spool_mib: u32,
    /// Where SOCKS5 and HTTP proxy clients connect.
    #[serde(default = "default_proxy_listen")]
    pub proxy_listen: SocketAddr,
    /// Where edges connect.
    #[serde(default = "default_tunnel_listen")]
    pub tunnel_listen: SocketAddr,
    /// Where operators ask for health and metrics.
    #[serde(default = "default_admin_listen")]
    pub admin_listen: SocketAddr,
    /// The URL at which edges reach this PoP; absent: made from the tunnel listener's address.
    #[serde(default)]
    pub advertise_tunnel_url: Option<String>,
    /// The address at which customers reach this PoP; absent: the proxy listener's.
    #[serde(default)]
    pub advertise_proxy_addr: Option<String>,
    /// Threads that carry connections; 0: one for each core.
    #[serde(default)]
    pub shards: u16,
    /// How threads wait for their sockets.
    #[serde(default)]
    pub io: IoChoice,
    /// When clients are told that they are connected, unless user or connection say otherwise.
    #[serde(default)]
    pub reply_mode: ReplyMode,
    /// Seconds that a client or an edge may take for each step of its handshake.
    #[serde(default = "default_handshake_s")]
    pub handshake_s: u32,
    /// Clients of one shard that may be in their handshake at once, and as many edges. Beyond it the
    /// oldest is dropped.
    #[serde(default = "default_max_handshakes")]
    pub max_handshakes: u32,
    /// How many of those may come from one address; 0: as many as there are.
    #[serde(default = "default_max_handshakes_per_address")]
    pub max_handshakes_per_address: u32,
    /// Seconds until an edge must have connected to a target or refused, all together that are tried
    /// for one session.
    #[serde(default = "default_open_timeout_s")]
    pub open_timeout_s: u32,
    /// Seconds between two pings of an edge; one that is silent for three times that is gone.
    #[serde(default = "default_heartbeat_s")]
    pub heartbeat_s: u32,
    /// Whether a session goes on with another edge when its own fails it before the target has
    /// answered.
    #[serde(default = "default_reopen")]
    pub reopen: bool,
    /// Seconds without a byte after which a session whose one direction has ended is over.
    #[serde(default = "default_linger_s")]
    pub linger_s: u32,
    /// MiB that the sessions of one shard may hold.
    #[serde(default = "default_session_memory_mib")]
    pub session_memory_mib: u32,
    /// The address that clients are told to send datagrams to; absent: the one that they have
    /// reached this PoP at.
    #[serde(default)]
    pub udp_advertise_address: Option<IpAddr>,
    /// Ports of the sockets that take datagrams; absent: whichever the system gives.
    #[serde(default)]
    pub udp_ports: Option<PortRange>,
    /// Seconds without a datagram after which a UDP association is over.
    #[serde(default = "default_udp_idle_s")]
    pub udp_idle_s: u32,
    /// Seconds that an HTTP client's connection may wait for its next request.
    #[serde(default = "default_http_idle_s")]
    pub http_idle_s: u32,
    /// Seconds that running sessions get to finish when the PoP drains.
    #[serde(default = "default_drain_s")]
    pub drain_s: u32,
    /// How log lines look.
    #[serde(default)]
    pub log_format: LogFormat,
    /// Which log lines there are: a level, or directives as in `info,titan_pop=debug`.
    #[serde(default = "default_log_level")]
    pub log_level: String,
}

impl Config {
    /// The settings a PoP cannot do without; everything else as by default.
    pub fn new(manager_url: impl Into<String>, credential: impl Into<String>) -> Self {
        Self {
            manager_url: manager_url.into(),
            credential: Some(Secret(credential.into())),
            credential_file: None,
            data_dir: default_data_dir(),
            spool_mib: default_spool_mib(),
            proxy_listen: default_proxy_listen(),
            tunnel_listen: default_tunnel_listen(),
            admin_listen: default_admin_listen(),
            advertise_tunnel_url: None,
            advertise_proxy_addr: None,
            shards: 0,
            io: IoChoice::default(),
            reply_mode: ReplyMode::default(),
            handshake_s: default_handshake_s(),
            max_handshakes: default_max_handshakes(),
            max_handshakes_per_address: default_max_handshakes_per_address(),
            open_timeout_s: default_open_timeout_s(),
            heartbeat_s: default_heartbeat_s(),
            reopen: default_reopen(),
            linger_s: default_linger_s(),
            session_memory_mib: default_session_memory_mib(),
            udp_advertise_address: None,
            udp_ports: None,
            udp_idle_s: default_udp_idle_s(),
            http_idle_s: default_http_idle_s(),
            drain_s: default_drain_s(),
            log_format: LogFormat::default(),
            log_level: default_log_level(),
        }
    }

    /// Reads the text of a configuration file and lays `overrides` over it.
    ///
    /// # Errors
    /// When the text is no TOML, a key is unknown or missing, or a value makes no sense.
    pub fn parse(text: &str, overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::Parse(one_line(&error)))?;
        overrides.lay_over(&mut table)?;
        let config: Self = table
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError::Parse(one_line(&error)))?;
        config.check()?;
        Ok(config)
    }

    /// The credential, read from its file where it is not given in full.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read_credential(&self) -> Result<Secret, StartError> {
        match (&self.credential, &self.credential_file) {
            (Some(credential), _) => Ok(credential.clone()),
            (None, Some(path)) => std::fs::read_to_string(path)
                .map(|text| Secret(text.trim().to_owned()))
                .map_err(|source| StartError::Credential {
                    path: path.clone(),
                    source,
                }),
            (None, None) => Ok(Secret(String::new())),
        }
    }

    /// How many shards to start: as set, or one for each core this process may use.
    pub fn shard_count(&self) -> u16 {
        match self.shards {
            0 => std::thread::available_parallelism()
                .map_or(1, |cores| u16::try_from(cores.get()).unwrap_or(u16::MAX)),
            shards => shards,
        }
    }

    /// Time for each step of a handshake.
    pub fn handshake(&self) -> Duration {
        Duration::from_secs(self.handshake_s.into())
    }

    /// Time until an edge has connected to a target, all together that are tried for one session.
    pub fn open_timeout(&self) -> Duration {
        Duration::from_secs(self.open_timeout_s.into())
    }

    /// Time between two pings of an edge.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.heartbeat_s.into())
    }

    /// Bytes that the sessions of one shard may hold.
    pub fn session_memory(&self) -> usize {
        usize::try_from(self.session_memory_mib)
            .unwrap_or(usize::MAX)
            .saturating_mul(1024 * 1024)
    }

    /// Bytes of usage on disk from which on no new sessions are let in.
    pub fn spool_bound(&self) -> u64 {
        u64::from(self.spool_mib) * 1024 * 1024
    }

    /// Silence after which a half-closed session is over.
    pub fn linger(&self) -> Duration {
        Duration::from_secs(self.linger_s.into())
    }

    /// Time without a datagram after which a UDP association is over.
    pub fn udp_idle(&self) -> Duration {
        Duration::from_secs(self.udp_idle_s.into())
    }

    /// Time that an HTTP client's connection may wait for its next request.
    pub fn http_idle(&self) -> Duration {
        Duration::from_secs(self.http_idle_s.into())
    }

    /// Time that running sessions get when the PoP drains.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_s.into())
    }

    fn check(&self) -> Result<(), ConfigError> {
        if !self.manager_url.starts_with("http://") && !self.manager_url.starts_with("https://") {
            return Err(value("manager_url", "must begin with http:// or https://"));
        }
        match (&self.credential, &self.credential_file) {
            (None, None) => return Err(value("credential", "set it or credential_file")),
            (Some(_), Some(_)) => {
                return Err(value(
                    "credential",
                    "set either it or credential_file, not both",
                ));
            }
            _ => {}
        }
        if let Some(url) = &self.advertise_tunnel_url
            && !url.starts_with("ws://")
            && !url.starts_with("wss://")
        {
            return Err(value(
                "advertise_tunnel_url",
                "must begin with ws:// or wss://",
            ));
        }
        if self.shards > MAX_SHARDS {
            return Err(value("shards", format!("at most {MAX_SHARDS}")));
        }
        if let Err(error) = EnvFilter::try_new(&self.log_level) {
            return Err(value("log_level", error.to_string()));
        }
        self.check_numbers()
    }

    fn check_numbers(&self) -> Result<(), ConfigError> {
        for (key, number) in [
            ("linger_s", self.linger_s),
            ("http_idle_s", self.http_idle_s),
            ("udp_idle_s", self.udp_idle_s),
            ("session_memory_mib", self.session_memory_mib),
            ("spool_mib", self.spool_mib),
            ("handshake_s", self.handshake_s),
            ("max_handshakes", self.max_handshakes),
            ("open_timeout_s", self.open_timeout_s),
            ("heartbeat_s", self.heartbeat_s),
        ] {
            if number == 0 {
                return Err(value(key, "must be at least 1"));
            }
        }
        Ok(())
    }
}

/// How threads wait for their sockets.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum IoChoice {
    /// io_uring where the kernel allows it, else epoll with one warning.
    #[default]
    Auto,
    /// io_uring, or the PoP refuses to start.
    Uring,
    /// epoll.
    Epoll,
}

/// How log lines look.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A text that must not appear in logs.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Secret(String);

impl Secret {
    /// The text, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// More shards than any machine has cores; a number beyond is a typing error.
const MAX_SHARDS: u16 = 1024;

fn default_data_dir() -> PathBuf {
    "titan-data/pop".into()
}

fn default_spool_mib() -> u32 {
    SPOOL_MIB
}

fn default_proxy_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 1080))
}

fn default_tunnel_listen() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 8081))
}

fn default_admin_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 6060))
}

fn default_handshake_s() -> u32 {
    HANDSHAKE_S
}

fn default_max_handshakes() -> u32 {
    MAX_HANDSHAKES
}

fn default_max_handshakes_per_address() -> u32 {
    MAX_HANDSHAKES_PER_ADDRESS
}

fn default_open_timeout_s() -> u32 {
    OPEN_TIMEOUT_S
}

fn default_heartbeat_s() -> u32 {
    TUNNEL_HEARTBEAT_S
}

fn default_session_memory_mib() -> u32 {
    SESSION_MEMORY_MIB
}

fn default_reopen() -> bool {
    true
}

fn default_linger_s() -> u32 {
    120
}

/// RFC 4787 §4.3 (REQ-5) wants UDP mappings to live for two minutes at least and recommends five.
fn default_udp_idle_s() -> u32 {
    300
}

fn default_http_idle_s() -> u32 {
    60
}

fn default_drain_s() -> u32 {
    30
}

fn default_log_level() -> String {
    "info".to_owned()
}

fn value(key: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Value {
        key,
        problem: problem.into(),
    }
}

/// TOML's errors draw the line they are about; an operator's log wants one line.
fn one_line(error: &toml::de::Error) -> String {
    error.message().lines().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../pop.example.toml");

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, &Overrides::default())
    }

    #[test]
    fn the_example_is_a_configuration() {
        let config = parse(EXAMPLE).expect("pop.example.toml parses");
        assert_eq!(config.linger(), Duration::from_secs(120));
    }

    #[test]
    fn the_example_lists_every_key_and_each_commented_one_is_valid() {
        for key in Overrides::keys() {
            let listed = EXAMPLE.lines().any(|line| {
                line.trim_start_matches("# ")
                    .starts_with(&format!("{key} = "))
            });
            assert!(listed, "{key} is missing from pop.example.toml");
        }
        let all: String = EXAMPLE
            .lines()
            .filter(|line| !line.contains("credential = "))
            .map(|line| match line.strip_prefix("# ") {
                Some(setting) if setting.contains(" = ") => format!("{setting}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        parse(&all).expect("every commented setting is valid");
    }

    #[test]
    fn unknown_keys_and_senseless_values_are_refused() {
        let minimal = "manager_url = \"http://127.0.0.1:8080\"\ncredential = \"c\"\n";
        assert!(parse(minimal).is_ok());
        for wrong in [
            "colour = 1",
            "shards = \"two\"",
            "linger_s = 0",
            "session_memory_mib = 0",
            "spool_mib = 0",
            "handshake_s = 0",
            "max_handshakes = 0",
            "max_handshakes_per_address = -1",
            "open_timeout_s = 0",
            "heartbeat_s = 0",
            "http_idle_s = 0",
            "log_level = \"titan_pop=loud\"",
            "io = \"kqueue\"",
            "reopen = \"sometimes\"",
            "advertise_tunnel_url = \"http://x\"",
            "credential_file = \"/x\"",
            "udp_advertise_address = \"pop1.example.net\"",
            "udp_ports = \"0-29999\"",
            "udp_ports = \"20000\"",
            "udp_ports = \"29999-20000\"",
            "udp_idle_s = 0",
        ] {
            let error = parse(&format!("{minimal}{wrong}\n")).expect_err(wrong);
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        assert!(parse("manager_url = \"ftp://x\"\ncredential = \"c\"").is_err());
        assert!(parse("manager_url = \"http://x\"").is_err());
    }

    #[test]
    fn overrides_win_over_the_file() {
        let overrides = Overrides {
            shards: Some(3),
            io: Some(IoChoice::Epoll),
            ..Overrides::default()
        };
        let config = Config::parse(EXAMPLE, &overrides).expect("valid");
        assert_eq!((config.shards, config.io), (3, IoChoice::Epoll));
    }

    #[test]
    fn a_secret_does_not_print() {
        assert!(!format!("{:?}", Config::new("http://x", "hunter2")).contains("hunter2"));
    }
}
