//! Roles and databases from their making to their end.

use freehold_engine::{Provider as _, ProviderError, Readiness};
use freehold_plan::Ownership;
use freehold_problem::Code;

use crate::setting::{PATIENCE, PROVISIONER, Stack, admin, count, refused, rejection, run, shared};

#[tokio::test]
async fn a_stack_is_made_repeated_without_change_and_gone_without_a_trace() {
    let stack = Stack::new();
    assert!(stack.observe(&stack.roles()).await.is_none());
    assert!(stack.observe(&stack.database()).await.is_none());
    let roles = stack.apply(stack.roles()).await.unwrap().object.unwrap();
    let database = stack.apply(stack.database()).await.unwrap().object.unwrap();
    assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new());
    assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new());
    let lookup = (&stack.database()).into();
    assert_eq!(stack.provider.readiness(stack.id, &lookup).await, Ok(Readiness::Ready));
    // The same once more.
    assert_eq!(stack.apply(stack.roles()).await.unwrap().object.as_deref(), Some(roles.as_str()));
    assert_eq!(stack.apply(stack.database()).await.unwrap().object.as_deref(), Some(database.as_str()));
    let name = &stack.name;
    let mut expected = [
        format!("database {name}"),
        format!("role {name}__app"),
        format!("role {name}__dumper"),
        format!("role {name}__keeper"),
        format!("role {name}__migrator"),
        format!("role {name}__owner"),
    ];
    expected.sort();
    assert_eq!(stack.owned().await, expected);

    stack.delete(&stack.database(), Some(&database)).await.unwrap();
    stack.delete(&stack.roles(), Some(&roles)).await.unwrap();
    assert!(stack.observe(&stack.database()).await.is_none());
    assert!(stack.observe(&stack.roles()).await.is_none());
    assert_eq!(stack.owned().await, Vec::<String>::new());
    // What is gone already is a success.
    stack.delete(&stack.database(), Some(&database)).await.unwrap();
    stack.delete(&stack.roles(), Some(&roles)).await.unwrap();
}

#[tokio::test]
async fn odd_names_do_no_harm() {
    for name in ["it's; DROP ROLE postgres; --", "two \"quotes\" \\ and a backslash", "größe_表 $1 %s"] {
        let stack = Stack::named(name);
        stack.deploy().await;
        assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new(), "{name}");
        assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new(), "{name}");
        let mut migrator = stack.connect("migrator").await;
        run(&mut migrator, "CREATE TABLE t (x int); INSERT INTO t VALUES (1)").await;
        let mut app = stack.connect("app").await;
        assert_eq!(count(&mut app, "SELECT count(*) FROM t").await, 1);
        let note = stack.dump().await.unwrap().note.unwrap();
        assert!(note.contains("restored once"), "{note}");
        stack.destroy().await;
        assert_eq!(stack.owned().await, Vec::<String>::new(), "{name}");
    }
}

#[tokio::test]
async fn a_foreign_database_and_foreign_roles_are_left_alone() {
    let stack = Stack::new();
    let mut admin = admin("postgres").await;
    run(&mut admin, &format!("CREATE ROLE \"{}\" LOGIN", stack.role("app"))).await;
    let observation = stack.observe(&stack.roles()).await.unwrap();
    let Ownership::Foreign(who) = observation.ownership else { panic!("{:?}", observation.ownership) };
    assert!(who == format!("role {} is unmanaged", stack.role("app")), "{who}");
    assert_eq!(rejection(stack.apply(stack.roles()).await).0, Code::NotOwned);
    assert_eq!(rejection(stack.delete(&stack.roles(), None).await).0, Code::NotOwned);
    run(&mut admin, &format!("DROP ROLE \"{}\"", stack.role("app"))).await;

    stack.apply(stack.roles()).await.unwrap();
    run(&mut admin, &format!("CREATE DATABASE \"{}\"", stack.name)).await;
    let observation = stack.observe(&stack.database()).await.unwrap();
    assert_eq!(
        observation.ownership,
        Ownership::Foreign("owned by role postgres, without an ownership label of Freehold".to_owned())
    );
    assert_eq!(rejection(stack.apply(stack.database()).await).0, Code::NotOwned);
    assert_eq!(rejection(stack.delete(&stack.database(), None).await).0, Code::NotOwned);
    assert_eq!(rejection(stack.dump().await).0, Code::NotOwned);
    // Not even an adoption takes what a superuser owns.
    let (code, why) = rejection(stack.adopt(stack.database()).await);
    assert!(code == Code::NotAdoptableAsIs && why.contains("superuser"), "{why}");
    run(&mut admin, &format!("DROP DATABASE \"{}\"", stack.name)).await;
    stack.destroy().await;
}

