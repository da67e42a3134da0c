//! Contract of what lasts: users, nodes, PoPs, keys and tokens.

use titan_proto::control::{NodeId, PopId, ReplyMode, Scope, UserLimits, UserName};
use tokio::task::JoinSet;

use super::Fixture;
use crate::store::{
    AdminToken, EnrolmentKey, Labels, NewUser, Node, Pop, SecretHash, UnixTime, UserChange,
    UserUpdated,
};

/// Parallel callers where exactly one may win.
const RACERS: usize = 8;

pub(in crate::store) async fn the_store_answers(fixture: &impl Fixture) {
    fixture.store().ping().await.expect("pong");
}

pub(in crate::store) async fn a_user_is_created_once(fixture: &impl Fixture) {
    let store = fixture.store();
    assert_eq!(store.user(&name("alice")).await.expect("read"), None);
    let alice = store
        .create_user(user("alice"))
        .await
        .expect("write")
        .expect("new");
    assert_eq!(alice.password_hash, "hash");
    assert_eq!(store.create_user(user("alice")).await.expect("write"), None);
    assert_eq!(store.user(&name("alice")).await.expect("read"), Some(alice));
    assert!(store.delete_user(&name("alice")).await.expect("write"));
    assert!(!store.delete_user(&name("alice")).await.expect("write"));
    assert_eq!(store.user(&name("alice")).await.expect("read"), None);
}

pub(in crate::store) async fn one_of_many_creators_wins(fixture: &impl Fixture) {
    let mut racers = JoinSet::new();
    for _ in 0..RACERS {
        let store = fixture.store();
        racers.spawn(async move { store.create_user(user("alice")).await.expect("write") });
    }
    assert_eq!(racers.join_all().await.iter().flatten().count(), 1);
}

pub(in crate::store) async fn a_change_raises_the_version(fixture: &impl Fixture) {
    let store = fixture.store();
    let alice = store
        .create_user(user("alice"))
        .await
        .expect("write")
        .expect("new");
    let change = UserChange {
        enabled: Some(false),
        ..UserChange::default()
    };
    let UserUpdated::Done(off) = store
        .update_user(&alice.name, None, change.clone())
        .await
        .expect("write")
    else {
        panic!("alice exists")
    };
    assert!(off.version > alice.version && !off.enabled);
    assert_eq!(
        off.reply_mode,
        Some(ReplyMode::Confirmed),
        "what is not named stays"
    );
    assert_eq!(off.password_hash, "hash", "what is not named stays");
    let stale = store
        .update_user(&alice.name, Some(alice.version), change.clone())
        .await;
    assert_eq!(stale.expect("write"), UserUpdated::Conflict(off.version));
    let change = UserChange {
        reply_mode: Some(None),
        ..UserChange::default()
    };
    let current = store
        .update_user(&alice.name, Some(off.version), change.clone())
        .await;
    assert!(
        matches!(current.expect("write"), UserUpdated::Done(user) if user.reply_mode.is_none())
    );
    let nobody = store.update_user(&name("bob"), None, change).await;
    assert_eq!(nobody.expect("write"), UserUpdated::Missing);
}

pub(in crate::store) async fn no_version_is_met_twice(fixture: &impl Fixture) {
    let store = fixture.store();
    let first = store
        .create_user(user("alice"))
        .await
        .expect("write")
        .expect("new");
    store.delete_user(&first.name).await.expect("write");
    let second = store
        .create_user(user("alice"))
        .await
        .expect("write")
        .expect("new");
    assert!(second.version > first.version);
}

pub(in crate::store) async fn one_of_many_updates_of_a_version_wins(fixture: &impl Fixture) {
    let alice = fixture
        .store()
        .create_user(user("alice"))
        .await
        .expect("write")
        .expect("new");
    let mut racers = JoinSet::new();
    for racer in 0..RACERS {
        let (store, alice) = (fixture.store(), alice.clone());
        let password_hash = Some(format!("hash of {racer}"));
        let change = UserChange {
            password_hash,
            ..UserChange::default()
        };
        racers.spawn(async move {
            store
                .update_user(&alice.name, Some(alice.version), change)
                .await
                .expect("write")
        });
    }
    let done = |outcome: &UserUpdated| matches!(outcome, UserUpdated::Done(_));
    assert_eq!(racers.join_all().await.into_iter().filter(done).count(), 1);
}

