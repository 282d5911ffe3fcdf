//! Logs as people read them: of noisy programs, of jobs that run by the clock, of programs that are up to no good.

use std::fs::File;
use std::io::Read;

use anyhow::{Context as _, Result};
use freehold_end_to_end::{App, Installation, eventually};

/// Prints until it has printed 60 MB, and serves meanwhile.
const NOISE: &str = r#"
import os, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
def noise():
    out = sys.stdout.buffer
    for _ in range(60):
        out.write(b"a line of a log of a program that somebody has set to debug just now\n" * 15000)
    out.write(b"." * 20000000)
    out.write(b"\nthe end\n")
    out.flush()
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/noise":
            noise()
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok\n")
    def log_message(self, *a): pass
print("the beginning", flush=True)
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

#[test]
fn a_noisy_service_and_whoever_follows_it_slowly_cost_nobody_else_anything() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    std::fs::write(app.path().join("program.py"), NOISE)?;
    app.redefine("health  = { ready = \"/health/ready\" }\n", "")?;
    for tenant in ["noisy", "quiet"] {
        freehold.deploy(&app.argument(), &["--tenant", tenant])?;
    }
    let mut follower = freehold.start_run(["logs", "--tenant", "noisy", "-f", "-n", "1"])?;
    let mut output = follower.stdout.take().context("no output")?;
    let mut seen = String::new();
    read_until(&mut output, &mut seen, "│ the beginning\n")?;
    // It follows, and takes nothing more of what it is sent: its pipe is full after 64 kB.
    assert_eq!(freehold.get("noisy.localhost", "/noise")?.0, 200);
    for _ in 0..20 {
        assert_eq!(freehold.get("quiet.localhost", "/")?.0, 200);
        freehold.run(["status", "--tenant", "quiet"])?.succeeded()?;
    }
    read_until(&mut output, &mut seen, "│ the end\n")?;
    follower.kill()?;
    follower.wait()?;
    assert!(seen.lines().any(|line| line.starts_with("· ") && line.contains("were not shown")), "the gap is told");
    assert!(seen.len() < 40_000_000, "{}", seen.len());
    // What is kept of it is bounded, and the platform's memory has not grown with it.
    let tail = freehold.run(["logs", "--tenant", "noisy", "-n", "2"])?.succeeded()?.stdout;
    assert!(tail.contains("│ …....") && tail.contains("more in this line)"), "{}", tail.len());
    assert!(tail.len() < 100_000, "{}", tail.len());
    freehold.run(["destroy", "--tenant", "noisy", "--confirm", "noisy"])?.succeeded()?;
    Ok(())
}

/// Adds what comes to what was seen, up to a line that has to come.
fn read_until(output: &mut impl Read, seen: &mut String, line: &str) -> Result<()> {
    let mut buffer = vec![0; 1 << 16];
    while !seen.contains(line) {
        let count = output.read(&mut buffer)?;
        anyhow::ensure!(count > 0, "the following ended before {line:?} came: {seen}");
        // A line that is cut in two may not be text at the cut.
        seen.push_str(&String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()));
    }
    Ok(())
}

