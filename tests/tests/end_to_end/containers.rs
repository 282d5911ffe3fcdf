//! A service that is an image beside one that is a process, on one machine: deployed, asked, updated, rolled back, taken over after
//! `kill -9`, and gone without a trace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use freehold_end_to_end::{App, Installation, eventually, guestbook};
use freehold_testkit::kubernetes::Registry;

/// `board` is the guestbook's image with its database; `web` is a program of this machine.
const MIXED: &str = r#"[app]
name = "mixed"

[database.main]
extensions  = ["pgcrypto"]
connections = 20

[secret.session-key]
generate = { bytes = 32, as = "base64url" }

[service.board]
image    = "REGISTRY/board:1"
command  = ["guestbook", "serve"]
port     = 8080
health   = { ready = "/health/ready", live = "/health/live" }
memory   = "64Mi..256Mi"
writable = ["/var/cache/board"]
settle   = "0s"

[service.board.env]
DATABASE_URL = "${database.main.url}"
PUBLIC_URL   = "${route.board.url}"
SESSION_KEY  = "${secret.session-key}"
RELEASE      = "${service.board.image_digest}"

[job.migrate]
service = "board"
command = ["guestbook", "migrate"]
retry   = "safe"

[job.migrate.env]
DATABASE_URL = "${database.main.migration_url}"

[route.board]
service = "board"
hosts   = ["board-${stack.name}.${target.domain}"]

[service.web]
build   = { artifact = ["program.py", "version"] }
command = ["python3", "program.py"]
port    = 8080
health  = { ready = "/health/ready" }
settle  = "0s"

[service.web.env]
BOARD = "${service.board.url}"

[route.web]
service = "web"
hosts   = ["${stack.name}.${target.domain}"]
"#;

/// Why there are no containers here; nothing if there can be.
fn missing() -> Option<String> {
    let asked = Command::new("podman").args(["info", "--format={{.Host.OCIRuntime.Name}}"]).output();
    match asked {
        Ok(answer) if answer.status.success() => None,
        Ok(answer) => Some(String::from_utf8_lossy(&answer.stderr).trim().to_owned()),
        Err(error) => Some(format!("podman: {error}")),
    }
}

/// A registry, or why the test is skipped.
fn registry() -> Result<Registry, String> {
    match missing() {
        None => Registry::start().map_err(|error| format!("{error:#}")),
        Some(reason) => Err(reason),
    }
}

fn platform(freehold: &Installation) -> Result<String> {
    let record: serde_json::Value = serde_json::from_slice(&fs::read(freehold.data().join("local/platform.json"))?)?;
    Ok(record.get("platform").and_then(serde_json::Value::as_str).context("no platform")?.to_owned())
}

/// The containers of an installation, by their label, whether they run or not.
fn containers(freehold: &Installation) -> Result<Vec<String>> {
    let filter = format!("--filter=label=dev.freehold.platform={}", platform(freehold)?);
    let listed = Command::new("podman").args(["ps", "--all", "--quiet", "--no-trunc", &filter]).output()?;
    ensure!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    Ok(String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect())
}

fn inspect(container: &str, format: &str) -> Result<String> {
    let answer = Command::new("podman").args(["container", "inspect", "--format", format, container]).output()?;
    ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}

