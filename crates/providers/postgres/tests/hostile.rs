//! A tenant who owns their database and does with it what its owner may. Each attack is first shown to work on somebody who
//! enters as the provisioner used to.

use freehold_engine::{Lookup, Provider as _, ProviderError};
use freehold_graph::SecretText;
use freehold_plan::Ownership;
use freehold_problem::{Code, Problem};
use freehold_provider_postgres::{PostgresOptions, PostgresProvider};
use sha2::{Digest as _, Sha256};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::setting::{LOGIN_KEY, PATIENCE, PROVISIONER, Stack, admin, code, count, refused, rejection, run, shared};

/// The provisioner as it was: a member of the stack's owner, in the stack's database, with the settings of that database.
async fn entered_as_before(stack: &Stack) -> PgConnection {
    let mut superuser = admin("postgres").await;
    let version = count(&mut superuser, "SELECT current_setting('server_version_num')::int8").await;
    let options = if version < 160_000 { "" } else { " WITH INHERIT TRUE, SET TRUE" };
    run(&mut superuser, &format!("GRANT {} TO {PROVISIONER}{options}", stack.role("owner"))).await;
    shared().provisioner.clone().database(&stack.name).connect().await.unwrap()
}

/// Takes that back.
async fn leave(stack: &Stack, connection: PgConnection) {
    connection.close().await.unwrap();
    let mut superuser = admin("postgres").await;
    let version = count(&mut superuser, "SELECT current_setting('server_version_num')::int8").await;
    let owner = stack.role("owner");
    let revoke = match version < 160_000 {
        true => format!("REVOKE {owner} FROM {PROVISIONER}"),
        false => format!("GRANT {owner} TO {PROVISIONER} WITH INHERIT FALSE, SET FALSE"),
    };
    run(&mut superuser, &revoke).await;
}

/// A function that tries to make a role of the name it is given, as whoever it finds itself in the session of.
const TRAP: &str = "
    CREATE FUNCTION public.trap(what text) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        BEGIN
            BEGIN EXECUTE 'RESET ROLE'; EXCEPTION WHEN OTHERS THEN NULL; END;
            EXECUTE 'CREATE ROLE ' || quote_ident(what);
            -- Since 16 it takes more than CREATEROLE.
            BEGIN
                EXECUTE 'GRANT pg_execute_server_program TO ' || quote_ident(what);
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
        RETURN true;
    END $$;
    CREATE FUNCTION public.still(what text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN PERFORM public.trap(what); RETURN true; END $$;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO PUBLIC;";

/// The roles that a trap made, dropped.
async fn caught(stack: &Stack) -> Vec<String> {
    let mut superuser = admin("postgres").await;
    let roles: Vec<String> =
        sqlx::query_scalar("SELECT rolname::text FROM pg_roles WHERE starts_with(rolname, $1) ORDER BY 1")
            .bind(format!("trap_{}_", stack.name))
            .fetch_all(&mut superuser)
            .await
            .unwrap();
    for role in &roles {
        run(&mut superuser, &format!("DROP ROLE {role}")).await;
    }
    roles
}

#[tokio::test]
async fn what_stands_in_front_of_a_catalogs_name_is_not_run_by_looking_making_or_dumping() {
    let stack = Stack::new();
    stack.deploy().await;
    let name = &stack.name;
    let mut migrator = stack.connect("migrator").await;
    run(&mut migrator, TRAP).await;
    let sql = format!(
        "CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC;
         CREATE VIEW evil.pg_extension AS SELECT e.* FROM pg_catalog.pg_extension e
             WHERE public.trap('trap_{name}_extension');
         CREATE VIEW evil.pg_default_acl AS SELECT d.* FROM pg_catalog.pg_default_acl d
             WHERE public.trap('trap_{name}_acl');
         CREATE VIEW evil.pg_class AS SELECT c.* FROM pg_catalog.pg_class c WHERE public.trap('trap_{name}_class');
         GRANT SELECT ON ALL TABLES IN SCHEMA evil TO PUBLIC;
         ALTER DATABASE {name} SET search_path = evil, public, pg_catalog"
    );
    run(&mut migrator, &sql).await;

    let mut before = entered_as_before(&stack).await;
    run(&mut before, "SELECT extname FROM pg_extension").await;
    leave(&stack, before).await;
    assert_eq!(caught(&stack).await, [format!("trap_{name}_extension")], "the attack works");

    assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new());
    stack.deploy().await;
    let note = stack.dump().await.unwrap().note.unwrap();
    assert!(note.contains("restored once"), "{note}");
    stack.provider.preview_dump(stack.id, &Lookup::from(&stack.database())).await.unwrap();
    assert_eq!(caught(&stack).await, Vec::<String>::new());
    drop(migrator);
    stack.destroy().await;
}