#[test]
fn the_runs_of_a_scheduled_job_are_seen_where_people_look() -> Result<()> {
    let mut freehold = Installation::start()?;
    let tick = "\n[job.tick]\nservice = \"web\"\ncommand = [\"sh\", \"-c\", \"echo cannot reach the bank; exit 3\"]\nschedule = \"0 * * * *\"\n";
    let app = App::small_and(tick)?;
    let stack = freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let none = freehold.run(["logs", "--tenant", "acme", "--job", "tick"])?.succeeded()?;
    assert!(none.stderr.contains("it has not run yet") && none.stdout.is_empty(), "{none:?}");
    freehold.run(["doctor"])?.succeeded()?;
    // As if it had been deployed two hours ago, and the platform had been down since.
    freehold.down()?;
    let stack = stack.get("stack").and_then(serde_json::Value::as_str).context("no stack")?;
    let path = freehold.data().join(format!("local/stacks/{stack}/schedules/tick.json"));
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    for field in ["since", "applied"] {
        let time = record.get(field).and_then(serde_json::Value::as_i64).context("no time")?;
        record.as_object_mut().context("no record")?.insert(field.to_owned(), (time - 7200).into());
    }
    std::fs::write(&path, serde_json::to_vec(&record)?)?;
    freehold.up()?;
    let logs =
        || freehold.run(["logs", "--tenant", "acme", "--job", "tick"]).and_then(freehold_end_to_end::Run::succeeded);
    let log = eventually("the run is seen", || logs().ok().filter(|run| run.stdout.contains("ended: exit code 3")));
    assert!(log.stdout.contains("│ cannot reach the bank\n"), "{log:?}");
    let status = freehold.run(["status", "--tenant", "acme"])?.failed_with(1, "degraded")?.stdout;
    assert!(status.contains("✗ schedule") && status.contains("failed: exit code 3"), "{status}");
    let list = freehold.run(["list"])?.succeeded()?.stdout;
    assert!(list.contains("degraded, job tick fails"), "{list}");
    let doctor = freehold.run(["doctor"])?.failed_with(1, "failed: exit code 3")?;
    assert!(doctor.stdout.contains("freehold logs --tenant acme --job tick"), "{}", doctor.stdout);
    // A new version starts with a clean slate.
    app.redefine("exit 3", "exit 0")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    freehold.run(["doctor"])?.succeeded()?;
    Ok(())
}

#[test]
fn a_log_is_said_to_be_missing_only_of_what_has_not_run() -> Result<()> {
    let freehold = Installation::start()?;
    let silent = "\n[job.silent]\nservice = \"web\"\ncommand = [\"true\"]\n";
    let idle =
        "\n[service.idle]\nbuild = { artifact = [\"program.py\"] }\ncommand = [\"sleep\", \"600\"]\nreplicas = 0\n";
    let app = App::small_and(&format!("{silent}{idle}"))?;
    let stack = freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let logs = |of: &[&str]| freehold.run([&["logs", "--tenant", "acme"], of].concat())?.succeeded();
    assert!(logs(&["--job", "silent"])?.stdout.contains("ended: exit code 0"));
    assert!(logs(&["--job", "silent", "-n", "1"])?.stderr.is_empty());
    let missing = "it has not run yet";
    let idle = logs(&["--service", "idle"])?;
    assert!(idle.stderr.contains(missing), "{idle:?}");
    app.redefine("replicas = 0", "replicas = 1")?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    assert!(logs(&["--service", "idle"])?.stdout.contains("started as process"));
    freehold.run(["logs", "--tenant", "acme", "--job", "silence"])?.failed_with(1, "silence")?;
    let stack = stack.get("stack").and_then(serde_json::Value::as_str).context("no stack")?;
    std::fs::remove_dir_all(freehold.data().join("logs").join(stack).join("job.silent"))?;
    assert!(logs(&["--job", "silent"])?.stderr.contains(missing));
    Ok(())
}

#[test]
fn a_last_line_without_end_hides_neither_the_log_nor_the_reason_of_a_failure() -> Result<()> {
    let freehold = Installation::start()?;
    let script = "echo 'ERROR: the reason'; head -c 1100000 /dev/zero | tr '\\\\0' B; exit 3";
    let job = format!("\n[job.migrate]\nservice = \"web\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n");
    let app = App::small_and(&job)?;
    let deploy = ["deploy", &app.argument(), "--tenant", "acme", "--yes"];
    let failed = freehold.run(deploy)?.failed_with(1, "FH0701")?;
    assert!(failed.stderr.contains("│ ERROR: the reason\n"), "{}", failed.stderr);
    assert!(failed.stderr.len() < 10_000, "{}", failed.stderr.len());
    let log = freehold.run(["logs", "--tenant", "acme", "--job", "migrate"])?.succeeded()?.stdout;
    assert!(log.contains("│ ERROR: the reason\n│ BBB") && log.contains("ended: exit code 3"), "{}", log.len());
    Ok(())
}

