//! Contract of what a store may forget: who is online, and which nonces were used.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use titan_proto::control::{NodeId, PopId};
use tokio::task::JoinSet;

use super::Fixture;
use crate::store::{
    Heartbeat, HeartbeatOutcome, Node, NodeLocation, NonceClaim, Pop, PopPresence, SecretHash,
    Store, UnixTime,
};

/// Long enough for a slow machine to finish a test of a store that lives in real time.
const TTL: Duration = Duration::from_secs(3);

pub(in crate::store) async fn an_unknown_run_is_asked_for_the_whole_list(fixture: &impl Fixture) {
    let store = &*fixture.store();
    let changes = Heartbeat {
        connected: vec![at(1, 10)],
        ..beat("run", 4)
    };
    assert_eq!(
        send(store, "p1", changes.clone()).await,
        HeartbeatOutcome::Resync
    );
    assert!(
        store
            .pop_presence(&pop("p1"))
            .await
            .expect("read")
            .is_some(),
        "online all the same"
    );
    assert_eq!(holder(store, 1).await, None, "part of a list says nothing");
    let changes = Heartbeat {
        sequence: 5,
        ..changes
    };
    assert_eq!(
        send(store, "p1", changes).await,
        HeartbeatOutcome::Resync,
        "until it comes"
    );
    let whole = Heartbeat {
        full: true,
        connected: vec![at(1, 10)],
        ..beat("run", 6)
    };
    assert_eq!(send(store, "p1", whole).await, HeartbeatOutcome::Applied);
    assert_eq!(holder(store, 1).await, held("p1", 10));
}

pub(in crate::store) async fn changes_are_applied_in_any_gap_but_never_late(
    fixture: &impl Fixture,
) {
    let store = &*fixture.store();
    start(store, "p1", &[at(1, 10)]).await;
    let leaves = Heartbeat {
        disconnected: vec![id(1)],
        ..beat("run", 3)
    };
    let comes = Heartbeat {
        connected: vec![at(1, 10), at(2, 11)],
        ..beat("run", 5)
    };
    assert_eq!(
        send(store, "p1", comes.clone()).await,
        HeartbeatOutcome::Applied
    );
    assert_eq!(send(store, "p1", leaves).await, HeartbeatOutcome::Stale);
    assert_eq!(send(store, "p1", comes).await, HeartbeatOutcome::Stale);
    assert_eq!(holder(store, 1).await, held("p1", 10));
    let moves = Heartbeat {
        connected: vec![at(1, 12)],
        disconnected: vec![id(2), id(3)],
        ..beat("run", 6)
    };
    assert_eq!(send(store, "p1", moves).await, HeartbeatOutcome::Applied);
    assert_eq!(
        holder(store, 1).await,
        held("p1", 12),
        "from another address now"
    );
    assert_eq!(holder(store, 2).await, None);
}

pub(in crate::store) async fn a_new_run_starts_from_nothing(fixture: &impl Fixture) {
    let store = &*fixture.store();
    start(store, "p1", &[at(1, 10)]).await;
    assert_eq!(
        send(store, "p1", beat("other", 1)).await,
        HeartbeatOutcome::Resync
    );
    assert_eq!(holder(store, 1).await, None);
    let whole = Heartbeat {
        full: true,
        connected: vec![at(2, 11)],
        ..beat("other", 2)
    };
    assert_eq!(send(store, "p1", whole).await, HeartbeatOutcome::Applied);
    assert_eq!(holder(store, 2).await, held("p1", 11));
}

pub(in crate::store) async fn a_silent_pop_is_offline_with_its_nodes(fixture: &impl Fixture) {
    let store = &*fixture.store();
    start(store, "p1", &[at(1, 10)]).await;
    fixture.advance(TTL * 3 / 5).await;
    start(store, "p2", &[at(2, 11)]).await;
    assert_eq!(store.live_pops().await.expect("read").len(), 2);
    fixture.advance(TTL * 3 / 5).await;
    let live = store.live_pops().await.expect("read");
    assert_eq!(
        live.iter().map(|pop| pop.id.as_str()).collect::<Vec<_>>(),
        ["p2"]
    );
    assert_eq!(store.pop_presence(&pop("p1")).await.expect("read"), None);
    assert_eq!(
        (holder(store, 1).await, holder(store, 2).await),
        (None, held("p2", 11))
    );
    assert_eq!(
        send(store, "p1", beat("run", 2)).await,
        HeartbeatOutcome::Resync
    );
}

pub(in crate::store) async fn the_last_report_of_a_node_counts(fixture: &impl Fixture) {
    let store = &*fixture.store();
    start(store, "p1", &[at(1, 10)]).await;
    start(store, "p2", &[at(1, 11)]).await;
    assert_eq!(holder(store, 1).await, held("p2", 11));
    let still = Heartbeat {
        full: true,
        connected: vec![at(1, 10)],
        ..beat("run", 2)
    };
    send(store, "p1", still).await;
    assert_eq!(
        holder(store, 1).await,
        held("p2", 11),
        "p1 repeated what it had said before"
    );
    let leaves = Heartbeat {
        disconnected: vec![id(1)],
        ..beat("run", 2)
    };
    send(store, "p2", leaves).await;
    assert_eq!(holder(store, 1).await, held("p1", 10), "p1 still holds it");
    let leaves = Heartbeat {
        disconnected: vec![id(1)],
        ..beat("run", 3)
    };
    send(store, "p1", leaves).await;
    assert_eq!(holder(store, 1).await, None);
}