#[test]
fn an_image_runs_beside_a_process_is_updated_rolled_back_taken_over_and_gone_without_a_trace() -> Result<()> {
    let name = "an_image_runs_beside_a_process_is_updated_rolled_back_taken_over_and_gone_without_a_trace";
    let registry = match registry() {
        Ok(registry) => registry,
        Err(reason) => {
            println!("skipped: {name}: containers: {reason}");
            return Ok(());
        }
    };
    let image = guestbook::image()?;
    let first = registry.push("board", "1", &image.clone().label("version", "1"))?;
    let second = registry.push("board", "2", &image.label("version", "2"))?;
    let digest = |reference: &str| reference.rsplit_once('@').map(|(_, digest)| digest.to_owned()).unwrap_or_default();
    let app = App::with(&MIXED.replace("REGISTRY", registry.address()))?;
    let mut freehold = Installation::start()?;
    let acme = ["--tenant", "acme"];

    let plan = freehold.run(["plan", &app.argument(), "--tenant", "acme"])?.succeeded()?;
    assert!(plan.stdout.contains("1 container: guestbook serve"), "{}", plan.stdout);
    assert!(plan.stdout.contains("1 process: python3 program.py"), "{}", plan.stdout);
    assert_eq!(freehold.deploy(&app.argument(), &acme)?["state"], "succeeded");
    let ask = |freehold: &Installation, path: &str| freehold.get("board-acme.localhost", path);
    let (status, page) = ask(&freehold, "/")?;
    assert!(status == 200 && page.contains("Guestbook"), "{status} {page}");
    let logs = freehold.run(["logs", "--tenant", "acme", "--service", "board"])?.succeeded()?;
    assert!(logs.stdout.contains("listening"), "{}", logs.stdout);
    let [one] = &*containers(&freehold)? else { panic!("not one container") };
    let pid = inspect(one, "{{.State.Pid}}")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert_eq!(line("CapBnd:"), "CapBnd:\t0000000000000000");
    assert_eq!(line("NoNewPrivs:"), "NoNewPrivs:\t1");
    if rustix::process::geteuid().is_root() {
        let web = fs::read_to_string(format!("/proc/{}/status", freehold.get("acme.localhost", "/env/PID")?.1))?;
        let user = web.lines().find(|line| line.starts_with("Uid:")).unwrap_or_default();
        assert_eq!(line("Uid:"), user, "the container has the user of its stack");
    }
    // Arguments are for everybody to see.
    let key = inspect(one, "{{range .Config.Env}}{{println .}}{{end}}")?;
    let key = key.lines().find_map(|line| line.strip_prefix("SESSION_KEY=")).context("no key")?;
    for process in fs::read_dir("/proc")?.flatten() {
        let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&arguments).contains(key), "{:?}", process.path());
    }
    let ran =
        freehold.run(["run", "--tenant", "acme", "--service", "board", "--", "guestbook", "digest"])?.succeeded()?;
    assert!(ran.stdout.contains("entries") || ran.stderr.contains("entries"), "{} {}", ran.stdout, ran.stderr);
    assert_eq!(freehold.deploy(&app.argument(), &acme)?["state"], "unchanged");

    // Killed, it finds the container running; with its launcher killed, too, another one takes its place, and it isn't doubled.
    freehold.kill()?;
    freehold.up()?;
    eventually("the board answers", || ask(&freehold, "/").ok().filter(|(status, _)| *status == 200));
    assert_eq!(containers(&freehold)?, std::slice::from_ref(one));
    freehold.kill()?;
    let launcher = launcher(&pid)?;
    Command::new("kill").args(["-9", &launcher]).status()?;
    freehold.up()?;
    eventually("another container answers", || {
        let all = containers(&freehold).ok()?;
        (all.len() == 1 && all != [one.clone()] && ask(&freehold, "/").ok()?.0 == 200).then_some(())
    });
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it was ended");

    // Another image, and back.
    assert_eq!(freehold.deploy(&app.argument(), &["--tenant", "acme", "--image", "board=:2"])?["state"], "succeeded");
    only(&freehold, &digest(&second));
    freehold.run(["rollback", "--tenant", "acme", "--yes"])?.succeeded()?;
    only(&freehold, &digest(&first));

    // What isn't there is an error of the plan, with what the registry says.
    freehold.run(["plan", &app.argument(), "--tenant", "acme", "--image", "board=:3"])?.failed_with(2, "FH0607")?;
    freehold.run(["plan", &app.argument(), "--tenant", "acme", "--image", "web=x/y:1"])?.failed_with(2, "FH1244")?;

    freehold.run(["destroy", "--tenant", "acme", "--confirm", "acme", "--no-dump"])?.succeeded()?;
    assert_eq!(containers(&freehold)?, [] as [String; 0]);
    assert_eq!(freehold.processes(), [] as [u32; 0]);
    let stacks: Vec<_> = fs::read_dir(freehold.data().join("local/stacks"))?.collect::<Result<_, _>>()?;
    assert_eq!(stacks.len(), 0);
    assert_eq!(groups(&freehold)?, [] as [PathBuf; 0]);
    Ok(())
}

/// The control groups of an installation's stacks, in every hierarchy.
fn groups(freehold: &Installation) -> Result<Vec<PathBuf>> {
    let base = format!("freehold-{}", platform(freehold)?.replace('-', ""));
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root)?.flatten().map(|entry| entry.path()).chain([root.to_owned()]);
    let bases = hierarchies.filter_map(|hierarchy| fs::read_dir(hierarchy.join(&base)).ok());
    let folders = bases.flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    Ok(folders.filter(|path| !path.ends_with("postgres")).collect())
}

/// Waits until the old container has ended and the only one is of this image.
fn only(freehold: &Installation, digest: &str) {
    eventually("the container of the image", || match &*containers(freehold).ok()? {
        [one] => inspect(one, "{{.ImageName}}").ok().filter(|image| image.ends_with(digest)).map(drop),
        _ => None,
    });
}

/// Who looks after a container: the parent of its `conmon`.
fn launcher(pid: &str) -> Result<String> {
    let parent = |pid: &str| -> Result<String> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).context("no parent")?;
        Ok(parent.trim().to_owned())
    };
    parent(&parent(pid)?)
}
