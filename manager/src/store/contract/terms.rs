//! Contract of what an operator says about a user: limits, labels and the traffic package.

use titan_proto::control::{PackageRenewal, PackageUpdate, UserLimits, UserName};
use tokio::task::JoinSet;

use super::Fixture;
use crate::store::{
    ChangeError, NewUser, Package, PackageChange, PackageError, UnixTime, User, UserChange,
    UserUpdated,
};

/// Parallel renewals, each of which counts.
const RENEWALS: u64 = 8;

pub(in crate::store) async fn limits_labels_and_package_are_kept(fixture: &impl Fixture) {
    let store = fixture.store();
    let created = store
        .create_user(alice())
        .await
        .expect("write")
        .expect("new");
    assert_eq!(
        store.user(&name()).await.expect("read"),
        Some(created.clone())
    );
    assert_eq!(created.limits.connections, Some(7));

    let change = UserChange {
        labels: Some(Some(
            serde_json::from_str(r#"{"plan":null,"city":"Köln"}"#).expect("labels"),
        )),
        limits: Some(Some(
            serde_json::from_str(r#"{"up_bytes_per_second":5}"#).expect("limits"),
        )),
        ..UserChange::default()
    };
    let changed = done(
        store
            .update_user(&name(), None, change)
            .await
            .expect("write"),
    );
    assert_eq!(changed.labels.len(), 1);
    assert_eq!(
        (
            changed.limits.connections,
            changed.limits.up_bytes_per_second
        ),
        (Some(7), std::num::NonZeroU64::new(5))
    );
    assert_eq!(changed.package, created.package);
    assert_eq!(store.user(&name()).await.expect("read"), Some(changed));

    let removed = package_change(PackageChange::Remove);
    let removed = done(
        store
            .update_user(&name(), None, removed)
            .await
            .expect("write"),
    );
    assert_eq!(removed.package, None);
}

pub(in crate::store) async fn a_renewal_adds_up_however_many_renew_at_once(fixture: &impl Fixture) {
    fixture.store().create_user(alice()).await.expect("write");
    let mut racers = JoinSet::new();
    for _ in 0..RENEWALS {
        let store = fixture.store();
        let renewal = PackageRenewal {
            bytes: Some(10),
            until: None,
        };
        racers.spawn(async move {
            let change = package_change(PackageChange::Renew(renewal));
            done(
                store
                    .update_user(&name(), None, change)
                    .await
                    .expect("write"),
            )
            .version
        });
    }
    let mut versions = racers.join_all().await;
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len() as u64, RENEWALS);
    let user = fixture
        .store()
        .user(&name())
        .await
        .expect("read")
        .expect("alice");
    let bytes = user.package.expect("a package").bytes;
    assert_eq!(bytes, Some(100 + 10 * RENEWALS));
}

pub(in crate::store) async fn a_refused_change_leaves_the_user_alone(fixture: &impl Fixture) {
    let store = fixture.store();
    let created = store
        .create_user(alice())
        .await
        .expect("write")
        .expect("new");
    let update = PackageUpdate {
        from: Some(Some(500)),
        ..PackageUpdate::default()
    };
    let change = UserChange {
        enabled: Some(false),
        ..package_change(PackageChange::Merge(update))
    };
    let outcome = store
        .update_user(&name(), None, change)
        .await
        .expect("write");
    let refused = ChangeError::Package(PackageError::Period);
    assert_eq!(outcome, UserUpdated::Refused(refused));
    assert_eq!(store.user(&name()).await.expect("read"), Some(created));
}

fn package_change(change: PackageChange) -> UserChange {
    UserChange {
        package: Some(change),
        ..UserChange::default()
    }
}

fn done(outcome: UserUpdated) -> User {
    match outcome {
        UserUpdated::Done(user) => user,
        other => panic!("not done: {other:?}"),
    }
}

fn name() -> UserName {
    "alice".parse().expect("a user name")
}

fn alice() -> NewUser {
    NewUser {
        name: name(),
        password_hash: "hash".into(),
        enabled: true,
        reply_mode: None,
        limits: UserLimits {
            connections: Some(7),
            ..UserLimits::default()
        },
        labels: serde_json::from_str(r#"{"plan":"gold"}"#).expect("labels"),
        package: Some(Package {
            from: Some(UnixTime(100)),
            until: Some(UnixTime(200)),
            bytes: Some(100),
        }),
        created_at: UnixTime(5),
    }
}
