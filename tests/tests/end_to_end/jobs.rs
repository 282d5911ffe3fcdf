//! Jobs in their order, once in a stack's life and on demand; commands in a stack's environment.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Child;

use anyhow::{Context as _, Result};
use freehold_end_to_end::{App, Installation, eventually};

/// `seed` is after `migrate`, fails as long as the version is 1, and notes each run. `repair` is for people.
const JOBS: &str = r#"
[secret.key]
generate = { bytes = 16, as = "hex" }
[service.web.env]
KEY = "${secret.key}"
[job.seed]
service = "web"
when    = "once"
after   = ["migrate"]
command = ["sh", "-c", "echo seed $(cat version) >> $HOME/ran; test $(cat version) != 1"]
[job.migrate]
service = "web"
command = ["sh", "-c", "sleep 0.5; echo migrate $(cat version) >> $HOME/ran"]
[job.index]
service = "web"
after   = ["seed"]
command = ["sh", "-c", "echo index $(cat version) >> $HOME/ran"]
[job.repair]
service = "web"
when    = "demand"
command = ["sh", "-c", "echo repair >> $HOME/ran; echo repaired by $WHO; exit 3"]
env     = { WHO = "${stack.name}" }
"#;

fn app() -> Result<App> {
    App::small_and(JOBS)
}

fn deploy(freehold: &Installation, app: &App) -> Result<()> {
    freehold.deploy(&app.argument(), &["--tenant", "acme"]).map(|_| ())
}

