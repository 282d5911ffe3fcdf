//! Starting and stopping the platform, and what can be wrong with the machine.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use freehold_end_to_end::{App, Installation, eventually};
use serde_json::Value;

#[test]
fn a_stopped_platform_leaves_no_process_and_comes_back_as_it_was() -> Result<()> {
    let mut freehold = Installation::start()?;
    let app = App::small_and("[database.main]\n[service.web.env]\nDATABASE_URL = \"${database.main.url}\"\n")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    freehold.down()?;
    assert_eq!(freehold.processes(), [] as [u32; 0]);
    assert!(!freehold.data().join("postgres/cluster/postmaster.pid").exists());
    assert_eq!(control_groups(&freehold)?, [] as [PathBuf; 0]);
    freehold.up()?;
    eventually("acme answers again", || (freehold.get("acme.localhost", "/").ok()?.0 == 200).then_some(()));
    assert_eq!(freehold.deploy(&app.argument(), &["--tenant", "acme"])?["state"], "unchanged");
    Ok(())
}

#[test]
fn a_second_platform_on_the_same_data_says_so() -> Result<()> {
    let freehold = Installation::start()?;
    freehold.run(["up"])?.failed_with(1, "FH0507")?;
    Ok(())
}

#[test]
fn a_taken_port_is_named() -> Result<()> {
    let mut freehold = Installation::new()?;
    let _taken = TcpListener::bind(("127.0.0.1", freehold.router_port()))?;
    let error = freehold.up().map(|()| String::new()).unwrap_or_else(|error| error.to_string());
    assert!(error.contains("FH0509") && error.contains(&freehold.router_port().to_string()), "{error}");
    Ok(())
}

#[test]
fn missing_or_old_postgresql_is_told_with_what_to_install() -> Result<()> {
    let mut freehold = Installation::new()?;
    let empty = freehold.path().join("empty");
    fs::create_dir(&empty)?;
    freehold.arguments(&["--postgres-bin", &empty.display().to_string()]);
    let error = freehold.up().map(|()| String::new()).unwrap_or_else(|error| error.to_string());
    assert!(error.contains("FH0501") && error.contains("postgresql"), "{error}");
    let old = freehold.path().join("old");
    fs::create_dir(&old)?;
    for name in ["initdb", "postgres", "pg_dump", "pg_restore", "psql", "pg_ctl"] {
        let script = format!("#!/bin/sh\necho '{name} (PostgreSQL) 13.4'\n");
        fs::write(old.join(name), script)?;
        fs::set_permissions(old.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    freehold.arguments(&["--postgres-bin", &old.display().to_string()]);
    let error = freehold.up().map(|()| String::new()).unwrap_or_else(|error| error.to_string());
    assert!(error.contains("FH0502"), "{error}");
    Ok(())
}

#[test]
fn a_data_directory_of_another_version_is_left_alone() -> Result<()> {
    let mut freehold = Installation::new()?;
    fs::create_dir(freehold.data())?;
    fs::write(freehold.data().join("version"), "99")?;
    let error = freehold.up().map(|()| String::new()).unwrap_or_else(|error| error.to_string());
    assert!(error.contains("FH0506"), "{error}");
    Ok(())
}

#[test]
fn a_missing_or_wrong_master_key_is_an_error_never_a_new_key() -> Result<()> {
    let mut freehold = Installation::start()?;
    let app = App::small_and(
        "[secret.key]\ngenerate = { bytes = 32, as = \"hex\" }\n[service.web.env]\nKEY = \"${secret.key}\"\n",
    )?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let before = freehold.get("acme.localhost", "/env/KEY")?.1;
    freehold.down()?;
    let file = freehold.data().join("master.key");
    let key = fs::read(&file)?;
    fs::remove_file(&file)?;
    let error = freehold.up().map(|()| String::new()).unwrap_or_else(|error| error.to_string());
    assert!(error.contains("FH0510"), "{error}");
    let wrong: Vec<u8> = key.iter().map(|byte| !byte).collect();
    fs::write(&file, wrong)?;
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let error = freehold.up().map(|()| String::new()).unwrap_or_else(|error| error.to_string());
    assert!(error.contains("FH0511"), "{error}");
    fs::write(&file, key)?;
    freehold.up()?;
    eventually("acme answers", || (freehold.get("acme.localhost", "/").ok()?.0 == 200).then_some(()));
    assert_eq!(freehold.get("acme.localhost", "/env/KEY")?.1, before);
    Ok(())
}

#[test]
fn postgresql_that_dies_is_started_again() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small_and("[database.main]\n")?;
    let pid = postmaster(&freehold)?;
    assert!(weighs_alone(&freehold, &pid)?);
    std::process::Command::new("kill").args(["-9", &pid]).status()?;
    eventually("a deploy works again", || freehold.deploy(&app.argument(), &["--tenant", "acme"]).ok());
    assert_eq!(freehold.get("acme.localhost", "/")?.0, 200);
    let anew = postmaster(&freehold)?;
    assert_ne!(anew, pid);
    eventually("it has its share again", || weighs_alone(&freehold, &anew).ok()?.then_some(()));
    Ok(())
}

fn postmaster(freehold: &Installation) -> Result<String> {
    let file = fs::read_to_string(freehold.data().join("postgres/cluster/postmaster.pid"))?;
    Ok(file.lines().next().unwrap_or_default().to_owned())
}

/// The platform's control groups, in all hierarchies.
fn control_groups(freehold: &Installation) -> Result<Vec<PathBuf>> {
    let settings: Value = serde_json::from_str(&fs::read_to_string(freehold.data().join("settings.json"))?)?;
    let name =
        format!("freehold-{}", settings.get("platform").and_then(Value::as_str).unwrap_or_default().replace('-', ""));
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let hierarchies = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let groups = hierarchies.filter_map(|line| Some(Path::new(line.split(' ').nth(4)?).join(&name)));
    Ok(groups.filter(|group| group.exists()).collect())
}

/// Whether a process is in the group for the server, wherever the platform has groups that share out processor time.
fn weighs_alone(freehold: &Installation, pid: &str) -> Result<bool> {
    let groups = control_groups(freehold)?;
    let weighing = groups.iter().filter(|group| group.join("cpu.shares").exists() || group.join("cpu.weight").exists());
    let listed = |group: &PathBuf| fs::read_to_string(group.join("postgres/cgroup.procs")).unwrap_or_default();
    Ok(weighing.map(listed).all(|listed| listed.lines().any(|line| line == pid)))
}

#[test]
fn a_detached_platform_is_stopped_by_down() -> Result<()> {
    let freehold = Installation::new()?;
    freehold.run(["up", "--detach", "--port", &freehold.router_port().to_string()])?.succeeded()?;
    freehold.run(["list"])?.succeeded()?;
    freehold.run(["down"])?.succeeded()?;
    freehold.run(["list"])?.failed_with(1, "FH0508")?;
    freehold.run(["down"])?.failed_with(1, "FH0508")?;
    Ok(())
}

#[test]
fn a_disk_that_is_full_is_an_error_and_loses_nothing() -> Result<()> {
    let mut freehold = Installation::new()?;
    fs::create_dir(freehold.data())?;
    let data = freehold.data().display().to_string();
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs", &data]).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: a_disk_that_is_full_is_an_error_and_loses_nothing: a tmpfs can't be mounted here");
        return Ok(());
    }
    let error = freehold.up().map(|()| String::new()).unwrap_or_else(|error| error.to_string());
    let _ = std::process::Command::new("umount").args(["-l", &data]).status();
    assert!(error.contains("FH0512"), "{error}");
    Ok(())
}

