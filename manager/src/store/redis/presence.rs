//! Who is online.
//!
//! What a PoP holds is true in one place: a hash per PoP, which one script changes and which
//! expires when the PoP falls silent. To find a node without asking every PoP, it is noted per
//! node on which PoPs it has been seen; such a note may be out of date, so the PoP's own hash is
//! looked into. The note is made before the hash is changed: should the manager die in between, a note is
//! useless, but no node is missed. Notes expire after a day, so each PoP is asked for its whole list a few
//! times a day.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use redis::cmd;
use serde::{Deserialize, Serialize};
use titan_proto::control::{NodeId, PopId};

use super::{
    RedisStore,
    link::ScriptCall,
    names::{POPS, sighting_shard},
    scripts::{ANNOUNCE, EXPECT, HEARTBEAT, LIVE, SIGHT, SIGHTED, STAGE},
    table::{decode, encode},
};
use crate::{
    error::StoreError,
    limits,
    store::{Heartbeat, HeartbeatOutcome, LivePop, NodeLocation, PopPresence, Result},
};

/// What everybody may see of a heartbeat.
#[derive(Serialize, Deserialize)]
struct Announcement {
    boot_id: String,
    sequence: u64,
    presence: PopPresence,
}

impl RedisStore {
    pub(super) async fn take_heartbeat(
        &self,
        id: &PopId,
        heartbeat: Heartbeat,
        ttl: Duration,
    ) -> Result<HeartbeatOutcome> {
        self.note_sightings(id, &heartbeat.connected).await?;
        let staged = self.names.pop_staged(id, rand::random());
        if heartbeat.full {
            self.stage(id, &staged, &heartbeat).await?;
        }
        let outcome = self.apply(id, staged, &heartbeat, ttl).await?;
        if outcome != HeartbeatOutcome::Stale {
            self.announce(id, heartbeat, ttl).await?;
        }
        Ok(outcome)
    }

    pub(super) async fn presence_of(&self, id: &PopId) -> Result<Option<PopPresence>> {
        Ok(self.live(Some(id)).await?.pop().map(|pop| pop.presence))
    }

    pub(super) async fn live(&self, only: Option<&PopId>) -> Result<Vec<LivePop>> {
        let names = &self.names;
        let mut call = ScriptCall::new(&LIVE, [names.live(), names.live_until(), names.expected()]);
        if let Some(id) = only {
            call.push(id.as_str());
        }
        let found: Vec<(String, String, u32)> = self.link.run_repeatable(call).await?;
        found
            .iter()
            .map(|(id, announcement, expected)| live_pop(id, announcement, *expected))
            .collect()
    }

    /// Counts a node that was just sent to the PoP; its next heartbeat puts the number right.
    pub(super) async fn expect_tunnel(&self, id: &PopId) -> Result<()> {
        let call = ScriptCall::new(&EXPECT, [self.names.live_until(), self.names.expected()]);
        self.link.run(call.arg(id.as_str())).await
    }

    pub(super) async fn locate(&self, ids: &[NodeId]) -> Result<Vec<Option<NodeLocation>>> {
        let sighted = self.sighted(ids).await?;
        let asked = sighted.into_iter().map(async |(pop, places)| {
            let mut get = cmd("HMGET");
            get.arg(self.names.pop_nodes(&pop));
            places.iter().for_each(|&place| {
                get.arg(ids[place].to_string());
            });
            let held: Vec<Option<String>> = self.link.read(&get).await?;
            Ok::<_, StoreError>((pop, places.into_iter().zip(held).collect::<Vec<_>>()))
        });
        let answers: Vec<_> = stream::iter(asked)
            .buffered(limits::REDIS_FAN_OUT)
            .try_collect()
            .await?;
        let mut last: Vec<Option<(u64, NodeLocation)>> = vec![None; ids.len()];
        for (pop, held) in answers {
            for (place, since, address) in held
                .iter()
                .filter_map(|(place, held)| parse_held(*place, held.as_deref()?))
            {
                if last[place]
                    .as_ref()
                    .is_none_or(|(earlier, _)| *earlier < since)
                {
                    let pop = pop.clone();
                    last[place] = Some((since, NodeLocation { pop, address }));
                }
            }
        }
        Ok(last
            .into_iter()
            .map(|found| found.map(|(_, location)| location))
            .collect())
    }

    /// The PoPs on which `ids` were seen, each with the places of those in `ids`.
    async fn sighted(&self, ids: &[NodeId]) -> Result<HashMap<PopId, Vec<usize>>> {
        let asked = batches(ids.iter().copied().enumerate(), |&(_, node)| node);
        let asked = asked.into_iter().map(async |batch| {
            let keys = batch.iter().map(|&(_, node)| self.names.sighting(node));
            let pops: Vec<Vec<String>> = self
                .link
                .run_repeatable(ScriptCall::new(&SIGHTED, keys))
                .await?;
            Ok::<_, StoreError>(batch.into_iter().zip(pops).collect::<Vec<_>>())
        });
        let answers: Vec<_> = stream::iter(asked)
            .buffered(limits::REDIS_FAN_OUT)
            .try_collect()
            .await?;
        let mut found: HashMap<PopId, Vec<usize>> = HashMap::new();
        for ((place, _), pops) in answers.into_iter().flatten() {
            for pop in pops.iter().filter_map(|pop| pop.parse().ok()) {
                found.entry(pop).or_default().push(place);
            }
        }
        Ok(found)
    }

