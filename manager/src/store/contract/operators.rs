//! Contract of what concerns operators: their tokens, the requests they repeat, and whom they block.

use titan_proto::control::{BlockTarget, NodeId, Scope};
use tokio::task::JoinSet;

use super::{Fixture, records::admin_token};
use crate::{
    limits,
    store::{Added, AdminToken, Block, BlockId, Digest, Reservation, TokenRemoved, UnixTime},
};

/// Parallel callers where exactly one may win.
const RACERS: usize = 8;
const NOW: UnixTime = UnixTime(1_000_000);

pub(in crate::store) async fn admin_tokens_come_and_go(fixture: &impl Fixture) {
    let store = fixture.store();
    let reader = AdminToken {
        name: "a dashboard".parse().ok(),
        scopes: [Scope::Read].into(),
        expires_at: Some(UnixTime(99)),
        ..admin_token("t2")
    };
    for token in [admin_token("t1"), reader.clone()] {
        assert_eq!(
            store.create_admin_token(token).await.expect("write"),
            Added::Done
        );
    }
    let taken = store.create_admin_token(admin_token("t2")).await;
    assert_eq!(taken.expect("write"), Added::Taken);
    assert_eq!(
        store.list_admin_tokens(Some("t1"), 9).await.expect("read"),
        std::slice::from_ref(&reader)
    );
    for time in [UnixTime(50), UnixTime(40)] {
        store.touch_admin_token("t2", time).await.expect("write");
    }
    let touched = store
        .admin_token("t2")
        .await
        .expect("read")
        .expect("a token");
    let expected = AdminToken {
        last_used_at: Some(UnixTime(50)),
        ..reader
    };
    assert_eq!(touched, expected, "no use is forgotten for an earlier one");
    store.touch_admin_token("t3", NOW).await.expect("write");
    assert_eq!(store.admin_token("t3").await.expect("read"), None);
    let gone = store.delete_admin_token("t2").await.expect("write");
    assert_eq!(gone, TokenRemoved::Done);
    let gone = store.delete_admin_token("t2").await.expect("write");
    assert_eq!(gone, TokenRemoved::Missing);
}

pub(in crate::store) async fn operators_cannot_lock_themselves_out(fixture: &impl Fixture) {
    let store = fixture.store();
    let short_lived = AdminToken {
        expires_at: Some(NOW),
        ..admin_token("t1")
    };
    let weak = AdminToken {
        scopes: [Scope::Read, Scope::Users, Scope::Nodes].into(),
        ..admin_token("t2")
    };
    for token in [short_lived, weak, admin_token("t3"), admin_token("t4")] {
        store.create_admin_token(token).await.expect("write");
    }
    let mut racers = JoinSet::new();
    for id in ["t3", "t4"] {
        let store = fixture.store();
        racers.spawn(async move { store.delete_admin_token(id).await.expect("write") });
    }
    let mut outcomes = racers.join_all().await;
    outcomes.sort_by_key(|outcome| *outcome == TokenRemoved::Last);
    assert_eq!(outcomes, [TokenRemoved::Done, TokenRemoved::Last]);
    for id in ["t1", "t2"] {
        let gone = store.delete_admin_token(id).await.expect("write");
        assert_eq!(gone, TokenRemoved::Done, "{id} was no way back in");
    }
}

pub(in crate::store) async fn a_key_belongs_to_the_first_request(fixture: &impl Fixture) {
    let (id, request) = (Digest([1; 32]), Digest([2; 32]));
    let mut racers = JoinSet::new();
    for _ in 0..RACERS {
        let store = fixture.store();
        racers.spawn(async move {
            store
                .reserve_request(id, request, NOW)
                .await
                .expect("write")
        });
    }
    let outcomes = racers.join_all().await;
    let granted = |outcome: &&Reservation| **outcome == Reservation::Granted;
    assert_eq!(outcomes.iter().filter(granted).count(), 1);

    let store = fixture.store();
    let known = async || match store.reserve_request(id, Digest([3; 32]), NOW).await {
        Ok(Reservation::Known(known)) => known,
        other => panic!("not known: {other:?}"),
    };
    let first = known().await;
    assert_eq!((first.request, first.answer), (request, None));
    store
        .complete_request(id, b"sealed".to_vec())
        .await
        .expect("write");
    assert_eq!(known().await.answer.as_deref(), Some(&b"sealed"[..]));
    store.release_request(id).await.expect("write");
    let again = store
        .reserve_request(id, request, NOW)
        .await
        .expect("write");
    assert_eq!(again, Reservation::Granted);
}

pub(in crate::store) async fn a_key_is_free_again_after_a_day(fixture: &impl Fixture) {
    let store = fixture.store();
    let (id, other) = (Digest([1; 32]), Digest([9; 32]));
    let reserve = async |id, now| {
        store
            .reserve_request(id, Digest([2; 32]), UnixTime(now))
            .await
    };
    let day = limits::IDEMPOTENCY_LIFETIME.as_secs();
    assert_eq!(
        reserve(id, NOW.0).await.expect("write"),
        Reservation::Granted
    );
    assert_eq!(
        reserve(other, NOW.0 + 5).await.expect("write"),
        Reservation::Granted
    );
    let early = reserve(id, NOW.0 + day - 1).await.expect("write");
    assert!(matches!(early, Reservation::Known(_)));
    let late = reserve(id, NOW.0 + day).await.expect("write");
    assert_eq!(late, Reservation::Granted);
}

pub(in crate::store) async fn blocks_are_found_by_any_of_their_ids(fixture: &impl Fixture) {
    let store = fixture.store();
    let node = NodeId::from_public_key(&[7; 32]);
    let block = |target| Block {
        target,
        reason: "spam".parse().ok(),
        created_at: NOW,
    };
    let of_node = block(BlockTarget::Node(node));
    let of_net = block(BlockTarget::Address(
        "192.0.2.0/24".parse().expect("a network"),
    ));
    let find = async |node, address: &str| {
        let ids = BlockId::concerning(node, address.parse().expect("an address"));
        store.find_block(ids).await.expect("read")
    };
    assert_eq!(find(Some(node), "192.0.2.1").await, None);
    for block in [&of_node, &of_net] {
        let added = store.create_block(block.clone()).await.expect("write");
        assert_eq!(added, Added::Done);
    }
    let again = store.create_block(of_net.clone()).await.expect("write");
    assert_eq!(again, Added::Taken);
    assert_eq!(
        find(Some(node), "198.51.100.1").await.as_ref(),
        Some(&of_node)
    );
    assert_eq!(find(None, "192.0.2.255").await.as_ref(), Some(&of_net));
    assert_eq!(find(None, "192.0.3.0").await, None);
    let first = BlockId::of(&of_net.target);
    let all = store.list_blocks(None, 9).await.expect("read");
    assert_eq!(all, [of_net, of_node.clone()]);
    let rest = store
        .list_blocks(Some(first.as_str()), 9)
        .await
        .expect("read");
    assert_eq!(rest, [of_node]);
    assert!(store.delete_block(first.as_str()).await.expect("write"));
    assert!(!store.delete_block(first.as_str()).await.expect("write"));
    assert_eq!(find(None, "192.0.2.255").await, None);
}
