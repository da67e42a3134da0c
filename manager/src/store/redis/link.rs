//! The way to Redis: one connection, made anew when it breaks, and no command sent twice that may
//! have been carried out.
//!
//! All operations share the connection; Redis answers them in the order in which they came. When
//! it breaks, what was under way fails, because nobody knows whether it was done; whoever comes
//! next connects, and everybody else waits for that one attempt. After a failed attempt all fail
//! at once for a short while. A Cluster's client keeps connections to its nodes by itself.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult,
    ServerErrorKind, Value, aio::MultiplexedConnection, cluster::ClusterClient,
    cluster_async::ClusterConnection, sentinel::SentinelClient,
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::{endpoint, scripts::Script};
use crate::{config::RedisUrl, error::StoreError, limits, store::Result};

/// A connection to Redis that mends itself.
pub(super) struct Link {
    source: Source,
    state: Mutex<State>,
    is_away: AtomicBool,
}

/// Where connections come from.
pub(super) enum Source {
    Server(Box<Client>),
    /// Asked for the master's address each time.
    Sentinel(Box<Mutex<SentinelClient>>),
    Cluster(Box<ClusterClient>),
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// Counts connections, so that only the one that broke is given up.
    generation: u64,
    failure: Option<(Instant, String)>,
}

#[derive(Clone)]
enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Whether a command may be sent again when its answer got lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// It only reads, or doing it twice is the same as doing it once.
    Harmless,
    Never,
}

impl Link {
    /// Prepares a way to the Redis at `url`; nothing is sent yet.
    pub(super) fn new(url: &RedisUrl) -> Result<Self> {
        Ok(Self {
            source: endpoint::source(url).map_err(unfit)?,
            state: Mutex::default(),
            is_away: AtomicBool::new(false),
        })
    }

    /// The answer to a command that may be sent twice.
    pub(super) async fn read<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        self.call(command, Repeat::Harmless).await
    }

    /// The answer to a command that changes something, and is never sent again once it may have
    /// reached the server.
    pub(super) async fn write<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        self.call(command, Repeat::Never).await
    }

    /// Runs a script that changes something, like [`Link::write`].
    pub(super) async fn run<T: FromRedisValue>(&self, call: ScriptCall) -> Result<T> {
        self.call_script(&call, Repeat::Never).await
    }

    /// Runs a script that may run twice, like [`Link::read`].
    pub(super) async fn run_repeatable<T: FromRedisValue>(&self, call: ScriptCall) -> Result<T> {
        self.call_script(&call, Repeat::Harmless).await
    }

    async fn call_script<T: FromRedisValue>(&self, call: &ScriptCall, repeat: Repeat) -> Result<T> {
        match self.call(&call.by_hash(), repeat).await {
            Err(StoreError::Redis(error))
                if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) =>
            {
                self.call(&call.in_full(), repeat).await
            }
            result => result,
        }
    }

    async fn call<T: FromRedisValue>(&self, command: &Cmd, repeat: Repeat) -> Result<T> {
        let value = self.send(command, repeat).await?;
        redis::from_redis_value(value).map_err(|error| StoreError::Redis(Box::new(error.into())))
    }

    async fn send(&self, command: &Cmd, repeat: Repeat) -> Result<Value> {
        let (started, mut may_repeat) = (Instant::now(), repeat == Repeat::Harmless);
        loop {
            let (mut connection, generation) = self.connection().await?;
            let error = match connection.send(command).await {
                Ok(value) => {
                    self.note_answer();
                    return Ok(value);
                }
                Err(error) => error,
            };
            let verdict = Verdict::of(&error);
            if verdict.condemns(&connection) {
                self.give_up(generation).await;
            }
            match verdict {
                Verdict::NotHere if started.elapsed() < limits::REDIS_REDIRECT_TIMEOUT => {
                    sleep(limits::REDIS_REDIRECT_PAUSE).await;
                }
                Verdict::Lost if may_repeat => may_repeat = false,
                Verdict::Refused => return Err(StoreError::Redis(Box::new(error))),
                Verdict::NotHere | Verdict::Lost | Verdict::Busy => {
                    return Err(self.unavailable(&error));
                }
            }
        }
    }

    /// The present connection and its number, or a new one.
    async fn connection(&self) -> Result<(Connection, u64)> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.generation));
        }
        if let Some((at, reason)) = &state.failure
            && at.elapsed() < limits::REDIS_RECONNECT_PAUSE
        {
            return Err(StoreError::Unavailable(reason.clone()));
        }
        match self.source.connect().await {
            Ok(connection) => {
                state.connection = Some(connection.clone());
                state.generation += 1;
                state.failure = None;
                Ok((connection, state.generation))
            }
            Err(error) => {
                state.failure = Some((Instant::now(), error.to_string()));
                Err(self.unavailable(&error))
            }
        }
    }

    async fn give_up(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.generation == generation {
            state.connection = None;
        }
    }

    fn unavailable(&self, error: &RedisError) -> StoreError {
        if !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "Redis does not answer: requests are refused until it does");
        }
        StoreError::Unavailable(error.to_string())
    }

    fn note_answer(&self) {
        if self.is_away.load(Ordering::Relaxed) && self.is_away.swap(false, Ordering::Relaxed) {
            tracing::info!("Redis answers again");
        }
    }
}

