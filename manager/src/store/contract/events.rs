//! Contract of the event stream: what PoPs must hear, with the change that it tells of.

use titan_proto::control::Change;

use super::{
    Fixture,
    records::{name, node, user},
};
use crate::store::{Store, UserChange, UserUpdated};

pub(in crate::store) async fn what_pops_must_hear_is_told_in_order(fixture: &impl Fixture) {
    let store = fixture.store();
    store.create_user(user("alice")).await.expect("write");
    let node = store.enrol_node(node(1)).await.expect("write").id;
    let start = store.latest_event().await.expect("read");
    let version = disable(&*store).await;
    assert!(store.kick_node(node).await.expect("write"));
    assert!(store.delete_node(node).await.expect("write"));
    assert!(store.delete_user(&name("alice")).await.expect("write"));
    let events = store.events_after(start, 10).await.expect("read");
    let events = events.expect("held");
    let name = name("alice");
    let expected = [
        Change::UserChanged {
            name: name.clone(),
            version,
        },
        Change::NodeKicked { node },
        Change::NodeDeleted { node },
        Change::UserDeleted { name },
    ];
    let changes: Vec<_> = events.iter().map(|event| event.change.clone()).collect();
    assert_eq!(changes, expected);
    assert!(events.is_sorted_by(|one, next| one.cursor < next.cursor));
    let latest = store.latest_event().await.expect("read");
    assert_eq!(events.last().map(|event| event.cursor), Some(latest));
    let behind = store.events_after(events[1].cursor, 1).await.expect("read");
    assert_eq!(behind, Some(vec![events[2].clone()]), "from there, so many");
    let none = store.events_after(latest, 10).await.expect("read");
    assert_eq!(none, Some(vec![]));
}

pub(in crate::store) async fn what_changed_nothing_is_not_told(fixture: &impl Fixture) {
    let store = fixture.store();
    store.create_user(user("alice")).await.expect("write");
    let start = store.latest_event().await.expect("read");
    let stale = store
        .update_user(&name("alice"), Some(u64::MAX), UserChange::default())
        .await;
    assert!(matches!(stale.expect("write"), UserUpdated::Conflict(_)));
    assert!(!store.delete_user(&name("bob")).await.expect("write"));
    assert!(!store.delete_node(node(9).id).await.expect("write"));
    assert!(!store.kick_node(node(9).id).await.expect("write"));
    assert_eq!(store.latest_event().await.expect("read"), start);
}

pub(in crate::store) async fn a_cursor_from_elsewhere_is_a_gap(fixture: &impl Fixture) {
    let store = fixture.store();
    let start = store.latest_event().await.expect("read");
    assert_eq!(
        store.events_after(start, 1).await.expect("read"),
        Some(vec![])
    );
    let ahead = store.events_after(start + 1, 1).await.expect("read");
    assert_eq!(ahead, None);
}

async fn disable(store: &dyn Store) -> u64 {
    let change = UserChange {
        enabled: Some(false),
        ..UserChange::default()
    };
    match store.update_user(&name("alice"), None, change).await {
        Ok(UserUpdated::Done(user)) => user.version,
        other => panic!("alice exists: {other:?}"),
    }
}