#[tokio::test]
async fn code_in_a_restored_database_gets_nobodys_rights() {
    let stack = Stack::new();
    stack.deploy().await;
    let name = &stack.name;
    let mut migrator = stack.connect("migrator").await;
    run(&mut migrator, TRAP).await;
    let sql = format!(
        "CREATE DOMAIN odd AS int CHECK (public.trap('trap_{name}_domain'));
         CREATE TABLE checked (x int CHECK (public.trap('trap_{name}_check')), y odd);
         CREATE TABLE generated (x int, y boolean GENERATED ALWAYS AS (public.still('trap_{name}_generated')) STORED);
         CREATE TABLE indexed (x int); CREATE INDEX ON indexed ((public.still('trap_{name}_index')));
         CREATE TABLE secret (x int DEFAULT length(public.trap('trap_{name}_default')::text));
         CREATE POLICY watch ON secret USING (public.trap('trap_{name}_policy'));
         ALTER TABLE secret ENABLE ROW LEVEL SECURITY; ALTER TABLE secret FORCE ROW LEVEL SECURITY;
         CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM public.trap('trap_{name}_trigger'); RETURN NEW; END $$;
         CREATE TRIGGER fire BEFORE INSERT ON checked FOR EACH ROW EXECUTE FUNCTION fire();
         INSERT INTO checked VALUES (1, 1); INSERT INTO generated (x) VALUES (1);
         INSERT INTO indexed VALUES (1); INSERT INTO secret VALUES (1)"
    );
    run(&mut migrator, &sql).await;
    assert_eq!(caught(&stack).await, Vec::<String>::new(), "the tenant may not do it");

    let mut before = entered_as_before(&stack).await;
    run(&mut before, &format!("SET ROLE {}; INSERT INTO checked VALUES (2, 2)", stack.role("owner"))).await;
    leave(&stack, before).await;
    assert!(caught(&stack).await.contains(&format!("trap_{name}_check")), "the attack works");

    let note = stack.dump().await.unwrap().note.unwrap();
    assert!(note.contains("restored once"), "{note}");
    assert_eq!(caught(&stack).await, Vec::<String>::new());
    drop(migrator);
    stack.destroy().await;
    assert_eq!(stack.owned().await, Vec::<String>::new());
}

#[tokio::test]
async fn settings_of_a_database_and_of_its_roles_hinder_nothing() {
    let stack = Stack::new();
    stack.deploy().await;
    let name = &stack.name;
    let mut migrator = stack.connect("migrator").await;
    run(&mut migrator, "CREATE TABLE kept (x int); INSERT INTO kept VALUES (1)").await;
    for setting in [
        format!("role = {}", stack.role("owner")),
        "search_path = nowhere".to_owned(),
        "local_preload_libraries = nothing".to_owned(),
        "default_transaction_read_only = on".to_owned(),
        "default_transaction_isolation = serializable".to_owned(),
        "default_transaction_deferrable = on".to_owned(),
        "statement_timeout = 1".to_owned(),
        "lock_timeout = 1".to_owned(),
        "idle_session_timeout = 1".to_owned(),
        "idle_in_transaction_session_timeout = 1".to_owned(),
        "row_security = on".to_owned(),
        "quote_all_identifiers = on".to_owned(),
        "standard_conforming_strings = off".to_owned(),
        "client_min_messages = debug5".to_owned(),
    ] {
        run(&mut migrator, &format!("ALTER DATABASE {name} SET {setting}")).await;
    }
    let error = shared().admin.clone().database(name).connect().await.err();
    assert!(error.is_some(), "a library that is not there keeps others out");
    assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new());
    stack.deploy().await;
    let note = stack.dump().await.unwrap().note.unwrap();
    assert!(note.contains("restored once"), "{note}");
    drop(migrator);
    stack.destroy().await;
}