impl Source {
    async fn connect(&self) -> RedisResult<Connection> {
        match timeout(limits::REDIS_CONNECT_TIMEOUT, self.connect_once()).await {
            Ok(result) => result,
            Err(_) => Err((ErrorKind::Io, "connecting took too long").into()),
        }
    }

    async fn connect_once(&self) -> RedisResult<Connection> {
        let config = connection_config();
        match self {
            Self::Server(client) => {
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                Ok(Connection::Server(connection.await?))
            }
            Self::Sentinel(client) => {
                let mut client = client.lock().await;
                let connection = client.get_async_connection_with_config(&config);
                Ok(Connection::Server(connection.await?))
            }
            Self::Cluster(client) => Ok(Connection::Cluster(client.get_async_connection().await?)),
        }
    }
}

fn connection_config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limits::REDIS_CONNECT_TIMEOUT))
        .set_response_timeout(Some(limits::REDIS_RESPONSE_TIMEOUT))
        .set_pipeline_buffer_size(limits::REDIS_QUEUE)
}

impl Connection {
    async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Server(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

/// What an error says about the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Not done: another node is to be asked.
    NotHere,
    /// Perhaps done: the connection broke, or the answer took too long.
    Lost,
    /// Not done: the server cannot for now, or the one that it concerns is away.
    Busy,
    /// Not done: the server does not do such things.
    Refused,
}

impl Verdict {
    fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Io => Self::Lost,
            ErrorKind::ClusterConnectionNotFound => Self::Busy,
            ErrorKind::Server(
                ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ReadOnly,
            ) => Self::NotHere,
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown,
            ) => Self::Busy,
            // Out of memory, a disk that is full, too few replicas, a script that runs too long.
            _ if matches!(
                error.code(),
                Some("OOM" | "MISCONF" | "NOREPLICAS" | "BUSY")
            ) =>
            {
                Self::Busy
            }
            _ => Self::Refused,
        }
    }

    /// Whether the connection is no good any more. A master that has become a replica stays one;
    /// a Cluster's client mends its connections by itself.
    fn condemns(self, connection: &Connection) -> bool {
        matches!(self, Self::Lost | Self::NotHere) && matches!(connection, Connection::Server(_))
    }
}

/// A script with its keys and arguments.
pub(super) struct ScriptCall {
    script: &'static Script,
    keys: Vec<String>,
    arguments: Vec<Vec<u8>>,
}

impl ScriptCall {
    /// A call on `keys`, which lie in one slot.
    pub(super) fn new(script: &'static Script, keys: impl IntoIterator<Item = String>) -> Self {
        Self {
            script,
            keys: keys.into_iter().collect(),
            arguments: Vec::new(),
        }
    }

    /// The call with one argument more.
    pub(super) fn arg(mut self, argument: impl Into<Vec<u8>>) -> Self {
        self.push(argument);
        self
    }

    /// Adds an argument.
    pub(super) fn push(&mut self, argument: impl Into<Vec<u8>>) {
        self.arguments.push(argument.into());
    }

    /// The call with a number as one argument more.
    pub(super) fn number(self, number: u64) -> Self {
        self.arg(number.to_string())
    }

    /// The call with a time in milliseconds as one argument more.
    pub(super) fn millis(self, time: Duration) -> Self {
        self.arg(time.as_millis().to_string())
    }

    fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", self.script.hash())
    }

    fn in_full(&self) -> Cmd {
        self.command("EVAL", self.script.text)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command
            .arg(script)
            .arg(self.keys.len())
            .arg(&self.keys)
            .arg(&self.arguments);
        command
    }
}

// `map_err` hands the error over by value.
#[allow(clippy::needless_pass_by_value)]
fn unfit(error: RedisError) -> StoreError {
    StoreError::Unfit(format!("redis: {error}"))
}