#[tokio::test]
async fn another_stacks_database_is_never_taken() {
    let (one, mut other) = (Stack::new(), Stack::new());
    one.deploy().await;
    other.name.clone_from(&one.name);
    for resource in [other.roles(), other.database()] {
        assert_eq!(other.observe(&resource).await.unwrap().ownership, Ownership::OtherStack(one.id));
        assert_eq!(rejection(other.adopt(resource.clone()).await).0, Code::NotOwned);
        assert_eq!(rejection(other.delete(&resource, None).await).0, Code::NotOwned);
    }
    // Its owner may change the database's comment, but not whose it is.
    let mut migrator = one.connect("migrator").await;
    let forged = format!("freehold stack={} resource=database.main v1 {{}}", other.id);
    run(&mut migrator, &format!("COMMENT ON DATABASE \"{}\" IS '{forged}'", one.name)).await;
    assert_eq!(other.owned().await, Vec::<String>::new());
    assert_eq!(rejection(other.delete(&other.database(), None).await).0, Code::NotOwned);
    drop(migrator);
    one.destroy().await;
}

#[tokio::test]
async fn an_object_made_anew_by_somebody_else_is_not_deleted() {
    let stack = Stack::new();
    stack.apply(stack.roles()).await.unwrap();
    let first = stack.apply(stack.database()).await.unwrap().object.unwrap();
    let mut admin = admin("postgres").await;
    run(&mut admin, &format!("DROP DATABASE \"{}\"", stack.name)).await;
    run(&mut admin, &format!("CREATE DATABASE \"{}\" OWNER \"{}\"", stack.name, stack.role("owner"))).await;
    let (code, why) = rejection(stack.delete(&stack.database(), Some(&first)).await);
    assert!(code == Code::ChangedExternally && why.contains(&first), "{why}");
    stack.destroy().await;
}