pub(in crate::store) async fn a_full_list_replaces_what_was_known(fixture: &impl Fixture) {
    let store = &*fixture.store();
    start(store, "p1", &[at(1, 10), at(2, 11)]).await;
    let whole = Heartbeat {
        full: true,
        connected: vec![at(2, 11), at(3, 12)],
        ..beat("run", 2)
    };
    assert_eq!(send(store, "p1", whole).await, HeartbeatOutcome::Applied);
    let places = store
        .locate_nodes(&[id(1), id(2), id(3)])
        .await
        .expect("read");
    assert_eq!(places, [None, held("p1", 11), held("p1", 12)]);
}

pub(in crate::store) async fn an_assigned_node_is_an_expected_tunnel(fixture: &impl Fixture) {
    let store = &*fixture.store();
    let public_key = [7; 32];
    let node = Node {
        id: NodeId::from_public_key(&public_key),
        public_key,
        region: None,
        version: "1".into(),
        enrolled_at: UnixTime(5),
        pop: None,
    };
    let node = store.enrol_node(node).await.expect("write").id;
    start(store, "p1", &[]).await;
    for _ in 0..2 {
        assert!(
            store
                .record_assignment(node, &pop("p1"), "1")
                .await
                .expect("write")
        );
    }
    assert_eq!(tunnels(store, "p1").await, 2);
    send(store, "p1", beat("run", 2)).await;
    assert_eq!(tunnels(store, "p1").await, 0, "the PoP knows best");
}

pub(in crate::store) async fn a_deleted_pop_is_offline(fixture: &impl Fixture) {
    let store = &*fixture.store();
    let credential = SecretHash::new([1; 32]);
    let record = Pop {
        id: pop("p1"),
        region: None,
        credential,
        created_at: UnixTime(5),
    };
    store.create_pop(record).await.expect("write");
    start(store, "p1", &[at(1, 10)]).await;
    assert!(store.delete_pop(&pop("p1")).await.expect("write"));
    assert!(store.live_pops().await.expect("read").is_empty());
    assert_eq!(holder(store, 1).await, None);
}

pub(in crate::store) async fn a_nonce_is_granted_once(fixture: &impl Fixture) {
    let mut racers = JoinSet::new();
    for _ in 0..8 {
        let store = fixture.store();
        racers.spawn(async move { store.claim_nonce([1; 16], TTL).await.expect("write") });
    }
    let outcomes = racers.join_all().await;
    let count = |wanted| {
        outcomes
            .iter()
            .filter(|&&outcome| outcome == wanted)
            .count()
    };
    assert_eq!(
        (count(NonceClaim::Granted), count(NonceClaim::Used)),
        (1, 7)
    );
    let other = fixture.store().claim_nonce([2; 16], TTL).await;
    assert_eq!(other.expect("write"), NonceClaim::Granted);
}

pub(in crate::store) async fn a_nonce_is_granted_again_after_its_time(fixture: &impl Fixture) {
    let store = fixture.store();
    let key = store.challenge_key().await.expect("read");
    store.claim_nonce([1; 16], TTL).await.expect("write");
    fixture.advance(TTL).await;
    assert_eq!(
        store.claim_nonce([1; 16], TTL).await.expect("write"),
        NonceClaim::Granted
    );
    assert_eq!(store.challenge_key().await.expect("read"), key);
}

async fn send(store: &dyn Store, from: &str, heartbeat: Heartbeat) -> HeartbeatOutcome {
    store
        .record_heartbeat(&pop(from), heartbeat, TTL)
        .await
        .expect("write")
}

/// Makes a PoP known with the list of its nodes, as heartbeat 1 of `run`.
async fn start(store: &dyn Store, from: &str, nodes: &[(NodeId, IpAddr)]) {
    let whole = Heartbeat {
        full: true,
        connected: nodes.to_vec(),
        ..beat("run", 1)
    };
    assert_eq!(send(store, from, whole).await, HeartbeatOutcome::Applied);
}

async fn holder(store: &dyn Store, node: u8) -> Option<NodeLocation> {
    store
        .locate_nodes(&[id(node)])
        .await
        .expect("read")
        .remove(0)
}

async fn tunnels(store: &dyn Store, from: &str) -> u32 {
    store
        .pop_presence(&pop(from))
        .await
        .expect("read")
        .expect("online")
        .tunnels
}

pub(in crate::store) fn beat(boot_id: &str, sequence: u64) -> Heartbeat {
    let presence = PopPresence {
        tunnel_url: "ws://127.0.0.1:8081/tunnel".into(),
        proxy_addr: "127.0.0.1:1080".into(),
        version: "1".into(),
        region: None,
        tunnels: 0,
        sessions: 0,
        accepting: true,
    };
    let (connected, disconnected) = (Vec::new(), Vec::new());
    Heartbeat {
        boot_id: boot_id.into(),
        sequence,
        presence,
        full: false,
        connected,
        disconnected,
    }
}

fn id(node: u8) -> NodeId {
    NodeId::from_public_key(&[node; 32])
}

fn pop(text: &str) -> PopId {
    text.parse().expect("a PoP id")
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn at(node: u8, last: u8) -> (NodeId, IpAddr) {
    (id(node), address(last))
}

fn held(by: &str, last: u8) -> Option<NodeLocation> {
    Some(NodeLocation {
        pop: pop(by),
        address: address(last),
    })
}