#[tokio::test]
async fn a_database_that_its_owner_has_shut_is_dumped_all_the_same() {
    for shut in ["CONNECTION LIMIT 0", "ALLOW_CONNECTIONS false", "CONNECTION LIMIT 0 ALLOW_CONNECTIONS false"] {
        let stack = Stack::new();
        stack.deploy().await;
        let mut migrator = stack.connect("migrator").await;
        run(&mut migrator, "CREATE TABLE kept (x int); INSERT INTO kept VALUES (1)").await;
        let revoke = format!("REVOKE CONNECT ON DATABASE {0} FROM {0}__keeper, {0}__dumper", stack.name);
        run(&mut migrator, &revoke).await;
        drop(migrator);
        // Not from within; on a server that was given the owner gets into other databases.
        let sql = format!("SET ROLE {}; ALTER DATABASE {} {shut}", stack.role("owner"), stack.name);
        run(&mut admin("postgres").await, &sql).await;
        let drift = stack.drift(&stack.database()).await;
        assert!(drift.contains(&"open_to_freehold".to_owned()), "{drift:?}");
        let note = stack.dump().await.unwrap().note.unwrap();
        assert!(note.contains("restored once"), "{shut}: {note}");
        stack.deploy().await;
        assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new(), "{shut}");
        stack.destroy().await;
    }
}

#[tokio::test]
async fn a_view_in_the_place_of_a_table_is_not_counted() {
    let stack = Stack::new();
    stack.deploy().await;
    let name = &stack.name;
    let mut migrator = stack.connect("migrator").await;
    run(&mut migrator, TRAP).await;
    run(&mut migrator, "CREATE TABLE entries (x int); INSERT INTO entries VALUES (1)").await;
    let swap = format!(
        "BEGIN; LOCK TABLE entries; ALTER TABLE entries RENAME TO away;
         CREATE VIEW entries AS SELECT x FROM away WHERE public.trap('trap_{name}_view')"
    );
    run(&mut migrator, &swap).await;
    let finish = async {
        // As soon as the dump waits for the table that it saw.
        let waiting = format!(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
             WHERE d.datname = '{name}' AND NOT l.granted"
        );
        let mut superuser = admin("postgres").await;
        while count(&mut superuser, &waiting).await == 0 {
            tokio::task::yield_now().await;
        }
        run(&mut migrator, "COMMIT").await;
    };
    let (outcome, ()) = tokio::join!(stack.dump(), finish);
    let error = outcome.unwrap_err();
    let ProviderError::Retryable { problem: Problem { message, .. }, .. } = &error else { panic!("{error:?}") };
    assert!(message.contains("entries"), "{message}");
    assert_eq!(caught(&stack).await, Vec::<String>::new());

    let mut before = entered_as_before(&stack).await;
    run(&mut before, "SELECT count(*) FROM public.entries").await;
    leave(&stack, before).await;
    assert_eq!(caught(&stack).await, [format!("trap_{name}_view")], "the attack works");
    // Now that it stands there from the beginning, there is nothing to be fooled about.
    assert!(stack.dump().await.unwrap().note.unwrap().contains("restored once"));
    assert_eq!(caught(&stack).await, Vec::<String>::new());
    drop(migrator);
    stack.destroy().await;
}

