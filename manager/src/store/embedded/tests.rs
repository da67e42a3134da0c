//! The store contract on the embedded store, and what is its own.

use std::{fs, os::unix::fs::PermissionsExt};

use tempfile::TempDir;
use titan_proto::control::UserLimits;

use super::*;
use crate::store::{
    Labels, UnixTime,
    contract::{Fixture, contract_tests},
};

/// A store in a folder of its own, on tokio's paused clock.
struct Embedded {
    store: Arc<EmbeddedStore>,
    _folder: TempDir,
}

impl Embedded {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("manager.redb");
        let store = EmbeddedStore::open(&path).await.expect("a new store");
        Self {
            store: Arc::new(store),
            _folder: folder,
        }
    }
}

impl Fixture for Embedded {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn advance(&self, time: Duration) {
        tokio::time::advance(time).await;
    }
}

contract_tests!(Embedded::new().await, #[tokio::test(start_paused = true)]);

fn alice() -> NewUser {
    NewUser {
        name: "alice".parse().expect("a name"),
        password_hash: "hash".into(),
        enabled: true,
        reply_mode: None,
        limits: UserLimits::default(),
        labels: Labels::new(),
        package: None,
        created_at: UnixTime(1),
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/down/manager.redb");
    let store = EmbeddedStore::open(&path).await.expect("a new store");
    let created = store
        .create_user(alice())
        .await
        .expect("write")
        .expect("new");
    let key = store.signing_key([1; 32]).await.expect("write");
    let challenge_key = store.challenge_key;
    drop(store);

    let store = EmbeddedStore::open(&path).await.expect("the same store");
    assert_eq!(
        store.user(&created.name).await.expect("read"),
        Some(created.clone())
    );
    assert_eq!(store.signing_key([2; 32]).await.expect("write"), key);
    assert_ne!(
        store.challenge_key, challenge_key,
        "claimed nonces are forgotten, so is the key"
    );
    store.delete_user(&created.name).await.expect("write");
    let again = store
        .create_user(alice())
        .await
        .expect("write")
        .expect("new");
    assert!(again.version > created.version);
}

#[tokio::test]
async fn the_file_is_for_its_owner_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data/manager.redb");
    let _store = EmbeddedStore::open(&path).await.expect("a new store");
    let mode = |path: &Path| fs::metadata(path).expect("exists").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&folder.path().join("data")), 0o700);
}

#[tokio::test]
async fn a_second_manager_is_kept_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("manager.redb");
    let _store = EmbeddedStore::open(&path).await.expect("a new store");
    let Err(error) = EmbeddedStore::open(&path).await else {
        panic!("opened twice")
    };
    assert!(error.to_string().contains("already open"), "{error}");
}

#[tokio::test]
async fn a_file_of_another_layout_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("manager.redb");
    drop(EmbeddedStore::open(&path).await.expect("a new store"));
    tables::tests::set_schema(&path, 99);
    let Err(error) = EmbeddedStore::open(&path).await else {
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
async fn a_snapshot_leaves_no_table_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("manager.redb");
    let store = EmbeddedStore::open(&path).await.expect("a new store");
    store.create_user(alice()).await.expect("write");
    assert_eq!(store.snapshot().await.expect("read").users.len(), 1);
    drop(store);
    tables::tests::add_table(&path, "quotas");
    let store = EmbeddedStore::open(&path).await.expect("the same store");
    let error = store.snapshot().await.expect_err("unknown").to_string();
    assert!(error.contains("quotas"), "{error}");
}