#[test]
fn services_get_nothing_of_freeholds_own_environment() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let names = freehold.get("acme.localhost", "/environment")?.1;
    for name in names.lines() {
        let expected = ["FREEHOLD_", "HOME", "HOST", "LANG", "PATH", "PORT", "PWD", "TMPDIR", "LC_CTYPE"];
        assert!(expected.iter().any(|allowed| name.starts_with(allowed)), "{name} leaked");
    }
    Ok(())
}

#[test]
fn the_port_is_remembered_and_when_it_changes_addresses_follow_and_the_rest_is_told() -> Result<()> {
    let mut freehold = Installation::start()?;
    let app = App::small_and(
        "[service.web.env]\nPUBLIC_URL = \"${route.web.url}\"\n[job.nothing]\nservice = \"web\"\ncommand = [\"true\"]\n",
    )?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let url = |freehold: &Installation| -> Result<String> {
        let status = freehold.run(["status", "--tenant", "acme", "--json"])?.succeeded()?.json()?;
        Ok(status["outputs"]["routes"]["web"]["url"].as_str().unwrap_or_default().to_owned())
    };
    let first = url(&freehold)?;
    freehold.down()?;
    freehold.up_without_a_port()?;
    assert_eq!(freehold.get("acme.localhost", "/env/PUBLIC_URL")?, (200, first.clone()));
    freehold.down()?;
    freehold.move_router()?;
    freehold.up()?;
    let second = url(&freehold)?;
    assert_eq!(second, format!("http://acme.localhost:{}", freehold.router_port()));
    assert_ne!(first, second);
    let doctor = freehold.run(["doctor"])?;
    assert!(doctor.stdout.contains("env.PUBLIC_URL"), "{}", doctor.stdout);
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert_eq!(freehold.get("acme.localhost", "/env/PUBLIC_URL")?, (200, second));
    let findings = freehold.run(["doctor", "--json"])?.succeeded()?.json()?;
    for finding in findings.as_array().into_iter().flatten() {
        assert!(!finding["message"].as_str().unwrap_or_default().trim().is_empty(), "{finding}");
    }
    Ok(())
}

/// Workers that say how many descriptors they may have.
const WORKERS: &str = r#"[app]
name = "workers"

[service.worker]
build    = { artifact = ["version"] }
command  = ["sh", "-c", "ulimit -Sn; exec sleep 600"]
replicas = 40
settle   = "0s"
"#;