#[test]
fn jobs_run_in_their_order_and_a_seed_once_in_the_stacks_life() -> Result<()> {
    let mut freehold = Installation::start()?;
    let app = app()?;
    let argument = app.argument();
    let failed = freehold.run(["deploy", &argument, "--tenant", "acme", "--yes"])?.failed_with(1, "FH0701")?;
    assert!(failed.stderr.contains("job seed failed"), "{}", failed.stderr);
    let ran = || -> Result<String> {
        let run = freehold.run(["run", "--tenant", "acme", "--", "sh", "-c", "cat $HOME/ran"])?;
        Ok(run.succeeded()?.stdout)
    };
    // Nothing after it ran.
    assert_eq!(ran()?, "migrate 1\nseed 1\n");
    app.version("2")?;
    // Long lines are wrapped.
    let planned = || -> Result<String> {
        let plan = freehold.run(["plan", &argument, "--tenant", "acme"])?.succeeded()?.stdout;
        Ok(plan.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let plan = planned()?;
    assert!(plan.contains("once in the stack's life, after migrate") && plan.contains("after seed"), "{plan}");
    assert!(!plan.contains("repair"), "{plan}");
    deploy(&freehold, &app)?;
    let second = "migrate 1\nseed 1\nmigrate 2\nseed 2\nindex 2\n";
    assert_eq!(ran()?, second);
    app.version("3")?;
    let plan = planned()?;
    assert!(!plan.contains("after seed") && plan.contains("after migrate"), "{plan}");
    deploy(&freehold, &app)?;
    assert_eq!(ran()?, format!("{second}migrate 3\nindex 3\n"));
    freehold.kill()?;
    freehold.up()?;
    let again = freehold.run(["deploy", &argument, "--tenant", "acme", "--yes", "--json"])?.succeeded()?;
    assert_eq!(again.last_json()?["state"], "unchanged");
    Ok(())
}

#[test]
fn a_command_has_the_environment_of_its_service_and_gives_its_output_and_its_exit_code() -> Result<()> {
    let freehold = Installation::start()?;
    let app = app()?;
    app.version("2")?;
    let run = |command: &[&str]| freehold.run([&["run", "--tenant", "acme"], command].concat());
    run(&["--", "true"])?.failed_with(1, "FH1003")?;
    deploy(&freehold, &app)?;
    let key = freehold.get("acme.localhost", "/env/KEY")?.1;
    let shown = run(&["--", "sh", "-c", "echo $KEY; pwd; printf 'no end' >&2; exit 42"])?;
    assert_eq!(shown.code, 42, "{}", shown.stderr);
    let mut lines = shown.stdout.lines();
    assert_eq!(lines.next(), Some(key.trim()));
    assert_eq!(
        freehold.run(["run", "--tenant", "acme", "--service", "web", "--", "ls"])?.succeeded()?.stdout,
        "program.py\nversion\n"
    );
    assert!(shown.stdout.ends_with("\nno end"), "{:?}", shown.stdout);
    // A signal as shells tell it, a time limit, and a job with what it executes.
    assert_eq!(run(&["--", "sh", "-c", "kill -9 $$"])?.code, 137);
    let late = run(&["--timeout", "1s", "--", "sleep", "60"])?;
    assert!(late.code == 124 && late.stderr.contains("longer than it may"), "{} {}", late.code, late.stderr);
    let repair = run(&["repair"])?;
    assert_eq!((repair.code, repair.stdout.as_str()), (3, "repaired by acme\n"));
    // More than a pipe holds, and all of it.
    let much = run(&["--", "sh", "-c", "seq 200000"])?.succeeded()?.stdout;
    assert_eq!((much.lines().count(), much.lines().last()), (200_000, Some("200000")));
    let json = run(&["--json", "--", "printf", "a\\377b"])?.succeeded()?.stdout;
    let events: Vec<serde_json::Value> = json.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(
        events,
        [
            serde_json::json!({ "event": "output", "text": "a\u{fffd}b" }),
            serde_json::json!({ "event": "ended", "exit": 0 }),
        ]
    );

    run(&["--service", "wbe", "--", "true"])?.failed_with(1, "did you mean web?")?;
    run(&["repiar"])?.failed_with(1, "did you mean repair?")?;
    run(&["--", "no-such-program"])?.failed_with(1, "FH0704")?;
    run(&[])?.failed_with(2, "JOB")?;
    nothing_is_left(&freehold)?;
    let audit = "SELECT string_agg(action || ' ' || (detail->>'of') || ' ' || coalesce(detail->>'exit', ''), ', ' ORDER BY id) \
                 FROM audit WHERE action LIKE 'run%' AND detail->>'of' = 'job.repair'";
    assert_eq!(freehold.sql("freehold", audit)?, "run job.repair , run.ended job.repair 3");
    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme"])?.succeeded()?;
    Ok(())
}

#[test]
fn a_command_ends_with_whoever_waits_for_it() -> Result<()> {
    let mut freehold = Installation::start()?;
    let app = app()?;
    app.version("2")?;
    deploy(&freehold, &app)?;
    let script = "trap '' HUP; echo begun; sleep 300 & exec sleep 300";
    let begin = |freehold: &Installation| -> Result<(Child, u32)> {
        let before = freehold.processes();
        let mut client = freehold.start_run(["run", "--tenant", "acme", "--", "sh", "-c", script])?;
        let mut output = client.stdout.take().context("no output")?;
        let mut begun = [0; 6];
        output.read_exact(&mut begun)?;
        assert_eq!(&begun, b"begun\n");
        let more = freehold.processes().iter().filter(|pid| !before.contains(pid)).count();
        assert_eq!(more, 2, "two that sleep");
        let pid = client.id();
        Ok((client, pid))
    };
    let before = freehold.processes();
    let is_as_before = |freehold: &Installation| {
        let before = before.clone();
        eventually("nothing of it runs", || (freehold.processes() == before).then_some(()));
    };
    // Ctrl-C.
    let (mut client, pid) = begin(&freehold)?;
    std::process::Command::new("kill").args(["-INT", &pid.to_string()]).status()?;
    client.wait()?;
    is_as_before(&freehold);
    let (mut client, _) = begin(&freehold)?;
    client.kill()?;
    client.wait()?;
    is_as_before(&freehold);
    eventually("nothing is left", || nothing_is_left(&freehold).ok());
    // The platform itself: whoever waits is told, and the next one finds nothing.
    let (client, _) = begin(&freehold)?;
    freehold.kill()?;
    let told = client.wait_with_output()?;
    assert_eq!(told.status.code(), Some(1), "{}", String::from_utf8_lossy(&told.stderr));
    freehold.up()?;
    eventually("nothing is left", || nothing_is_left(&freehold).ok());
    let cancelled = "SELECT count(*) FROM audit WHERE action = 'run.ended' AND detail->>'state' = 'cancelled'";
    assert_eq!(freehold.sql("freehold", cancelled)?, "2");
    // A stack takes its commands along.
    let (client, _) = begin(&freehold)?;
    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme"])?.succeeded()?;
    assert_eq!(client.wait_with_output()?.status.code(), Some(143));
    Ok(())
}

/// No command has a folder or a log.
fn nothing_is_left(freehold: &Installation) -> Result<()> {
    for (root, name) in [("local/stacks", "commands"), ("logs", "command.")] {
        for stack in entries(&freehold.data().join(root))? {
            let below = if name == "commands" { stack.join("runs/commands") } else { stack };
            let left =
                entries(&below)?.into_iter().filter(|path| name == "commands" || path.to_string_lossy().contains(name));
            let left: Vec<_> = left.collect();
            anyhow::ensure!(left.is_empty(), "{left:?}");
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => Ok(read?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?),
    }
}
