//! Events that another manager left behind, and those that are too old.

use titan_proto::control::Change;

use super::*;
use crate::{
    limits,
    store::redis::{link::ScriptCall, scripts::APPEND_EVENTS},
};

/// Looks for the latest event that reach every outbox.
const A_ROUND: usize = 32 / limits::REDIS_OUTBOXES_AT_ONCE;

/// What an outbox holds of a manager that died before it passed the event on.
async fn left_behind(store: &RedisStore) {
    let users = store.names.outbox(USERS, USERS.shard_of("alice"));
    let nodes = store.names.outbox(NODES, 7);
    let node = NodeId::from_public_key(&[1; 32]);
    let kicked = serde_json::to_string(&Change::NodeKicked { node }).expect("plain data");
    SERVER.ask(&[
        "XADD", &users, "1-1", "at", "5", "user", "alice", "version", "7",
    ]);
    SERVER.ask(&["XADD", &nodes, "1-1", "at", "6", "change", &kicked]);
}

#[tokio::test]
async fn what_a_manager_left_behind_is_told_once() {
    let store = RedisStore::open(&fresh(&SERVER.url()))
        .await
        .expect("a store");
    let start = store.latest_event().await.expect("read");
    left_behind(&store).await;
    for _ in 0..2 * A_ROUND {
        store.latest_event().await.expect("read");
    }
    let events = store.events_after(start, 9).await.expect("read");
    let mut events = events.expect("held");
    events.sort_by_key(|event| event.at);
    let told = events.into_iter().map(|event| (event.at, event.change));
    let name = "alice".parse().expect("a name");
    let node = NodeId::from_public_key(&[1; 32]);
    let expected = [
        (5, Change::UserChanged { name, version: 7 }),
        (6, Change::NodeKicked { node }),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn an_event_that_is_under_way_is_left_to_its_manager() {
    let store = RedisStore::open(&fresh(&SERVER.url()))
        .await
        .expect("a store");
    let outbox = store.names.outbox(USERS, 0);
    SERVER.ask(&[
        "XADD", &outbox, "*", "at", "5", "user", "alice", "version", "7",
    ]);
    for _ in 0..A_ROUND {
        assert_eq!(store.latest_event().await.expect("read"), 0);
    }
}

#[tokio::test]
async fn old_events_are_forgotten_and_a_gap_is_told() {
    let store = RedisStore::open(&fresh(&SERVER.url()))
        .await
        .expect("a store");
    let change = r#"{"kind":"user_deleted","name":"alice"}"#;
    let append = async |count: usize, most: u64| {
        let call = ScriptCall::new(&APPEND_EVENTS, [store.names.events()]).number(most);
        let call = (0..count).fold(call, |call, _| call.number(5).arg(change));
        store.link.run::<u64>(call).await.expect("write")
    };
    let (first, most) = (append(1, 1).await, 200);
    let last = append(500, most).await;
    assert!(last >= first + 500, "no cursor twice");
    let oldest_kept = last - most + 1;
    let kept = store.events_after(oldest_kept, 500).await.expect("read");
    assert_eq!(kept.expect("held").len() as u64, most - 1);
    assert_eq!(store.events_after(first, 9).await.expect("read"), None);
}