#[tokio::test]
async fn a_password_that_the_tenants_code_gave_one_of_freeholds_logins_does_not_last() {
    let stack = Stack::new();
    stack.deploy().await;
    let name = &stack.name;
    let mut migrator = stack.connect("migrator").await;
    // The trap gets at the session's own role, which is the keeper, and nothing else.
    let sql = "
        CREATE FUNCTION public.take() RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN
            BEGIN
                EXECUTE 'RESET ROLE';
                IF session_user::text LIKE '%keeper' THEN EXECUTE 'ALTER ROLE CURRENT_USER PASSWORD ''taken'''; END IF;
                EXECUTE 'SET ROLE ' || quote_ident(replace(session_user::text, 'keeper', 'owner'));
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
            RETURN true;
        END $$;
        CREATE TABLE checked (x int CHECK (public.take())); INSERT INTO checked VALUES (1)";
    run(&mut migrator, sql).await;
    stack.dump().await.unwrap();
    let taken = stack.connect_options("app").username(&format!("{name}__keeper")).password("taken");
    assert_eq!(code(&taken.connect().await.unwrap_err()), "28P01");
    assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new());
    // Changed by anybody else, it shows and is mended.
    run(&mut admin("postgres").await, &format!("ALTER ROLE {name}__keeper PASSWORD 'taken'")).await;
    let mut other = taken.connect().await.unwrap();
    assert_eq!(refused(&mut other, "CREATE ROLE x").await, "42501", "it is worth nothing");
    drop(other);
    assert!(stack.drift(&stack.database()).await.contains(&"open_to_freehold".to_owned()));
    stack.apply(stack.database()).await.unwrap();
    assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new());
    drop(migrator);
    stack.destroy().await;
}

#[tokio::test]
async fn a_mark_that_an_owner_can_write_says_nothing() {
    let stack = Stack::new();
    stack.deploy().await;
    let mut superuser = admin("postgres").await;
    let (role, foreign) = (format!("{}_forger", stack.name), format!("{}_forged", stack.name));
    run(&mut superuser, &format!("CREATE ROLE {role}")).await;
    run(&mut superuser, &format!("CREATE DATABASE {foreign} OWNER {role}")).await;
    let mark = format!("freehold stack={} resource=database.main v1 {{}}", stack.id);
    run(&mut superuser, &format!("SET ROLE {role}; COMMENT ON DATABASE {foreign} IS '{mark}'; RESET ROLE")).await;
    let before = stack.owned().await;
    assert!(!before.contains(&format!("database {foreign}")), "{before:?}");
    let mut resource = stack.database();
    resource.identity.clone_from(&foreign);
    let observed = stack.observe(&resource).await.unwrap();
    assert!(matches!(observed.ownership, Ownership::Foreign(_)), "{:?}", observed.ownership);
    assert_eq!(rejection(stack.delete(&resource, None).await).0, Code::NotOwned);
    // On roles, whose marks count, a tenant can't write.
    let mut migrator = stack.connect("migrator").await;
    for who in ["owner", "migrator", "app"] {
        let forged = format!("COMMENT ON ROLE {} IS 'freehold stack=x'", stack.role(who));
        assert_eq!(refused(&mut migrator, &forged).await, "42501", "{who}");
    }
    drop(migrator);
    stack.destroy().await;
    assert_eq!(stack.owned().await, Vec::<String>::new());
    run(&mut superuser, &format!("DROP DATABASE {foreign}")).await;
    run(&mut superuser, &format!("DROP ROLE {role}")).await;
}

/// The numbers of the locks that stand for a name.
fn keys(name: &str) -> Vec<i64> {
    let key = |what: &str| {
        let digest = Sha256::digest(format!("freehold {what} {name}").as_bytes());
        digest.iter().take(8).fold(0_i64, |key, byte| key << 8 | i64::from(*byte))
    };
    ["change", "dump", "assume"].map(key).to_vec()
}

