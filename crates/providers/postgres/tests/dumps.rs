//! Dumps and their proof.

use freehold_engine::{CancellationToken, ProviderError};
use freehold_problem::{Code, Problem};
use freehold_provider_postgres::Fault;

use crate::setting::{Stack, admin, count, rejection, run};

const TABLES: &str = "
    CREATE TABLE entries (id serial PRIMARY KEY, body text);
    INSERT INTO entries (body) SELECT md5(i::text) FROM generate_series(1, 5000) i;
    CREATE TABLE parted (k int) PARTITION BY LIST (k);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
    INSERT INTO parted VALUES (1), (1);
    CREATE SCHEMA \"odd \"\" schema\"; CREATE TABLE \"odd \"\" schema\".\"T;--\" (x int); INSERT INTO \"odd \"\" schema\".\"T;--\" VALUES (1);
    CREATE TABLE hidden (x int); INSERT INTO hidden VALUES (1), (2), (3);
    ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; ALTER TABLE hidden FORCE ROW LEVEL SECURITY;
    CREATE POLICY none ON hidden USING (false)";

#[tokio::test]
async fn a_dump_is_proved_and_readable_by_nobody_else() {
    use std::os::unix::fs::PermissionsExt as _;
    let stack = Stack::new();
    stack.deploy().await;
    run(&mut stack.connect("migrator").await, TABLES).await;
    let note = stack.dump().await.unwrap().note.unwrap();
    assert!(note.contains(&stack.name) && note.contains("kB") && note.ends_with("restored once to prove it"), "{note}");
    let files: Vec<_> = std::fs::read_dir(&stack.dumps).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(files.len(), 1);
    let metadata = files[0].metadata().unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert!(metadata.len() > 10_000);
    assert_eq!(stack.owned().await.len(), 6, "the second database is gone");
    stack.destroy().await;
}

/// An index whose function doesn't come to an end in the database that the dump is restored into.
const ENDLESS: &str = "
    CREATE FUNCTION slow(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
        BEGIN IF pg_catalog.starts_with(pg_catalog.current_database(), 'freehold_restore') THEN
            PERFORM pg_catalog.pg_sleep(100000); END IF; RETURN x; END $$;
    CREATE TABLE entries (x int); INSERT INTO entries VALUES (1); CREATE INDEX ON entries (slow(x))";

/// The users whose processes of this name this process has started.
fn owners_of(program: &str) -> Vec<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let ours = |path: &std::path::PathBuf| {
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        let state = stat.split_once(&format!("({program}) ")).map_or("", |(_, state)| state);
        !state.starts_with('Z')
            && state.get(1..).is_some_and(|rest| rest.starts_with(&format!(" {} ", std::process::id())))
    };
    processes.filter(ours).filter_map(|path| Some(std::fs::metadata(path).ok()?.uid())).collect()
}

#[tokio::test]
async fn a_dump_that_nobody_wants_any_more_is_given_up_and_leaves_nothing() {
    let stack = Stack::new();
    stack.deploy().await;
    run(&mut stack.connect("migrator").await, ENDLESS).await;
    let cancel = CancellationToken::new();
    let given_up = async {
        let mut admin = admin("postgres").await;
        let restoring = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = '{}'",
            stack.role("keeper")
        );
        while count(&mut admin, &restoring).await == 0 {
            tokio::task::yield_now().await;
        }
        if rustix::process::geteuid().is_root() {
            let owners = owners_of("pg_restore");
            assert!(!owners.is_empty() && !owners.contains(&0), "it doesn't run as root: {owners:?}");
        }
        cancel.cancel();
    };
    let (dumped, ()) = tokio::join!(stack.dump_until(&cancel), given_up);
    let (code, why) = rejection(dumped);
    assert!(code == Code::Cancelled && why.contains("pg_restore was ended on request"), "{code}: {why}");
    assert_eq!(std::fs::read_dir(&stack.dumps).unwrap().count(), 0);
    assert_eq!(stack.owned().await.len(), 6, "the second database is gone");
    // The wish may be there before the dump is.
    let (code, why) = rejection(stack.dump_until(&cancel).await);
    assert!(code == Code::Cancelled && why.contains("pg_dump was ended on request"), "{code}: {why}");
    assert_eq!(std::fs::read_dir(&stack.dumps).unwrap().count(), 0);
    stack.destroy().await;
}

#[tokio::test]
async fn of_an_error_that_a_tenant_s_code_makes_as_long_as_it_likes_little_is_kept() {
    let stack = Stack::new();
    stack.deploy().await;
    let endless = ENDLESS.replace("PERFORM pg_catalog.pg_sleep(100000)", "RAISE EXCEPTION '%', repeat('x', 20000000)");
    run(&mut stack.connect("migrator").await, &endless).await;
    let Err(ProviderError::Rejected(Problem { code: Code::DumpNotProved, lines: detail, .. })) = stack.dump().await
    else {
        panic!("it passes")
    };
    let length: usize = detail.iter().map(String::len).sum();
    assert!(detail.join("").contains("xxxx") && length < 10_000, "{length} bytes");
    stack.destroy().await;
}

#[tokio::test]
async fn a_damaged_dump_is_noticed_and_kept_only_under_a_name_that_says_so() {
    let fault = Fault::default();
    fault.corrupt_dumps();
    let stack = Stack::with_fault("damaged", Some(fault));
    stack.deploy().await;
    run(&mut stack.connect("migrator").await, TABLES).await;
    for _ in 0..2 {
        let Err(ProviderError::Rejected(Problem { code: Code::DumpNotProved, help, .. })) = stack.dump().await else {
            panic!("it passes")
        };
        let unproved = format!("{}.unproved", stack.name);
        assert!(help.is_some_and(|help| help.contains(&unproved)));
        let kept: Vec<_> = std::fs::read_dir(&stack.dumps).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(kept, [unproved.as_str()]);
    }
    assert_eq!(stack.owned().await.len(), 6, "the second database is gone");
    stack.destroy().await;
}

#[tokio::test]
async fn what_cannot_be_dumped_is_said_and_nothing_is_left() {
    let stack = Stack::new();
    stack.deploy().await;
    run(&mut admin(&stack.name).await, "CREATE TABLE theirs (x int)").await;
    let (code, why) = rejection(stack.dump().await);
    assert!(code == Code::DumpNotProved && why.contains("theirs"), "{why}");
    assert_eq!(std::fs::read_dir(&stack.dumps).unwrap().count(), 0);
    stack.destroy().await;
}

/// A full disk, where this process may mount one.
#[tokio::test]
async fn a_dump_that_does_not_fit_is_said_and_its_beginning_removed() {
    let stack = Stack::new();
    stack.deploy().await;
    let sql = "CREATE TABLE big AS SELECT gen_random_bytes(1000) AS b FROM generate_series(1, 3000)";
    run(&mut stack.connect("migrator").await, sql).await;
    std::fs::create_dir(&stack.dumps).unwrap();
    let mount =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&stack.dumps).output();
    if mount.is_ok_and(|output| output.status.success()) {
        let outcome = stack.dump().await;
        let left = std::fs::read_dir(&stack.dumps).unwrap().count();
        std::process::Command::new("umount").arg(&stack.dumps).status().unwrap();
        let (code, why) = rejection(outcome);
        assert_eq!((code, left), (Code::DiskFull, 0), "{why}");
    } else {
        eprintln!("not tested: this process may not mount a small file system");
    }
    stack.destroy().await;
}
