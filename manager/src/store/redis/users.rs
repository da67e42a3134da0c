//! Users, each with a version that no other state of a user of this name ever had.
//!
//! A user is stored as version, space, JSON, because the script that gives the version must not
//! write JSON: Lua knows only one kind of number.

use super::{
    RedisStore,
    link::ScriptCall,
    names::USERS,
    scripts::{CREATE_USER, UPDATE_USER},
    table::{bad_record, decode, encode},
};
use crate::{
    error::StoreError,
    limits,
    store::{NewUser, Result, UnixTime, User, UserChange, UserUpdated},
};

/// Stands in the JSON, where the true version stands before it.
const NO_VERSION: u64 = 0;

impl RedisStore {
    pub(super) async fn add_user(&self, user: NewUser) -> Result<Option<User>> {
        let user = user.with_version(NO_VERSION);
        let (name, shard) = (user.name.as_str(), USERS.shard_of(user.name.as_str()));
        let [records, ids] = self.part(USERS, shard);
        let (version, usage) = (
            self.names.user_version(shard),
            self.names.usage(shard, name),
        );
        let call = ScriptCall::new(&CREATE_USER, [records, ids, version, usage]);
        let version: u64 = self
            .link
            .run(call.arg(name).arg(encode(USERS, name, &user)?))
            .await?;
        Ok((version != NO_VERSION).then_some(User { version, ..user }))
    }

    pub(super) async fn find_user(&self, name: &str) -> Result<Option<User>> {
        let raw = self.get_raw(USERS, name).await?;
        raw.map(|raw| parse(name, &raw)).transpose()
    }

    pub(super) async fn users_behind(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<User>> {
        let raw = self.list_raw(USERS, after, limit).await?;
        raw.iter().map(|(name, raw)| parse(name, raw)).collect()
    }

    pub(super) async fn change_user(
        &self,
        name: &str,
        expected: Option<u64>,
        change: UserChange,
    ) -> Result<UserUpdated> {
        for _ in 0..limits::MAX_CHANGE_ATTEMPTS {
            let Some(user) = self.find_user(name).await? else {
                return Ok(UserUpdated::Missing);
            };
            if expected.is_some_and(|expected| expected != user.version) {
                return Ok(UserUpdated::Conflict(user.version));
            }
            let (read, begins_anew) = (user.version, change.begins_package_anew(&user));
            let user = match change.clone().apply(user, NO_VERSION) {
                Ok(user) => user,
                Err(error) => return Ok(UserUpdated::Refused(error)),
            };
            let shard = USERS.shard_of(name);
            let keys = [
                self.names.records(USERS, shard),
                self.names.user_version(shard),
                self.names.usage(shard, name),
                self.names.outbox(USERS, shard),
            ];
            let call = ScriptCall::new(&UPDATE_USER, keys).arg(name).number(read);
            let call = call
                .arg(encode(USERS, name, &user)?)
                .number(begins_anew.into());
            let at = UnixTime::now();
            let call = call.number(at.0).number(limits::MAX_EVENTS);
            if let Some((version, place)) = self.link.run::<Option<_>>(call).await? {
                let user = User { version, ..user };
                self.tell_of_user(shard, place, at, &user).await?;
                return Ok(UserUpdated::Done(user));
            }
        }
        Err(StoreError::Contended(name.into()))
    }
}

/// The text form of a user.
pub(super) fn text_form(user: &User) -> Result<String> {
    let version = user.version;
    let user = User {
        version: NO_VERSION,
        ..user.clone()
    };
    Ok(format!(
        "{version} {}",
        encode(USERS, user.name.as_str(), &user)?
    ))
}

/// The user of a text form.
pub(super) fn parse(name: &str, raw: &str) -> Result<User> {
    let (version, json) = raw.split_once(' ').unwrap_or_default();
    let user: User = decode(USERS, name, json)?;
    let version = version.parse().map_err(|_| {
        bad_record(
            USERS,
            name,
            serde::de::Error::custom("no version before it"),
        )
    })?;
    Ok(User { version, ..user })
}