#[tokio::test]
async fn what_was_changed_behind_our_back_shows_in_its_field_and_is_mended() {
    let stack = Stack::new();
    stack.deploy().await;
    let mut admin = admin("postgres").await;
    let (owner, migrator, app, name) =
        (stack.role("owner"), stack.role("migrator"), stack.role("app"), stack.name.clone());
    let changes = [
        (format!("ALTER ROLE {app} CONNECTION LIMIT 99"), "connections"),
        (format!("ALTER ROLE {app} SET statement_timeout = '5min'"), "statement_timeout_seconds"),
        (format!("ALTER ROLE {migrator} SET lock_timeout = 0"), "lock_timeout_seconds"),
        (format!("ALTER ROLE {app} NOLOGIN"), "app_login"),
        (format!("ALTER ROLE {app} CREATEDB"), "app_attributes"),
        (format!("REVOKE {owner} FROM {migrator} GRANTED BY {PROVISIONER}"), "migrator_memberships"),
        (format!("REVOKE {owner} FROM {name}__keeper GRANTED BY {PROVISIONER}"), "keeper_memberships"),
        (format!("ALTER ROLE {name}__keeper SET search_path = evil"), "keeper_settings"),
        (format!("ALTER ROLE {name}__dumper CONNECTION LIMIT 50"), "dumper_connections"),
        (format!("ALTER ROLE {name}__dumper NOBYPASSRLS"), "dumper_bypasses_row_security"),
        (format!("ALTER ROLE {migrator} RESET role"), "migrator_acts_as"),
        (format!("ALTER ROLE {migrator} CONNECTION LIMIT 50"), "migrator_connections"),
        (format!("ALTER ROLE {migrator} VALID UNTIL '2001-01-01'"), "migrator_attributes"),
        (format!("ALTER ROLE {owner} LOGIN"), "owner_login"),
    ];
    for (sql, field) in changes {
        run(&mut admin, &sql).await;
        assert_eq!(stack.drift(&stack.roles()).await, [field], "{sql}");
        stack.apply(stack.roles()).await.unwrap();
        assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new(), "{sql}");
    }
    let changes = [
        (format!("GRANT CONNECT ON DATABASE {name} TO PUBLIC"), "public_may"),
        (format!("REVOKE CONNECT ON DATABASE {name} FROM {app}"), "app"),
        (format!("REVOKE TEMPORARY ON DATABASE {name} FROM {app}"), "app_temporary_tables"),
        (format!("ALTER DATABASE {name} CONNECTION LIMIT 3"), "connection_limit"),
        (format!("ALTER DATABASE {name} OWNER TO {migrator}"), "owned_by"),
    ];
    for (sql, field) in changes {
        run(&mut admin, &sql).await;
        assert!(stack.drift(&stack.database()).await.contains(&field.to_owned()), "{sql}");
        stack.apply(stack.database()).await.unwrap();
        assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new(), "{sql}");
    }
    let mut inside = crate::setting::admin(&name).await;
    let sql = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE ALL ON TABLES FROM {app}");
    for (sql, field) in [(sql.as_str(), "app_rights"), ("DROP EXTENSION pgcrypto", "extensions")] {
        run(&mut inside, sql).await;
        assert_eq!(stack.drift(&stack.database()).await, [field], "{sql}");
        stack.apply(stack.database()).await.unwrap();
        assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new(), "{sql}");
    }
    drop(inside);
    stack.destroy().await;
}

#[tokio::test]
async fn a_membership_that_somebody_gave_a_role_is_taken_back_or_said() {
    let stack = Stack::new();
    stack.apply(stack.roles()).await.unwrap();
    let mut admin = admin("postgres").await;
    let version = count(&mut admin, "SELECT current_setting('server_version_num')::int8").await;
    run(&mut admin, &format!("GRANT {} TO {}", stack.role("owner"), stack.role("app"))).await;
    assert_eq!(stack.drift(&stack.roles()).await, ["app_memberships"]);
    if version < 160_000 {
        stack.apply(stack.roles()).await.unwrap();
    } else {
        let (code, why) = rejection(stack.apply(stack.roles()).await);
        assert!(code == Code::ChangedExternally && why.contains(&stack.role("app")), "{why}");
        run(&mut admin, &format!("REVOKE {} FROM {}", stack.role("owner"), stack.role("app"))).await;
    }
    assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new());
    stack.destroy().await;
}

#[tokio::test]
async fn a_missing_role_is_made_again_and_a_superuser_made_of_one_is_said() {
    let stack = Stack::new();
    stack.apply(stack.roles()).await.unwrap();
    let mut admin = admin("postgres").await;
    run(&mut admin, &format!("DROP ROLE {}", stack.role("app"))).await;
    assert!(stack.drift(&stack.roles()).await.contains(&"app_exists".to_owned()));
    stack.apply(stack.roles()).await.unwrap();
    assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new());
    run(&mut admin, &format!("ALTER ROLE {} SUPERUSER", stack.role("app"))).await;
    assert_eq!(stack.drift(&stack.roles()).await, ["app_attributes"]);
    let (code, why) = rejection(stack.apply(stack.roles()).await);
    assert!(code == Code::StepFailed && why.contains("lacks a right"), "{why}");
    run(&mut admin, &format!("ALTER ROLE {} NOSUPERUSER", stack.role("app"))).await;
    stack.destroy().await;
}