pub(in crate::store) async fn lists_go_on_behind_the_cursor(fixture: &impl Fixture) {
    let store = fixture.store();
    // Created out of order; `a.` sorts behind `a` although it begins with it.
    for text in ["c", "a", "b", "a."] {
        store.create_user(user(text)).await.expect("write");
    }
    let names = |users: Vec<crate::store::User>| -> Vec<String> {
        users.into_iter().map(|user| user.name.into()).collect()
    };
    let first = store.list_users(None, 2).await.expect("read");
    assert_eq!(names(first), ["a", "a."]);
    let second = store.list_users(Some(&name("a.")), 2).await.expect("read");
    assert_eq!(names(second), ["b", "c"]);
    let none = store.list_users(Some(&name("c")), 2).await.expect("read");
    assert!(none.is_empty());
    let removed = store.list_users(Some(&name("aa")), 1).await.expect("read");
    assert_eq!(names(removed), ["b"], "a cursor need not exist");
}

pub(in crate::store) async fn a_node_enrols_any_number_of_times(fixture: &impl Fixture) {
    let store = fixture.store();
    let first = store.enrol_node(node(7)).await.expect("write");
    assert_eq!(first, node(7));
    let again = Node {
        region: Some("de".parse().expect("a region")),
        version: "2".into(),
        enrolled_at: UnixTime(99),
        ..node(7)
    };
    let stored = store.enrol_node(again).await.expect("write");
    assert_eq!(stored.enrolled_at, first.enrolled_at);
    assert_eq!(
        (stored.version.as_str(), stored.region),
        ("2", "DE".parse().ok())
    );
    assert_eq!(
        store.node(first.id).await.expect("read"),
        Some(stored.clone())
    );
    store.enrol_node(node(8)).await.expect("write");
    let ids = |nodes: Vec<Node>| nodes.iter().map(|node| node.id).collect::<Vec<_>>();
    let mut all = [first.id, node(8).id];
    all.sort();
    assert_eq!(ids(store.list_nodes(None, 9).await.expect("read")), all);
    assert_eq!(
        ids(store.list_nodes(Some(all[0]), 9).await.expect("read")),
        all[1..]
    );
    assert!(store.delete_node(first.id).await.expect("write"));
    assert!(!store.delete_node(first.id).await.expect("write"));
}

pub(in crate::store) async fn an_assignment_is_remembered(fixture: &impl Fixture) {
    let store = fixture.store();
    let id = store.enrol_node(node(7)).await.expect("write").id;
    assert!(
        store
            .record_assignment(id, &pop_id("p1"), "2")
            .await
            .expect("write")
    );
    let stored = store.node(id).await.expect("read").expect("enrolled");
    assert_eq!(
        (stored.pop, stored.version.as_str()),
        (Some(pop_id("p1")), "2")
    );
    let renewed = store.enrol_node(node(7)).await.expect("write");
    assert_eq!(
        renewed.pop,
        Some(pop_id("p1")),
        "enrolling again does not unassign"
    );
    assert!(
        !store
            .record_assignment(node(8).id, &pop_id("p1"), "2")
            .await
            .expect("write")
    );
    assert_eq!(store.node(node(8).id).await.expect("read"), None);
}

pub(in crate::store) async fn a_pop_has_one_credential(fixture: &impl Fixture) {
    let store = fixture.store();
    let pop = Pop {
        id: pop_id("p1"),
        region: None,
        credential: SecretHash::new([1; 32]),
        created_at: UnixTime(5),
    };
    assert!(store.create_pop(pop.clone()).await.expect("write"));
    let other = Pop {
        credential: SecretHash::new([2; 32]),
        ..pop.clone()
    };
    assert!(!store.create_pop(other.clone()).await.expect("write"));
    assert_eq!(store.pop(&pop.id).await.expect("read"), Some(pop.clone()));
    assert!(
        store
            .replace_pop_credential(&pop.id, other.credential)
            .await
            .expect("write")
    );
    assert_eq!(store.list_pops(None, 9).await.expect("read"), [other]);
    let unknown = pop_id("p2");
    assert!(
        !store
            .replace_pop_credential(&unknown, pop.credential)
            .await
            .expect("write")
    );
    assert!(store.delete_pop(&pop.id).await.expect("write"));
    assert!(!store.delete_pop(&pop.id).await.expect("write"));
    assert_eq!(store.pop(&pop.id).await.expect("read"), None);
}