#[tokio::test]
async fn locks_that_a_tenant_holds_hinder_nobody() {
    let (stack, hostile) = (Stack::new(), Stack::new());
    hostile.deploy().await;
    stack.deploy().await;
    let mut superuser = admin("postgres").await;
    // As on a server that was given, where everybody gets into `postgres`.
    run(&mut superuser, &format!("GRANT CONNECT ON DATABASE postgres TO {}", hostile.role("app"))).await;
    let mut outside = hostile.connect_options("app").database("postgres").connect().await.unwrap();
    let mut inside = stack.connect("migrator").await;
    for key in keys(&stack.name).into_iter().chain(keys(&stack.role("owner"))) {
        for connection in [&mut outside, &mut inside] {
            run(connection, &format!("SELECT pg_advisory_lock({key})")).await;
        }
    }
    stack.deploy().await;
    assert_eq!(stack.drift(&stack.database()).await, Vec::<String>::new());
    stack.dump().await.unwrap();
    let home = hostile.connect_options("app").database(PROVISIONER);
    assert_eq!(code(&home.connect().await.unwrap_err()), "42501", "the provisioner's own database is closed");
    stack.destroy().await;
    drop((outside, inside));
    run(&mut superuser, &format!("REVOKE CONNECT ON DATABASE postgres FROM {}", hostile.role("app"))).await;
    hostile.destroy().await;
}

#[tokio::test]
async fn only_a_marked_dumper_may_read_all_rows() {
    let stack = Stack::new();
    stack.deploy().await;
    let mut superuser = admin("postgres").await;
    let name = &stack.name;
    let bypasses = format!("SELECT count(*) FROM pg_roles WHERE rolbypassrls AND starts_with(rolname, '{name}__')");
    assert_eq!(count(&mut superuser, &bypasses).await, 1);
    let attributes = "SELECT count(*) FROM pg_roles WHERE rolname = 'freehold_provisioner' AND NOT rolbypassrls";
    assert_eq!(count(&mut superuser, attributes).await, 1);
    let mut provisioner = shared().provisioner.clone().database(PROVISIONER).connect().await.unwrap();
    for role in [
        "postgres".to_owned(),
        PROVISIONER.to_owned(),
        "pg_read_all_data".to_owned(),
        stack.role("owner"),
        stack.role("app"),
        stack.role("migrator"),
        "nobody_at_all".to_owned(),
    ] {
        assert_eq!(refused(&mut provisioner, &format!("SELECT freehold.let_dump('{role}')")).await, "42501", "{role}");
    }
    // One that is a member of more, or that others are members of.
    let dumper = format!("{name}__dumper");
    run(&mut superuser, &format!("ALTER ROLE {dumper} NOBYPASSRLS")).await;
    for (give, take) in [
        (format!("GRANT pg_read_all_data TO {dumper}"), format!("REVOKE pg_read_all_data FROM {dumper}")),
        (format!("GRANT {dumper} TO {name}__app"), format!("REVOKE {dumper} FROM {name}__app")),
        (format!("ALTER ROLE {dumper} CREATEROLE"), format!("ALTER ROLE {dumper} NOCREATEROLE")),
    ] {
        run(&mut superuser, &give).await;
        let refusal = refused(&mut provisioner, &format!("SELECT freehold.let_dump('{dumper}')")).await;
        assert_eq!(refusal, "42501", "{give}");
        run(&mut superuser, &take).await;
    }
    assert_eq!(stack.drift(&stack.roles()).await, ["dumper_bypasses_row_security"]);
    stack.apply(stack.roles()).await.unwrap();
    assert_eq!(count(&mut superuser, &bypasses).await, 1);
    stack.destroy().await;
}