    async fn note_sightings(&self, id: &PopId, nodes: &[(NodeId, IpAddr)]) -> Result<()> {
        let noted = batches(nodes.iter().map(|&(node, _)| node), |&node| node);
        let noted = noted.into_iter().map(async |batch| {
            let keys = batch.into_iter().map(|node| self.names.sighting(node));
            let call = ScriptCall::new(&SIGHT, keys)
                .arg(id.as_str())
                .millis(limits::SIGHTING_LIFETIME);
            self.link.run_repeatable::<()>(call).await
        });
        stream::iter(noted)
            .buffered(limits::REDIS_FAN_OUT)
            .try_collect()
            .await
    }

    /// Puts a whole list aside, piece by piece, so that Redis never works on it for long.
    pub(super) async fn stage(
        &self,
        id: &PopId,
        staged: &str,
        heartbeat: &Heartbeat,
    ) -> Result<()> {
        let most = heartbeat.connected.len().min(limits::MAX_NODES_PER_POP);
        for piece in heartbeat.connected[..most].chunks(limits::REDIS_BATCH) {
            let keys = [
                self.names.pop_state(id),
                self.names.pop_nodes(id),
                staged.into(),
            ];
            let call = ScriptCall::new(&STAGE, keys).arg(heartbeat.boot_id.as_str());
            let mut call = call.millis(limits::STAGED_LIFETIME);
            push_nodes(&mut call, piece);
            self.link.run_repeatable::<()>(call).await?;
        }
        Ok(())
    }

    async fn apply(
        &self,
        id: &PopId,
        staged: String,
        heartbeat: &Heartbeat,
        ttl: Duration,
    ) -> Result<HeartbeatOutcome> {
        let (connected, disconnected) = (&heartbeat.connected, &heartbeat.disconnected);
        let is_long = connected.len() + disconnected.len() > limits::MAX_HEARTBEAT_CHANGES;
        let (kind, is_inline) = match (heartbeat.full, is_long) {
            (true, _) => ("full", false),
            (false, true) => ("unlisted", false),
            (false, false) => ("part", true),
        };
        let keys = [self.names.pop_state(id), self.names.pop_nodes(id), staged];
        let mut call = ScriptCall::new(&HEARTBEAT, keys)
            .arg(heartbeat.boot_id.as_str())
            .number(heartbeat.sequence)
            .millis(ttl)
            .arg(kind)
            .number(limits::MAX_NODES_PER_POP as u64)
            .number(limits::RESYNC_INTERVAL.as_secs())
            .number(if is_inline { connected.len() as u64 } else { 0 });
        if is_inline {
            push_nodes(&mut call, connected);
            disconnected
                .iter()
                .for_each(|node| call.push(node.to_string()));
        }
        let (outcome, refused): (String, u64) = self.link.run(call).await?;
        if refused > 0 {
            tracing::warn!(pop = %id, refused, "[DIAG] a PoP reports more nodes than it may hold");
        }
        Ok(match outcome.as_str() {
            "applied" => HeartbeatOutcome::Applied,
            "stale" => HeartbeatOutcome::Stale,
            _ => HeartbeatOutcome::Resync,
        })
    }

    async fn announce(&self, id: &PopId, heartbeat: Heartbeat, ttl: Duration) -> Result<()> {
        let announcement = Announcement {
            boot_id: heartbeat.boot_id,
            sequence: heartbeat.sequence,
            presence: heartbeat.presence,
        };
        let names = &self.names;
        let call = ScriptCall::new(
            &ANNOUNCE,
            [names.live(), names.live_until(), names.expected()],
        );
        let text = encode(POPS, id.as_str(), &announcement)?;
        self.link
            .run_repeatable(call.arg(id.as_str()).arg(text).millis(ttl))
            .await
    }
}

fn live_pop(id: &str, announcement: &str, expected: u32) -> Result<LivePop> {
    let Announcement { mut presence, .. } = decode(POPS, id, announcement)?;
    presence.tunnels = presence.tunnels.saturating_add(expected);
    let id = id
        .parse()
        .map_err(|error| StoreError::Unfit(format!("redis: a PoP is called {id:?}: {error}")))?;
    Ok(LivePop { id, presence })
}

/// Reads what a PoP's hash says about a node: since when it is held, and its address.
fn parse_held(place: usize, text: &str) -> Option<(usize, u64, IpAddr)> {
    let (since, address) = text.split_once(' ')?;
    Some((place, since.parse().ok()?, address.parse().ok()?))
}

fn push_nodes(call: &mut ScriptCall, nodes: &[(NodeId, IpAddr)]) {
    for (node, address) in nodes {
        call.push(node.to_string());
        call.push(address.to_string());
    }
}

/// Groups what belongs to nodes by the slot of their sightings, in groups that Redis can take at once.
fn batches<T>(items: impl Iterator<Item = T>, node: impl Fn(&T) -> NodeId) -> Vec<Vec<T>> {
    let mut groups: HashMap<u8, Vec<Vec<T>>> = HashMap::new();
    for item in items {
        let group = groups.entry(sighting_shard(node(&item))).or_default();
        match group.last_mut() {
            Some(batch) if batch.len() < limits::REDIS_BATCH => batch.push(item),
            _ => group.push(vec![item]),
        }
    }
    groups.into_values().flatten().collect()
}