pub(in crate::store) async fn enrolment_keys_come_and_go(fixture: &impl Fixture) {
    let store = fixture.store();
    let key = |id: &str, byte| EnrolmentKey {
        id: id.into(),
        secret: SecretHash::new([byte; 32]),
        region: "us".parse().ok(),
        created_at: UnixTime(5),
    };
    assert!(
        store
            .create_enrolment_key(key("k1", 1))
            .await
            .expect("write")
    );
    assert!(
        !store
            .create_enrolment_key(key("k1", 2))
            .await
            .expect("write")
    );
    assert!(
        store
            .create_enrolment_key(key("k2", 2))
            .await
            .expect("write")
    );
    assert_eq!(
        store.enrolment_key("k1").await.expect("read"),
        Some(key("k1", 1))
    );
    assert_eq!(
        store
            .list_enrolment_keys(Some("k1"), 9)
            .await
            .expect("read"),
        [key("k2", 2)]
    );
    assert!(store.delete_enrolment_key("k1").await.expect("write"));
    assert!(!store.delete_enrolment_key("k1").await.expect("write"));
    assert_eq!(store.enrolment_key("k1").await.expect("read"), None);
}

pub(in crate::store) async fn the_first_admin_token_is_made_once(fixture: &impl Fixture) {
    assert!(!fixture.store().has_admin_token().await.expect("read"));
    let mut racers = JoinSet::new();
    for racer in 0..RACERS {
        let store = fixture.store();
        let token = admin_token(&format!("t{racer}"));
        racers.spawn(async move { store.create_first_admin_token(token).await.expect("write") });
    }
    assert_eq!(
        racers
            .join_all()
            .await
            .into_iter()
            .filter(|&won| won)
            .count(),
        1
    );
    assert!(fixture.store().has_admin_token().await.expect("read"));
}

pub(in crate::store) async fn replaced_admin_tokens_are_gone(fixture: &impl Fixture) {
    let store = fixture.store();
    store
        .create_first_admin_token(admin_token("t1"))
        .await
        .expect("write");
    assert_eq!(
        store.admin_token("t1").await.expect("read"),
        Some(admin_token("t1"))
    );
    store
        .replace_admin_tokens(admin_token("t2"))
        .await
        .expect("write");
    assert_eq!(store.admin_token("t1").await.expect("read"), None);
    assert_eq!(
        store.admin_token("t2").await.expect("read"),
        Some(admin_token("t2"))
    );
}

pub(in crate::store) async fn the_signing_key_stays(fixture: &impl Fixture) {
    let store = fixture.store();
    assert_eq!(store.signing_key([1; 32]).await.expect("write"), [1; 32]);
    assert_eq!(store.signing_key([2; 32]).await.expect("write"), [1; 32]);
}

pub(super) fn name(text: &str) -> UserName {
    text.parse().expect("a user name")
}

fn pop_id(text: &str) -> PopId {
    text.parse().expect("a PoP id")
}

pub(in crate::store) fn user(text: &str) -> NewUser {
    NewUser {
        name: name(text),
        password_hash: "hash".into(),
        enabled: true,
        reply_mode: Some(ReplyMode::Confirmed),
        limits: UserLimits::default(),
        labels: Labels::new(),
        package: None,
        created_at: UnixTime(5),
    }
}

pub(in crate::store) fn node(key: u8) -> Node {
    Node {
        id: NodeId::from_public_key(&[key; 32]),
        public_key: [key; 32],
        region: None,
        version: "1".into(),
        enrolled_at: UnixTime(5),
        pop: None,
    }
}

pub(in crate::store) fn admin_token(id: &str) -> AdminToken {
    AdminToken {
        id: id.into(),
        secret: SecretHash::new([3; 32]),
        name: None,
        scopes: [Scope::All].into(),
        created_at: UnixTime(5),
        expires_at: None,
        last_used_at: None,
    }
}
