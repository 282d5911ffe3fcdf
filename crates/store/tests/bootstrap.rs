//! Preparing a server, opening the store, and refusing what can't be trusted.

use freehold_problem::Code;
use freehold_store::{MasterKey, Store, StoreError, bootstrap, key_check};
use freehold_testkit::postgres::TestServer;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

use crate::fixture::{Fixture, fresh_names, key};

#[tokio::test]
async fn preparing_a_server_twice_and_at_once_changes_nothing() {
    let server = TestServer::shared();
    let (names, master) = (fresh_names(), MasterKey::from_bytes([1; 32]));
    let admin = server.superuser();
    let (first, second) = tokio::join!(bootstrap(&admin, &names, &master), bootstrap(&admin, &names, &master));
    let store = Store::open(&first.unwrap(), master.clone()).await.unwrap();
    let tenant = store.tenant_of(&key("acme")).await.unwrap();
    drop(second.unwrap());
    let again = bootstrap(&admin, &names, &master).await.unwrap();
    let store = Store::open(&again, master).await.unwrap();
    assert_eq!(store.tenant_of(&key("acme")).await.unwrap(), tenant);
}

#[tokio::test]
async fn a_role_that_may_create_databases_and_roles_is_enough() {
    let server = TestServer::shared();
    let admin = TestServer::unique("admin");
    let mut superuser = server.superuser().connect().await.unwrap();
    let create = format!("CREATE ROLE {admin} LOGIN CREATEDB CREATEROLE PASSWORD 'secret-of-a-test'");
    superuser.execute(AssertSqlSafe(create)).await.unwrap();
    let options = server.superuser().username(&admin).password("secret-of-a-test");
    let (names, master) = (fresh_names(), MasterKey::from_bytes([1; 32]));
    let connections = bootstrap(&options, &names, &master).await.unwrap();
    Store::open(&connections, master.clone()).await.unwrap();
    assert_eq!(key_check(&options, &names).await.unwrap(), Some(master.check()));
    bootstrap(&options, &names, &master).await.unwrap();
}

#[tokio::test]
async fn nobody_else_may_connect_to_the_stores_database() {
    let fixture = Fixture::alone().await;
    let outsider = fixture.connections.provisioner.clone().database(&fixture.names.database);
    let error = outsider.connect().await.unwrap_err();
    assert!(error.to_string().contains("permission denied for database"), "{error}");
}

#[tokio::test]
async fn no_password_reaches_the_servers_log() {
    let fixture = Fixture::alone().await;
    let log = TestServer::shared().log();
    assert!(log.contains(&format!("CREATE ROLE \"{}\"", fixture.names.engine)));
    for role in [&fixture.names.owner, &fixture.names.tenant, &fixture.names.engine, &fixture.names.provisioner] {
        let password = fixture.master.password(&format!("role {role}"));
        assert!(!log.contains(password.reveal()), "the password of {role}");
    }
}

#[tokio::test]
async fn a_role_that_could_pass_by_row_level_security_is_refused() {
    let fixture = Fixture::alone().await;
    let mut superuser = fixture.superuser().await;
    let (tenant, engine, owner) = (&fixture.names.tenant, &fixture.names.engine, &fixture.names.owner);
    for (grant, revoke, why) in [
        (format!("ALTER ROLE {tenant} SUPERUSER"), format!("ALTER ROLE {tenant} NOSUPERUSER"), "superuser"),
        (format!("ALTER ROLE {engine} BYPASSRLS"), format!("ALTER ROLE {engine} NOBYPASSRLS"), "BYPASSRLS"),
        (format!("GRANT {owner} TO {tenant}"), format!("REVOKE {owner} FROM {tenant}"), "owns"),
        (
            "ALTER TABLE secrets NO FORCE ROW LEVEL SECURITY".to_owned(),
            "ALTER TABLE secrets FORCE ROW LEVEL SECURITY".to_owned(),
            "secrets",
        ),
    ] {
        superuser.execute(AssertSqlSafe(grant)).await.unwrap();
        let error = Store::open(&fixture.connections, fixture.master.clone()).await.unwrap_err();
        assert_eq!(error.code(), Code::RoleTooPowerful, "{error}");
        assert!(error.to_string().contains(why), "{error}");
        superuser.execute(AssertSqlSafe(revoke)).await.unwrap();
        Store::open(&fixture.connections, fixture.master.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn a_schema_of_a_newer_release_is_left_alone() {
    let fixture = Fixture::alone().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'of a newer release', true, '', 0)";
    fixture.superuser().await.execute(newer).await.unwrap();
    let admin = TestServer::shared().superuser();
    let error = bootstrap(&admin, &fixture.names, &fixture.master).await.unwrap_err();
    assert!(matches!(&error, StoreError::Migration(message) if message.contains("newer release")), "{error}");
}

#[tokio::test]
async fn connections_and_keys_do_not_print_what_is_secret() {
    let fixture = Fixture::alone().await;
    let password = fixture.master.password(&format!("role {}", fixture.names.engine));
    let printed = format!("{:?} {:?} {:?}", fixture.connections, fixture.master, fixture.store);
    assert!(!printed.contains(password.reveal()));
}
