//! Redis goes, comes back, moves, and is somebody else.

use std::time::Instant;

use super::*;
use crate::{
    error::StoreError,
    store::{
        UserUpdated,
        contract::records::{node, user},
        redis::servers::{Watched, wait_for},
    },
};

/// Within this an operation fails while nothing listens, on a machine that is busy.
const SOON: Duration = Duration::from_secs(1);

/// Repeats an operation until Redis can do it; anything but a passing fault is a fault of ours.
async fn eventually<T>(mut operation: impl AsyncFnMut() -> Result<T>) -> T {
    let started = Instant::now();
    loop {
        match operation().await {
            Ok(value) => return value,
            Err(error) if error.is_passing() && started.elapsed() < Duration::from_secs(20) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn an_outage_is_told_at_once_and_ends_by_itself() {
    let mut server = Server::start("appendonly yes\nappendfsync always");
    let store = RedisStore::open(&fresh(&server.url()))
        .await
        .expect("a store");
    let alice = store
        .create_user(user("alice"))
        .await
        .expect("write")
        .expect("new");
    server.kill();
    for _ in 0..3 {
        let started = Instant::now();
        let error = store
            .create_user(user("bob"))
            .await
            .expect_err("nobody there");
        assert!(error.is_passing() && started.elapsed() < SOON, "{error}");
        assert!(store.user(&alice.name).await.is_err());
        assert!(store.ping().await.is_err());
    }
    server.restart();
    assert_eq!(
        eventually(async || store.user(&alice.name).await).await,
        Some(alice)
    );
    // The scripts are unknown to a server that started anew.
    store
        .create_user(user("bob"))
        .await
        .expect("write")
        .expect("new: it was never sent");
}

#[tokio::test]
async fn a_restart_of_redis_voids_the_challenges_made_before() {
    let mut server = Server::start("appendonly yes\nappendfsync always");
    let store = RedisStore::open(&fresh(&server.url()))
        .await
        .expect("a store");
    let key = store.challenge_key().await.expect("write");
    assert_eq!(store.challenge_key().await.expect("read"), key);
    server.kill();
    server.restart();
    assert_ne!(eventually(async || store.challenge_key().await).await, key);
}

#[tokio::test]
async fn a_script_that_the_server_forgot_is_sent_again() {
    let server = Server::start("");
    let store = RedisStore::open(&fresh(&server.url()))
        .await
        .expect("a store");
    store.create_user(user("alice")).await.expect("write");
    server.ask(&["SCRIPT", "FLUSH"]);
    store
        .create_user(user("bob"))
        .await
        .expect("write")
        .expect("new");
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let server = Server::start("requirepass correct-horse");
    let with = |login: &str| fresh(&format!("redis://{login}127.0.0.1:{}", server.port));
    RedisStore::open(&with(":correct-horse@"))
        .await
        .expect("let in");
    for login in ["", ":battery-staple@", "nobody:battery-staple@"] {
        let Err(error) = RedisStore::open(&with(login)).await else {
            panic!("let in with {login}")
        };
        assert!(
            !format!("{error} {error:?}").contains("battery-staple"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn data_of_another_format_is_left_alone() {
    let url = fresh(&SERVER.url());
    let key = format!("{}format", url.prefix.as_str());
    SERVER.ask(&["SET", &key, "99"]);
    let Err(error) = RedisStore::open(&url).await else {
        panic!("opened")
    };
    assert!(
        matches!(
            error,
            StoreError::Schema {
                found: 99,
                known: 1
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_version_is_above_all_before_even_where_redis_lost_its_counter() {
    let url = fresh(&SERVER.url());
    let store = RedisStore::open(&url).await.expect("a store");
    let first = store
        .create_user(user("alice"))
        .await
        .expect("write")
        .expect("new");
    store.delete_user(&first.name).await.expect("write");
    SERVER.ask(&["DEL", &store.names.user_version(USERS.shard_of("alice"))]);
    tokio::time::sleep(Duration::from_millis(2)).await;
    let second = store
        .create_user(user("alice"))
        .await
        .expect("write")
        .expect("new");
    assert!(second.version > first.version);
}

#[tokio::test]
async fn a_page_is_filled_although_records_are_missing() {
    let store = RedisStore::open(&fresh(&SERVER.url()))
        .await
        .expect("a store");
    for name in ["a", "b", "c", "d"] {
        store.create_user(user(name)).await.expect("write");
    }
    // As if it were removed between the two steps of a page.
    SERVER.ask(&[
        "HDEL",
        &store.names.records(USERS, USERS.shard_of("b")),
        "b",
    ]);
    let page = store.list_users(None, 3).await.expect("read");
    assert_eq!(
        page.iter()
            .map(|user| user.name.as_str())
            .collect::<Vec<_>>(),
        ["a", "c", "d"]
    );
}

#[tokio::test]
async fn a_cluster_may_move_a_slot_and_lose_a_node_for_a_while() {
    let mut cluster = Cluster::start(Duration::from_millis(500));
    let store = RedisStore::open(&fresh(&cluster.url()))
        .await
        .expect("a store");
    a_slot_that_moves_is_followed(&cluster, &store).await;
    let ids = (0..32).map(node);
    for node in ids.clone() {
        store.enrol_node(node).await.expect("write");
    }
    cluster.nodes[0].kill();
    let mut failed = 0;
    for node in ids.clone() {
        let started = Instant::now();
        failed += usize::from(
            store
                .node(node.id)
                .await
                .is_err_and(|error| error.is_passing()),
        );
        assert!(
            started.elapsed() < Duration::from_secs(4),
            "{:?}",
            started.elapsed()
        );
    }
    assert!(failed > 0, "a third of the slots is away");
    cluster.nodes[0].restart();
    for node in ids {
        assert_eq!(
            eventually(async || store.node(node.id).await).await,
            Some(node)
        );
    }
}

async fn a_slot_that_moves_is_followed(cluster: &Cluster, store: &RedisStore) {
    let alice = store
        .create_user(user("alice"))
        .await
        .expect("write")
        .expect("new");
    let records = store.names.records(USERS, USERS.shard_of("alice"));
    let to = cluster.move_slot(&records);
    assert_eq!(
        store.user(&alice.name).await.expect("read"),
        Some(alice.clone())
    );
    assert!(store.delete_user(&alice.name).await.expect("write"));
    let left = cluster.nodes[to].ask(&["EXISTS", &records]);
    assert_eq!(left, ":0\r\n", "the new owner did it");
}

#[tokio::test]
async fn the_replica_that_takes_over_is_found() {
    let watched = Watched::start();
    let store = RedisStore::open(&fresh(&watched.url()))
        .await
        .expect("a store");
    let alice = store
        .create_user(user("alice"))
        .await
        .expect("write")
        .expect("new");
    let holds = || watched.replica.ask(&["DBSIZE"]) == watched.master.ask(&["DBSIZE"]);
    wait_for("the replica to catch up", holds);
    watched.master.kill();
    let off = UserChange {
        enabled: Some(false),
        ..UserChange::default()
    };
    let changed = eventually(async || {
        store
            .update_user(&alice.name, Some(alice.version), off.clone())
            .await
    })
    .await;
    let UserUpdated::Done(changed) = changed else {
        panic!("{changed:?}")
    };
    assert!(changed.version > alice.version);
    assert!(
        watched
            .replica
            .ask(&["INFO", "replication"])
            .contains("role:master")
    );
}