#[tokio::test]
async fn a_rotated_password_is_a_changed_digest_and_takes_effect_in_place() {
    let mut stack = Stack::new();
    stack.deploy().await;
    let before = stack.observe(&stack.roles()).await.unwrap().object;
    let old = stack.connect_options("app");
    stack.rotation = 1;
    assert_eq!(stack.drift(&stack.roles()).await, ["app_password", "migrator_password"]);
    let after = stack.apply(stack.roles()).await.unwrap().object;
    assert_eq!(after, Some(before));
    assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new());
    stack.connect("app").await;
    let error = sqlx::ConnectOptions::connect(&old).await.unwrap_err();
    assert_eq!(crate::setting::code(&error), "28P01");
    stack.destroy().await;
}

#[tokio::test]
async fn an_extension_that_is_not_on_the_list_is_refused_and_one_that_is_no_longer_wanted_stays() {
    let mut stack = Stack::new();
    stack.apply(stack.roles()).await.unwrap();
    stack.extensions = vec!["dblink".to_owned()];
    let (code, why) = rejection(stack.apply(stack.database()).await);
    assert!(code == Code::ExtensionNotAllowed && why.contains("dblink"), "{why}");
    assert!(stack.observe(&stack.database()).await.is_none());
    stack.extensions = vec!["citext".to_owned(), "uuid-ossp".to_owned()];
    stack.apply(stack.database()).await.unwrap();
    assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new());
    // One that the definition names no more stays, and is no drift.
    stack.extensions = vec!["citext".to_owned()];
    assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new());
    stack.destroy().await;
}

#[tokio::test]
async fn a_deletion_ends_sessions_and_names_what_it_cannot_end() {
    let stack = Stack::new();
    stack.deploy().await;
    let mut app = stack.connect("app").await;
    let mut superuser = admin(&stack.name).await;
    let (_, why) = rejection(stack.delete(&stack.database(), None).await);
    assert!(why.contains("role postgres"), "{why}");
    run(&mut superuser, "SELECT 1").await;
    sqlx::Connection::close(superuser).await.unwrap();
    stack.delete(&stack.database(), None).await.unwrap();
    refused(&mut app, "SELECT 1").await;
    stack.delete(&stack.roles(), None).await.unwrap();
}

#[tokio::test]
async fn a_deletion_waits_for_a_superusers_session_that_leaves() {
    let stack = Stack::new();
    stack.deploy().await;
    let (mut beside, agent) = (admin("postgres").await, admin(&stack.name).await);
    let refused = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DROP DATABASE IF EXISTS \"{}\"%' AND state <> 'active'",
        stack.name
    );
    let leaves = async {
        while count(&mut beside, &refused).await == 0 {
            tokio::task::yield_now().await;
        }
        sqlx::Connection::close(agent).await.unwrap();
    };
    let database = stack.database();
    let both = async { tokio::join!(stack.delete(&database, None), leaves).0 };
    tokio::time::timeout(PATIENCE, both).await.expect("nobody leaves").unwrap();
    stack.delete(&stack.roles(), None).await.unwrap();
}

#[tokio::test]
async fn roles_that_own_something_elsewhere_are_not_dropped_with_it() {
    let (stack, other) = (Stack::new(), Stack::new());
    stack.deploy().await;
    other.deploy().await;
    let mut inside = admin(&other.name).await;
    let sql = format!("CREATE TABLE theirs (x int); ALTER TABLE theirs OWNER TO {}", stack.role("app"));
    run(&mut inside, &sql).await;
    stack.delete(&stack.database(), None).await.unwrap();
    let (code, why) = rejection(stack.delete(&stack.roles(), None).await);
    assert!(code == Code::UsedByOthers && why.contains(&other.name), "{why}");
    // A right that a superuser gave can't be taken back by us; it is said where it is.
    let app = stack.role("app");
    run(&mut inside, &format!("ALTER TABLE theirs OWNER TO postgres; GRANT SELECT ON theirs TO {app}")).await;
    let (code, why) = rejection(stack.delete(&stack.roles(), None).await);
    assert!(code == Code::UsedByOthers && why.contains(&other.name), "{why}");
    // One that another owner of ours gave is taken back.
    run(&mut inside, &format!("ALTER TABLE theirs OWNER TO {}", other.role("owner"))).await;
    run(&mut inside, &format!("GRANT CONNECT ON DATABASE {} TO {app}", other.name)).await;
    sqlx::Connection::close(inside).await.unwrap();
    assert_eq!(other.drift(&other.database()).await, ["others_may_connect"]);
    stack.delete(&stack.roles(), None).await.unwrap();
    assert_eq!(stack.owned().await, Vec::<String>::new());
    other.destroy().await;
}