#[tokio::test]
async fn a_server_that_gives_no_dump_of_hidden_rows_says_so_before_anything_is_deleted() {
    let mut stack = Stack::new();
    let role = format!("{}_provisioner", stack.name);
    let mut superuser = admin("postgres").await;
    run(&mut superuser, &format!("CREATE ROLE {role} LOGIN CREATEDB CREATEROLE PASSWORD 'x'; GRANT pg_signal_backend TO {role}; GRANT CONNECT ON DATABASE postgres TO {role}")).await;
    stack.provider = PostgresProvider::new(PostgresOptions {
        provisioner: shared().provisioner.clone().username(&role).password("x"),
        login_key: SecretText::new(LOGIN_KEY),
        dump_directory: stack.dumps.clone(),
        binaries: Some(shared().binaries.clone()),
        reserved_connections: 0,
        sole: None,
        concurrency: 4,
        fault: None,
    });
    stack.deploy().await;
    assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new());
    let lookup = Lookup::from(&stack.database());
    let mut migrator = stack.connect("migrator").await;
    run(&mut migrator, "CREATE TABLE open (x int); INSERT INTO open VALUES (1)").await;
    stack.provider.preview_dump(stack.id, &lookup).await.unwrap();
    stack.dump().await.unwrap();
    let sql = "CREATE TABLE hidden (x int); INSERT INTO hidden VALUES (1);
        ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; ALTER TABLE hidden FORCE ROW LEVEL SECURITY";
    run(&mut migrator, sql).await;
    let error = stack.provider.preview_dump(stack.id, &lookup).await.unwrap_err();
    let ProviderError::Rejected(Problem { code, lines: detail, help, .. }) = error else { panic!("{error:?}") };
    assert_eq!((code, detail), (Code::DumpNotProved, vec!["table public.hidden".to_owned()]));
    let help = help.unwrap();
    assert!(help.contains("BYPASSRLS") && help.contains("--no-dump"), "{help}");
    run(&mut superuser, &format!("ALTER ROLE {}__dumper BYPASSRLS", stack.name)).await;
    stack.provider.preview_dump(stack.id, &lookup).await.unwrap();
    stack.dump().await.unwrap();
    drop(migrator);
    stack.destroy().await;
    run(&mut superuser, &format!("DROP DATABASE freehold_{role} WITH (FORCE)")).await;
    run(&mut superuser, &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn who_holds_a_lock_that_keeps_a_database_from_being_dumped_is_named() {
    let stack = Stack::new();
    stack.deploy().await;
    let mut migrator = stack.connect("migrator").await;
    run(&mut migrator, "CREATE TABLE busy (x int)").await;
    run(&mut migrator, "BEGIN; LOCK TABLE busy").await;
    let pid = count(&mut migrator, "SELECT pg_backend_pid()::int8").await;
    let checked = stack.provider.preview_dump(stack.id, &Lookup::from(&stack.database())).await;
    for outcome in [checked.map(|()| freehold_engine::Performed::default()), stack.dump().await] {
        let (code, why) = rejection(outcome);
        let expected = format!("table public.busy is locked by session {pid} of role {}", stack.role("migrator"));
        assert!(code == Code::DumpNotProved && why.contains(&expected), "{why}");
    }
    run(&mut migrator, "ROLLBACK").await;
    stack.provider.preview_dump(stack.id, &Lookup::from(&stack.database())).await.unwrap();
    drop(migrator);
    stack.destroy().await;
}

#[tokio::test]
async fn what_nobody_of_ours_made_is_found() {
    let (mut stack, other) = (Stack::new(), Stack::new());
    stack.deploy().await;
    other.deploy().await;
    stack.provider = PostgresProvider::new(PostgresOptions {
        provisioner: shared().provisioner.clone(),
        login_key: SecretText::new(LOGIN_KEY),
        dump_directory: stack.dumps.clone(),
        binaries: None,
        reserved_connections: 0,
        sole: Some([].into()),
        concurrency: 4,
        fault: None,
    });
    let name = &stack.name;
    let about = async || -> Vec<String> {
        let found = stack.provider.unmanaged().await.unwrap();
        let ours = |what: &String| {
            what.split([' ', ',', ':']).any(|word| word == name || word.starts_with(&format!("{name}_")))
        };
        found.into_iter().map(|found| found.message).filter(ours).collect()
    };
    assert_eq!(about().await, Vec::<String>::new());
    let mut superuser = admin("postgres").await;
    let cases = [
        (format!("CREATE ROLE {name}_left"), format!("DROP ROLE {name}_left"), "is unmanaged"),
        (
            format!("GRANT {name}__owner TO {}", other.role("app")),
            format!("REVOKE {name}__owner FROM {}", other.role("app")),
            "is a member of",
        ),
        (
            format!("GRANT pg_execute_server_program TO {name}__app"),
            format!("REVOKE pg_execute_server_program FROM {name}__app"),
            "is a member of",
        ),
        (
            format!("ALTER ROLE {name}__app CREATEROLE"),
            format!("ALTER ROLE {name}__app NOCREATEROLE"),
            "can do what none",
        ),
        (
            format!("ALTER ROLE {name}__keeper SET work_mem = '1MB'"),
            format!("ALTER ROLE {name}__keeper RESET ALL"),
            "settings are made",
        ),
        (
            format!("GRANT CONNECT ON DATABASE {} TO {name}__app", other.name),
            format!("REVOKE CONNECT ON DATABASE {} FROM {name}__app", other.name),
            "has rights in database",
        ),
        (
            format!("GRANT CONNECT ON DATABASE {name} TO PUBLIC"),
            format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC"),
            ": every role may connect",
        ),
    ];
    for (make, unmake, expected) in cases {
        run(&mut superuser, &make).await;
        let found = about().await;
        let said = found.iter().any(|what| what.contains(expected));
        run(&mut superuser, &unmake).await;
        assert!(said, "{make}: {found:?}");
        assert_eq!(about().await, Vec::<String>::new(), "{unmake}");
    }
    run(&mut superuser, &format!("CREATE DATABASE {name}_left")).await;
    let found = about().await;
    run(&mut superuser, &format!("DROP DATABASE {name}_left")).await;
    assert!(found.iter().any(|what| what.contains("belongs to no role of a stack")), "{found:?}");
    stack.destroy().await;
    other.destroy().await;
}

/// The provisioner's processes compute what they are members of while others commit grants.
#[tokio::test]
async fn a_thousand_steps_beside_each_other_all_succeed() {
    use futures::StreamExt as _;
    let shared = Stack::new();
    // Roles made and dropped, and with every eighth stack its database, too.
    let steps = futures::stream::iter(0..450).map(|index| {
        let mut stack = Stack::named(&format!("many_{index}"));
        stack.extensions.clear();
        stack.provider = shared.provider.clone();
        async move {
            stack.apply(stack.roles()).await.unwrap();
            if index % 8 == 0 {
                stack.apply(stack.database()).await.unwrap();
                stack.delete(&stack.database(), None).await.unwrap();
            }
            stack.delete(&stack.roles(), None).await.unwrap();
        }
    });
    let all = steps.buffer_unordered(8).collect::<Vec<()>>();
    tokio::time::timeout(PATIENCE * 5, all).await.unwrap();
    let owned = shared.provider.owned(None).await.unwrap();
    assert!(!owned.iter().any(|object| object.name.starts_with("many_")), "{owned:?}");
}

#[tokio::test]
async fn settings_that_a_role_makes_as_long_as_it_likes_are_read_in_part() {
    let stack = Stack::new();
    stack.deploy().await;
    let long =
        "DO $$ BEGIN EXECUTE format('ALTER ROLE %I SET search_path = %L', current_user, repeat('x,', 500000)); END $$";
    run(&mut stack.connect("app").await, long).await;
    let length = format!(
        "SELECT length(array_to_string(setconfig, '')) FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = setrole
         WHERE rolname = '{}'",
        stack.role("app")
    );
    let length = format!("SELECT ({length})::int8");
    assert!(count(&mut admin("postgres").await, &length).await > 1_000_000, "the control: it is there");
    assert_eq!(stack.drift(&stack.roles()).await, Vec::<String>::new(), "its timeout is read all the same");
    // Freehold's own logins have none; code of the tenant's may have made it in a restore.
    let keeper = long.replace("current_user", &format!("'{}'", stack.role("keeper")));
    run(&mut admin("postgres").await, &keeper).await;
    let seen = stack.observe(&stack.roles()).await.unwrap().body;
    let settings = seen.get("keeper_settings").unwrap().to_string();
    assert!(settings.contains("search_path=") && settings.len() < 300, "{} bytes", settings.len());
    stack.destroy().await;
}