#[test]
fn more_services_run_than_the_soft_limit_of_descriptors_allows_and_each_gets_that_limit() -> Result<()> {
    let mut freehold = Installation::new()?;
    freehold.start_after("ulimit -Sn 64")?;
    freehold.up()?;
    let app = App::with(WORKERS)?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let told = || -> Result<usize> {
        let logs = freehold.run(["logs", "--tenant", "acme", "-n", "400", "--json"])?.succeeded()?.stdout;
        let lines: Vec<Value> = logs.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(lines.iter().filter(|line| line["line"] == "64").count())
    };
    eventually("all have said their limit", || (told().ok()? == 40).then_some(()));
    Ok(())
}

#[test]
fn a_low_hard_limit_of_descriptors_is_told_at_the_start_and_by_the_doctor() -> Result<()> {
    let mut freehold = Installation::new()?;
    freehold.start_after("ulimit -n 1024")?;
    freehold.up()?;
    assert!(freehold.log().contains("no more than 1024 files"), "{}", freehold.log());
    let found = freehold.run(["doctor", "--json"])?.stdout;
    assert!(found.contains("no more than 1024 files") && found.contains("LimitNOFILE="), "{found}");
    Ok(())
}

/// The processes that have a file open.
fn holders(file: &Path) -> Result<Vec<PathBuf>> {
    let mut holders = Vec::new();
    for process in fs::read_dir("/proc")?.flatten() {
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let holds = descriptors.into_iter().any(|one| fs::read_link(one.path()).is_ok_and(|target| target == file));
        holders.extend(holds.then(|| process.path()));
    }
    Ok(holders)
}

#[test]
fn what_the_platform_was_started_with_reaches_nothing_that_it_starts() -> Result<()> {
    let mut freehold = Installation::new()?;
    let file = freehold.path().join("held");
    // Open files, a strict mask, ignored signals, and as far as they are to be had one processor and a higher priority.
    freehold.start_after(&format!(
        "umask 077\ntrap '' HUP INT USR1\ntaskset -pc 0 $$ >/dev/null\nrenice -n -5 $$ >/dev/null\nexec 9<>{}",
        file.display()
    ))?;
    freehold.up()?;
    let app = App::small_and("[database.main]\n")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let holders = holders(&file)?;
    assert_eq!(holders.len(), 1, "PostgreSQL or the service has it, too: {holders:?}");
    let told = |process: &Path, field: &str| -> Result<String> {
        let status = fs::read_to_string(process.join("status"))?;
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.context("the kernel doesn't say so")?.trim().to_owned())
    };
    let ignored =
        |process: &Path| -> Result<u64> { Ok(u64::from_str_radix(&told(process, "SigIgn")?, 16)? & 0b10_0000_0011) };
    let priority = |process: &Path| -> Result<i32> {
        let stat = fs::read_to_string(process.join("stat"))?;
        Ok(stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(16)).context("no priority")?.parse()?)
    };
    let service = freehold.get("acme.localhost", "/env/PID")?.1;
    let service = Path::new("/proc").join(service);
    assert_eq!(ignored(&service)?, 0);
    assert!(priority(&service)? >= 0);
    let several = std::thread::available_parallelism()?.get() > 1;
    assert!(!several || told(&service, "Cpus_allowed_list")? != "0");
    Ok(())
}

#[test]
fn a_second_tenant_needs_a_flag_where_all_run_as_one_user_and_the_platform_remembers_it() -> Result<()> {
    let mut freehold = Installation::new()?;
    freehold.as_ordinary_user()?;
    freehold.share_user(None);
    freehold.up()?;
    let app = App::small()?;
    fs::set_permissions(app.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let deploy = |freehold: &Installation, who: [&str; 2]| {
        freehold.run(["deploy", &app.argument(), "--yes", "--json", who[0], who[1]])
    };
    deploy(&freehold, ["--tenant", "acme"])?.succeeded()?;
    let status = freehold.run(["status", "--tenant", "acme"])?.succeeded()?.stdout;
    assert!(status.contains("not enforced here: separation of stacks") && status.contains("as root"), "{status}");
    // The operator's own may be beside one tenant.
    deploy(&freehold, ["--stage", "dev"])?.succeeded()?;
    let refused = deploy(&freehold, ["--tenant", "globex"])?.failed_with(1, "FH1014")?;
    assert!(format!("{refused:?}").contains("--insecure-shared-user"), "{refused:?}");
    freehold.down()?;
    freehold.share_user(Some("--insecure-shared-user"));
    freehold.up()?;
    deploy(&freehold, ["--tenant", "globex"])?.succeeded()?;
    freehold.down()?;
    freehold.share_user(None);
    freehold.up()?;
    deploy(&freehold, ["--tenant", "initech"])?.succeeded()?;
    freehold.down()?;
    freehold.share_user(Some("--insecure-shared-user=false"));
    freehold.up()?;
    deploy(&freehold, ["--tenant", "umbrella"])?.failed_with(1, "FH1014")?;
    // Those that are there stay.
    app.version("2")?;
    deploy(&freehold, ["--tenant", "globex"])?.succeeded()?;
    Ok(())
}