#[tokio::test]
async fn a_database_of_a_plain_role_is_adopted_with_what_is_in_it() {
    let stack = Stack::new();
    let (name, former) = (stack.name.clone(), format!("{}_former", stack.name));
    let mut superuser = admin("postgres").await;
    run(
        &mut superuser,
        &format!("CREATE ROLE {former}; GRANT {former} TO {} WITH ADMIN OPTION", crate::setting::PROVISIONER),
    )
    .await;
    run(&mut superuser, &format!("CREATE DATABASE {name} OWNER {former}")).await;
    let mut inside = admin(&name).await;
    run(&mut inside, &format!("SET ROLE {former}; CREATE TABLE kept (x int); INSERT INTO kept VALUES (1), (2)")).await;
    stack.apply(stack.roles()).await.unwrap();
    stack.adopt(stack.database()).await.unwrap();
    assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new());
    let mut app = stack.connect("app").await;
    assert_eq!(count(&mut app, "SELECT count(*) FROM kept").await, 2);
    let mut migrator = stack.connect("migrator").await;
    run(&mut migrator, "ALTER TABLE kept ADD COLUMN y int").await;
    sqlx::Connection::close(inside).await.unwrap();
    stack.destroy().await;
    run(&mut superuser, &format!("DROP ROLE {former}")).await;
}

#[tokio::test]
async fn a_drop_that_was_interrupted_is_finished() {
    let stack = Stack::new();
    stack.deploy().await;
    let mut superuser = admin("postgres").await;
    let interrupt = format!("UPDATE pg_database SET datconnlimit = -2 WHERE datname = '{}'", stack.name);
    run(&mut superuser, &interrupt).await;
    assert_eq!(stack.drift(&stack.database()).await, ["extensions", "half_dropped"]);
    let note = stack.apply(stack.database()).await.unwrap().note.unwrap();
    assert!(note.contains("interrupted"), "{note}");
    assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new());
    run(&mut superuser, &interrupt).await;
    assert!(stack.dump().await.unwrap().note.unwrap().contains("nothing was dumped"));
    stack.destroy().await;
    assert_eq!(stack.owned().await, Vec::<String>::new());
}

#[tokio::test]
async fn promised_connections_add_up() {
    let stack = Stack::new();
    stack.apply(stack.roles()).await.unwrap();
    let capacity = stack.provider.capacity().await.unwrap();
    // 120, less 3 for superusers, less 10 for the platform.
    assert_eq!(capacity.usable, 107);
    assert_eq!(capacity.promised[&stack.id], 7 + 5);
    let others: u32 = capacity.promised.iter().filter(|(id, _)| **id != stack.id).map(|(_, limit)| limit).sum();
    assert_eq!(capacity.available_to(stack.id), 107_u32.saturating_sub(others));
    stack.destroy().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again() {
    let mut stack = Stack::new();
    let nowhere = shared().provisioner.clone().socket("/nonexistent");
    stack.provider = freehold_provider_postgres::PostgresProvider::new(freehold_provider_postgres::PostgresOptions {
        provisioner: nowhere,
        login_key: freehold_graph::SecretText::new("x"),
        dump_directory: stack.dumps.clone(),
        binaries: None,
        reserved_connections: 0,
        sole: None,
        concurrency: 4,
        fault: None,
    });
    let error = stack.apply(stack.roles()).await.unwrap_err();
    assert!(matches!(error, ProviderError::Retryable { .. }), "{error:?}");
}
