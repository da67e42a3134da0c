//! Lists of nodes that are taken in piece by piece.

use std::net::IpAddr;

use super::*;
use crate::{
    limits,
    store::{HeartbeatOutcome, contract::presence::beat},
};

const TTL: Duration = Duration::from_secs(60);

/// So many nodes, from `first` on, all different and spread over the slots.
fn nodes(first: usize, count: usize) -> Vec<(NodeId, IpAddr)> {
    let id = |number: usize| {
        format!("{:02x}{number:030x}", number % 256)
            .parse()
            .expect("a node id")
    };
    (first..first + count)
        .map(|number| (id(number), [192, 0, 2, 1].into()))
        .collect()
}

async fn send(store: &RedisStore, heartbeat: Heartbeat) -> HeartbeatOutcome {
    let pop = "p1".parse().expect("an id");
    store
        .record_heartbeat(&pop, heartbeat, TTL)
        .await
        .expect("write")
}

async fn count_held(store: &RedisStore, nodes: &[(NodeId, IpAddr)]) -> usize {
    let ids: Vec<NodeId> = nodes.iter().map(|&(id, _)| id).collect();
    store
        .locate_nodes(&ids)
        .await
        .expect("read")
        .iter()
        .flatten()
        .count()
}

#[tokio::test]
async fn a_list_of_many_pieces_is_taken_in_as_one() {
    let store = RedisStore::open(&fresh(&CLUSTER.url()))
        .await
        .expect("a store");
    let all = nodes(0, 2 * limits::REDIS_BATCH + 1);
    let whole = |sequence, connected: &[_]| Heartbeat {
        full: true,
        connected: connected.to_vec(),
        ..beat("run", sequence)
    };
    assert_eq!(
        send(&store, whole(1, &all)).await,
        HeartbeatOutcome::Applied
    );
    assert_eq!(count_held(&store, &all).await, all.len());
    assert_eq!(
        send(&store, whole(2, &all[..7])).await,
        HeartbeatOutcome::Applied
    );
    assert_eq!(count_held(&store, &all).await, 7);
    assert_eq!(send(&store, whole(2, &all)).await, HeartbeatOutcome::Stale);
    assert_eq!(
        count_held(&store, &all).await,
        7,
        "what is late changes nothing"
    );
}

#[tokio::test]
async fn more_changes_than_fit_are_asked_for_as_a_whole_list() {
    let store = RedisStore::open(&fresh(&SERVER.url()))
        .await
        .expect("a store");
    let known = nodes(0, 1);
    let whole = Heartbeat {
        full: true,
        connected: known.clone(),
        ..beat("run", 1)
    };
    assert_eq!(send(&store, whole).await, HeartbeatOutcome::Applied);
    let many = nodes(1, limits::MAX_HEARTBEAT_CHANGES + 1);
    let changes = |sequence, connected| Heartbeat {
        connected,
        ..beat("run", sequence)
    };
    assert_eq!(
        send(&store, changes(2, many.clone())).await,
        HeartbeatOutcome::Resync
    );
    assert_eq!(
        (
            count_held(&store, &known).await,
            count_held(&store, &many).await
        ),
        (1, 0)
    );
    let whole = Heartbeat {
        full: true,
        ..changes(3, many.clone())
    };
    assert_eq!(send(&store, whole).await, HeartbeatOutcome::Applied);
    assert_eq!(
        (
            count_held(&store, &known).await,
            count_held(&store, &many).await
        ),
        (0, many.len())
    );
    let fits = nodes(0, limits::MAX_HEARTBEAT_CHANGES);
    assert_eq!(
        send(&store, changes(4, fits.clone())).await,
        HeartbeatOutcome::Applied
    );
    assert_eq!(count_held(&store, &fits).await, fits.len());
}
