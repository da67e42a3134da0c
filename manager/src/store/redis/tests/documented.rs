//! Every key is of a kind that `docs/redis-keys.md` names, and expires where it says so.

use std::collections::BTreeSet;

use redis::{Client, cmd};
use titan_proto::control::BlockTarget;

use super::*;
use crate::store::{
    HeartbeatOutcome, SecretHash, UnixTime,
    contract::{presence::beat, records},
};

/// A line of the table.
#[derive(Debug)]
struct Kind {
    pattern: String,
    redis_type: String,
    expires: bool,
}

/// The table, as a reader finds it.
fn table() -> Vec<Kind> {
    let text = include_str!("../../../../../docs/redis-keys.md");
    let cells = |line: &str| {
        line.split('|')
            .map(|cell| cell.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(cells);
    // Five columns between bars; the page has other tables too.
    let rows = rows.filter(|cells| cells.len() == 7);
    rows.map(|cells| Kind {
        pattern: cells[1].trim_matches('`').to_owned(),
        redis_type: cells[2].clone(),
        expires: cells[4] != "never",
    })
    .collect()
}

/// Whether `key` is `pattern` with something in place of each word in capitals.
fn fits(pattern: &str, key: &str) -> bool {
    let is_word = |c: char| c.is_ascii_uppercase();
    match pattern.find(is_word) {
        None => pattern == key,
        Some(at) => {
            let rest = pattern[at..].trim_start_matches(is_word);
            let Some(key) = key.strip_prefix(&pattern[..at]) else {
                return false;
            };
            let allows = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let most = key.find(|c| !allows(c)).unwrap_or(key.len());
            (1..=most).any(|end| fits(rest, &key[end..]))
        }
    }
}

/// The keys of one store.
pub(super) struct Inventory {
    prefix: String,
    urls: Vec<String>,
}

impl Inventory {
    pub(super) fn of(prefix: &KeyPrefix, servers: &[&Server]) -> Self {
        Self {
            prefix: prefix.as_str().into(),
            urls: servers.iter().map(|server| server.url()).collect(),
        }
    }

    /// Compares every key with the table; returns the patterns that were met.
    pub(super) async fn check(&self) -> BTreeSet<String> {
        let (table, mut met) = (table(), BTreeSet::new());
        for url in &self.urls {
            let client = Client::open(url.as_str()).expect("a client");
            let mut server = client
                .get_multiplexed_async_connection()
                .await
                .expect("a connection");
            let keys: Vec<String> = cmd("KEYS")
                .arg(format!("{}*", self.prefix))
                .query_async(&mut server)
                .await
                .expect("keys");
            for key in keys {
                let redis_type: String = cmd("TYPE")
                    .arg(&key)
                    .query_async(&mut server)
                    .await
                    .expect("a type");
                let life: i64 = cmd("PTTL")
                    .arg(&key)
                    .query_async(&mut server)
                    .await
                    .expect("a life");
                if redis_type == "none" || life == -2 {
                    continue; // It has expired just now.
                }
                let name = key.strip_prefix(&self.prefix).expect("ours");
                let kind = table.iter().find(|kind| fits(&kind.pattern, name));
                let kind = kind.unwrap_or_else(|| panic!("docs/redis-keys.md does not name {key}"));
                assert_eq!(redis_type, kind.redis_type, "{key} as {kind:?}");
                assert_eq!(life >= 0, kind.expires, "{key} as {kind:?}, life {life}");
                met.insert(kind.pattern.clone());
            }
        }
        met
    }
}

#[test]
fn patterns_are_read_as_meant() {
    assert!(fits("{users:SHARD}:ids", "{users:15}:ids"));
    assert!(fits("{pop:POP}:nodes", "{pop:eu-1}:nodes"));
    assert!(!fits("{pop:POP}:nodes", "{pop:}:nodes"));
    assert!(!fits("{pop:POP}:nodes", "{pop:a}:nodes:more"));
    assert!(!fits("format", "format2"));
}

/// Makes one record of each kind.
async fn fill_tables(store: &RedisStore) -> (PopId, NodeId) {
    let (pop, created_at): (PopId, _) = ("p1".parse().expect("an id"), UnixTime(5));
    let alice = records::user("alice");
    store.create_user(alice).await.expect("write");
    let node = store.enrol_node(records::node(7)).await.expect("write").id;
    let secret = SecretHash::new([1; 32]);
    let record = Pop {
        id: pop.clone(),
        region: None,
        credential: secret,
        created_at,
    };
    store.create_pop(record).await.expect("write");
    let key = EnrolmentKey {
        id: "k1".into(),
        secret,
        region: None,
        created_at,
    };
    store.create_enrolment_key(key).await.expect("write");
    let token = records::admin_token("t1");
    store.create_first_admin_token(token).await.expect("write");
    let block = Block {
        target: BlockTarget::Node(node),
        reason: None,
        created_at,
    };
    store.create_block(block).await.expect("write");
    (pop, node)
}

/// Makes what belongs to operators' orders and users' traffic.
async fn change_and_count(store: &RedisStore, pop: &PopId, node: NodeId) {
    let request = Digest([1; 32]);
    let reserved = store.reserve_request(request, request, UnixTime(5)).await;
    assert_eq!(reserved.expect("write"), Reservation::Granted);
    let alice = "alice".parse().expect("a name");
    let change = UserChange::default();
    store
        .update_user(&alice, None, change)
        .await
        .expect("write");
    assert!(store.kick_node(node).await.expect("write"));
    let (stream, batch) = (UsageStream::new([1; 16]), usage::batch(1, 5, &["alice"]));
    let applied = store.apply_usage(pop, stream, batch).await;
    assert_eq!(applied.expect("write"), UsageApplied::Done);
}

/// Makes what concerns challenges and who is online.
async fn be_online(store: &RedisStore, pop: &PopId, node: NodeId) {
    store.signing_key([1; 32]).await.expect("write");
    store.challenge_key().await.expect("write");
    let ttl = Duration::from_secs(60);
    store.claim_nonce([1; 16], ttl).await.expect("write");
    let mut heartbeat = beat("run", 1);
    heartbeat.full = true;
    heartbeat.connected = vec![(node, [192, 0, 2, 1].into())];
    // A list that was put aside and is left there.
    let staged = store.names.pop_staged(pop, 1);
    store.stage(pop, &staged, &heartbeat).await.expect("write");
    let outcome = store.record_heartbeat(pop, heartbeat, ttl).await;
    assert_eq!(outcome.expect("write"), HeartbeatOutcome::Applied);
    let assigned = store.record_assignment(node, pop, "1").await;
    assert!(assigned.expect("write"));
}

#[tokio::test]
async fn every_kind_of_key_is_documented_and_every_documented_kind_exists() {
    let url = fresh(&SERVER.url());
    let inventory = Inventory::of(&url.prefix, &[&SERVER]);
    let store = RedisStore::open(&url).await.expect("a store");
    let (pop, node) = fill_tables(&store).await;
    change_and_count(&store, &pop, node).await;
    be_online(&store, &pop, node).await;
    let met = inventory.check().await;
    let all = table()
        .into_iter()
        .map(|kind| kind.pattern)
        .collect::<BTreeSet<_>>();
    assert!(!all.is_empty());
    assert_eq!(met, all);
}