/// A title, the clipboard, hidden text, and a line that looks like Freehold's own.
const EVIL: &str = r#"
import sys
sys.stdout.write("\x1b]0;owned\x07\x1b]52;c;cm0gLXJm\x07\x1b[8mhidden\x1b[0m \x1b[31mred\x1b[0m\r\u009b2J\n")
sys.stdout.write("· 2026-01-01T00:00:00.000Z ended: exit code 0\n")
sys.stdout.write("\u202egnp.exe\n")
sys.stdout.flush()
sys.exit(3)
"#;

#[test]
fn nothing_that_a_program_prints_is_obeyed_by_the_operators_terminal() -> Result<()> {
    let freehold = Installation::start()?;
    let job = "\n[job.migrate]\nservice = \"web\"\ncommand = [\"python3\", \"evil.py\"]\n";
    let app = App::small_and(job)?;
    std::fs::write(app.path().join("evil.py"), EVIL)?;
    app.redefine("[\"program.py\", \"version\"]", "[\"program.py\", \"version\", \"evil.py\"]")?;
    let harmless = |text: &str| {
        let escapes: Vec<&str> = text.split('\x1b').skip(1).collect();
        let styles = escapes.iter().all(|escape| {
            let end = escape.find(|c: char| !c.is_ascii_digit() && c != ';' && c != '[').unwrap_or(0);
            escape.starts_with('[') && escape[end..].starts_with('m') && !escape[..end].contains('8')
        });
        styles && !text.contains(['\x07', '\r', '\u{9b}', '\u{202e}'])
    };
    let deploy = freehold.run_in_colour(["deploy", &app.argument(), "--tenant", "acme", "--yes"])?;
    let seen = [
        deploy.failed_with(1, "hidden")?,
        freehold.run_in_colour(["status", "--tenant", "acme"])?.failed_with(1, "hidden")?,
        freehold.run_in_colour(["logs", "--tenant", "acme", "--job", "migrate"])?.failed_with(0, "hidden")?,
        freehold
            .run_in_colour(["deploy", &app.argument(), "--tenant", "acme", "--yes", "--json"])?
            .failed_with(1, "hidden")?,
        freehold.run_in_colour(["doctor"])?,
        freehold.run_in_colour(["history", "--tenant", "acme"])?,
    ];
    for run in &seen {
        assert!(harmless(&run.stdout) && harmless(&run.stderr), "{run:#?}");
    }
    let logs = ["logs", "--tenant", "acme", "--job", "migrate"];
    let log = freehold.run(logs)?.succeeded()?.stdout;
    assert!(log.contains("│ \\x1b]0;owned\\x07") && log.contains("hidden red\\r\\x9b2J"), "{log}");
    // Its line stands behind the bar; ours doesn't.
    assert!(log.contains("│ · 2026-01-01T00:00:00.000Z ended: exit code 0\n"), "{log}");
    assert!(log.lines().any(|line| line.starts_with("· ") && line.ends_with("ended: exit code 3")), "{log}");
    let exact = freehold.run(logs.iter().chain(&["--json"]))?.succeeded()?.stdout;
    let lines: Vec<serde_json::Value> = exact.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert!(lines.iter().any(|line| line["by"] == "program" && line["line"] == "\u{202e}gnp.exe"), "{exact}");
    Ok(())
}

#[test]
fn an_answer_that_can_not_be_written_fails_the_command() -> Result<()> {
    let freehold = Installation::start()?;
    let app = App::small()?;
    freehold.deploy(&app.argument(), &["--tenant", "acme"])?;
    let full = || File::options().write(true).open("/dev/full");
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &["status", "--tenant", "acme"],
        &["logs", "--tenant", "acme"],
        &["doctor"],
        &["version"],
        &["schema"],
        &["explain", "FH0512"],
        &["--help"],
        &["--version"],
    ] {
        freehold.run_into(arguments, full()?)?.failed_with(1, "FH1019").context(arguments.join(" "))?;
    }
    // A reader that goes away is none of our business.
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let run = freehold.run_into(["list"], std::os::fd::OwnedFd::from(writer).into())?;
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    Ok(())
}
