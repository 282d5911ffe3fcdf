//! The master key: made once, never anew beside sealed data.

use std::os::unix::fs::PermissionsExt;

use freehold_problem::Code;
use freehold_store::{MasterKey, StoreError, bootstrap, key_check};
use freehold_testkit::postgres::TestServer;

use crate::fixture::fresh_names;

#[test]
fn a_new_key_is_written_for_its_owner_only_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    let made = MasterKey::load_or_create(&path, None).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read(&path).unwrap().len(), 32);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let read = MasterKey::load_or_create(&path, Some(&made.check())).unwrap();
    assert_eq!(read.check(), made.check());
}

#[test]
fn a_missing_key_beside_sealed_data_is_an_error_and_makes_no_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    let check = MasterKey::from_bytes([1; 32]).check();
    let error = MasterKey::load_or_create(&path, Some(&check)).unwrap_err();
    assert_eq!(error.code(), Code::MasterKeyMissing);
    assert!(error.to_string().contains("master.key"), "{error}");
    assert!(!path.exists());
}

#[test]
fn another_key_or_none_at_all_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    MasterKey::load_or_create(&path, None).unwrap();
    let other = MasterKey::from_bytes([1; 32]).check();
    assert_eq!(MasterKey::load_or_create(&path, Some(&other)).unwrap_err().code(), Code::MasterKeyWrong);
    std::fs::write(&path, "too short").unwrap();
    assert_eq!(MasterKey::load_or_create(&path, None).unwrap_err().code(), Code::MasterKeyUnreadable);
    std::fs::write(&path, [0; 32]).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = MasterKey::load_or_create(&path, None).unwrap_err();
    assert!(error.to_string().contains("others may read it"), "{error}");
}

#[test]
fn a_key_that_a_cluster_mounts_is_read_in_both_forms_and_not_if_everybody_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master-key");
    let expected = MasterKey::from_bytes([251; 32]).check();
    for content in [
        &[251_u8; 32][..],
        b"+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/s=\n",
        b"-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s",
    ] {
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o440)).unwrap();
        assert_eq!(MasterKey::load(&path, None).unwrap().check(), expected);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let other = MasterKey::from_bytes([1; 32]).check();
    assert!(matches!(MasterKey::load(&path, Some(&other)), Err(StoreError::MasterKeyWrong)));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(MasterKey::load(&path, None), Err(StoreError::MasterKeyFile { .. })));
    std::fs::write(&path, "too short").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(MasterKey::load(&path, None), Err(StoreError::MasterKeyFile { .. })));
    assert!(matches!(MasterKey::load(&folder.path().join("none"), None), Err(StoreError::MasterKeyFile { .. })));
}

#[tokio::test]
async fn the_store_remembers_its_key_and_refuses_another() {
    let admin = TestServer::shared().superuser();
    let names = fresh_names();
    let right = MasterKey::from_bytes([1; 32]);
    assert_eq!(key_check(&admin, &names).await.unwrap(), None);
    let connections = bootstrap(&admin, &names, &right).await.unwrap();
    assert_eq!(key_check(&admin, &names).await.unwrap(), Some(right.check()));
    let error = bootstrap(&admin, &names, &MasterKey::from_bytes([2; 32])).await.unwrap_err();
    assert!(matches!(error, StoreError::MasterKeyWrong), "{error}");
    // And the roles' passwords were left as they were.
    freehold_store::Store::open(&connections, right).await.unwrap();
}
