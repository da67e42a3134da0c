//! Whether a Redis is one that a manager should run on.

use std::collections::HashMap;

use redis::{Value, cmd, from_redis_value_ref};

use super::RedisStore;
use crate::{error::StoreError, limits, store::Result};

/// The format of everything that lasts. Another number means that other versions of the manager
/// cannot read it.
pub(super) const FORMAT: u64 = 1;

/// What a server says about itself (INFO).
struct Info(HashMap<String, String>);

impl Info {
    fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        Self(
            lines
                .map(|(key, value)| (key.into(), value.trim().into()))
                .collect(),
        )
    }

    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// Major and minor part of the version.
    fn version(&self) -> Option<(u32, u32)> {
        let mut parts = self.get("redis_version").split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    }
}

impl RedisStore {
    /// Refuses servers that are too old and warns of those that may lose what they were told.
    pub(super) async fn check_server(&self) -> Result<()> {
        let infos: Value = self.link.read(&cmd("INFO")).await?;
        for info in texts(&infos) {
            let info = Info::parse(&info);
            require_version(&info)?;
            for warning in warnings(&info) {
                tracing::warn!("Redis on port {}: {warning}", info.get("tcp_port"));
            }
        }
        self.check_persistence().await;
        Ok(())
    }

    /// The settings that only CONFIG GET tells, which managed services often forbid.
    async fn check_persistence(&self) {
        let config: Result<Value> = self
            .link
            .read(
                cmd("CONFIG")
                    .arg("GET")
                    .arg("appendfsync")
                    .arg("save")
                    .arg("appendonly"),
            )
            .await;
        let settings = match config {
            Ok(Value::Map(nodes))
                if nodes
                    .iter()
                    .all(|(_, value)| matches!(value, Value::Map(_) | Value::Array(_))) =>
            {
                nodes.into_iter().map(|(_, settings)| settings).collect()
            }
            Ok(settings) => vec![settings],
            Err(error) => {
                tracing::debug!(%error, "cannot see how Redis keeps its data");
                return;
            }
        };
        for settings in settings {
            let settings: HashMap<String, String> =
                from_redis_value_ref(&settings).unwrap_or_default();
            if let Some(warning) = persistence_warning(&settings) {
                tracing::warn!("Redis: {warning}");
            }
        }
    }

    /// Marks a new data set with the format, and refuses one of another format.
    pub(super) async fn check_format(&self) -> Result<()> {
        let key = self.names.format();
        let set = cmd("SET").arg(&key).arg(FORMAT).arg("NX").to_owned();
        self.link.read::<()>(&set).await?;
        let found: String = self.link.read(cmd("GET").arg(&key)).await?;
        check_format(&key, &found)
    }
}

fn check_format(key: &str, found: &str) -> Result<()> {
    match found.parse() {
        Ok(FORMAT) => Ok(()),
        Ok(found) => Err(StoreError::Schema {
            found,
            known: FORMAT,
        }),
        Err(_) => Err(StoreError::Unfit(format!(
            "redis: {key} holds {found:?}, which is no format of a manager's data"
        ))),
    }
}

/// One text of each server: a Cluster answers with all of its nodes'.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Map(nodes) => nodes
            .iter()
            .flat_map(|(_, text)| from_redis_value_ref(text))
            .collect(),
        text => from_redis_value_ref(text).into_iter().collect(),
    }
}

fn require_version(info: &Info) -> Result<()> {
    let (major, minor) = limits::MIN_REDIS_VERSION;
    match info.version() {
        Some(version) if version >= limits::MIN_REDIS_VERSION => Ok(()),
        _ => Err(StoreError::Unfit(format!(
            "this is Redis {:?}; {major}.{minor} or newer is needed",
            info.get("redis_version")
        ))),
    }
}

/// What everybody may know of a server and an operator should.
fn warnings(info: &Info) -> Vec<String> {
    let mut warnings = Vec::new();
    let policy = info.get("maxmemory_policy");
    if !["", "noeviction"].contains(&policy) && info.get("maxmemory") != "0" {
        warnings.push(format!(
            "maxmemory-policy is {policy}: users and nodes may be dropped when memory is short; set it to noeviction"
        ));
    }
    warnings
}

fn persistence_warning(settings: &HashMap<String, String>) -> Option<&'static str> {
    let is = |key: &str, value: &str| settings.get(key).is_some_and(|found| found == value);
    if is("appendonly", "yes") {
        let is_lazy = !is("appendfsync", "always");
        return is_lazy.then_some(
            "appendfsync is not \"always\": the changes of the last second may be lost in a crash",
        );
    }
    match is("save", "") {
        true => Some(
            "it keeps neither an append-only file nor snapshots: USERS, NODES AND KEYS ARE GONE WHEN IT STOPS; \
             set appendonly yes and appendfsync always",
        ),
        false => Some(
            "it keeps snapshots only: the changes since the last one are lost in a crash; set appendonly yes",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str) -> Info {
        Info::parse(&format!(
            "# Server\r\nredis_version:{version}\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n"
        ))
    }

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        for version in ["7.0.15", "7.2.4", "8.0.0", "10.1.0"] {
            require_version(&info(version)).expect(version);
        }
        for version in ["6.2.14", "2.8.0", "unknown", ""] {
            let error = require_version(&info(version))
                .expect_err(version)
                .to_string();
            assert!(
                error.contains(&format!("{version:?}; 7.0 or newer")),
                "{error}"
            );
        }
    }

    #[test]
    fn what_may_lose_data_is_warned_of() {
        let settings = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|&(key, value)| (key.to_owned(), value.to_owned()));
            persistence_warning(&owned.collect()).unwrap_or_default()
        };
        let aof = |fsync| settings(&[("appendonly", "yes"), ("appendfsync", fsync), ("save", "")]);
        assert_eq!(aof("always"), "");
        assert!(aof("everysec").contains("last second"));
        assert!(settings(&[("appendonly", "no"), ("save", "3600 1")]).contains("snapshots only"));
        assert!(settings(&[("appendonly", "no"), ("save", "")]).contains("GONE WHEN IT STOPS"));
        assert_eq!(warnings(&info("7.0.0")), [""; 0], "no limit, no eviction");
        let limited = Info::parse("maxmemory:100\nmaxmemory_policy:allkeys-lru");
        assert!(warnings(&limited)[0].contains("allkeys-lru"));
    }

    #[test]
    fn another_format_is_refused() {
        check_format("k", "1").expect("ours");
        assert!(matches!(
            check_format("k", "2"),
            Err(StoreError::Schema {
                found: 2,
                known: FORMAT
            })
        ));
        assert!(matches!(
            check_format("k", "importing"),
            Err(StoreError::Unfit(_))
        ));
    }
}
