//! What a definition, an artifact or an archive tries that somebody else wrote: a tenant, or whoever opened a pull request.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use freehold_end_to_end::App;

use crate::attack::{
    Attack,
    Boundary::{Archive, Artifact, Definition},
    client, steps,
};
use crate::stage::{Stage, VICTIM};

/// An artifact whose entry leads to what whoever runs the platform keeps to themselves.
macro_rules! linked {
    ($name:literal, $make:expr) => {
        steps($name, Artifact, |stage| taken_along(stage, $make), |stage| copied(stage, $make))
    };
}

/// A definition that has to be refused, and one beside it that is taken.
macro_rules! refused {
    ($name:literal, $bad:literal, $good:literal) => {
        steps($name, Definition, |stage| accepted(stage, $bad), |stage| accepted(stage, $good))
    };
}

/// A tar stream with members that lead elsewhere; `add(name, data, **fields)` adds one.
const ARCHIVE: &str = r#"
import hashlib, io, shutil, stat, tarfile
canary = f"/var/tmp/attack-canary-{os.getpid()}"
stream = io.BytesIO()
archive = tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT)
def add(name, data=b"", **fields):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for field, value in fields.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(data))
up = "../" * 12
@@
archive.close()
data = stream.getvalue()
if P["proxy"] == P["api_port"]:
    folder = canary + ".unpacked"
    os.makedirs(folder)
    tarfile.open(fileobj=io.BytesIO(data)).extractall(folder)
    found = [os.path.join(a, c) for a, _, b in os.walk(folder) for c in b]
    special = any(not stat.S_ISREG(os.lstat(path).st_mode) or os.lstat(path).st_mode & 0o6022 for path in found)
    shutil.rmtree(folder)
else:
    name = "sha256:" + hashlib.sha256(data).hexdigest()
    head = f"PUT /api/v1/artifacts/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {P['token']}\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    answer = talk(head.encode() + data, P["api_port"], 10)
    print(answer[:300])
    # Taken in under another content's name, or not quite thrown away.
    special = answer.startswith(b"HTTP/1.1 2") or glob.glob(P["data"] + "/artifacts/.incoming*")
leaked = os.path.exists(canary)
if leaked:
    os.remove(canary)
(leaked or special) and broken()
"#;

const fn archive(name: &'static str, members: &'static str) -> Attack {
    client(name, Archive, members).with_frame(ARCHIVE)
}

pub(crate) const ATTACKS: &[Attack] = &[
    linked!("is a link to a file of root's", |app: &Path, private: &Path| symlink(private, app.join("loot"))),
    linked!("is a link by way of a folder", |app: &Path, private: &Path| {
        symlink(private.parent().unwrap_or(private), app.join("through"))?;
        symlink(Path::new("through").join(private.file_name().unwrap_or_default()), app.join("loot"))
    }),
    linked!("has a link in a folder of it", |app: &Path, private: &Path| {
        fs::create_dir(app.join("loot"))?;
        symlink(private, app.join("loot/inner"))
    }),
    linked!("is a link to a folder of root's", |app: &Path, private: &Path| symlink(
        private.parent().unwrap_or(private),
        app.join("loot")
    )),
    steps("is a file above the app's folder", Artifact, above, above_copied),
    steps("is named by its whole path", Artifact, absolute, above_copied),
    steps("is a pipe that never ends", Artifact, |stage| pipe(stage), pipe_copied),
    archive("leads out of its folder by dots", "add(up + canary, b'x')"),
    archive("leads out of its folder by a whole path", "add(canary, b'x')"),
    archive(
        "leads out of its folder through a link",
        "add('d', type=tarfile.SYMTYPE, linkname=os.path.dirname(canary))\nadd('d/' + os.path.basename(canary), b'x')",
    ),
    archive(
        "leads out of its folder through a chain of links",
        "add('a', type=tarfile.SYMTYPE, linkname='/')\nadd('b', type=tarfile.SYMTYPE, linkname='a')\nadd('b' + canary, b'x')",
    ),
    archive("links to a file of the platform", "add('h', type=tarfile.SYMTYPE, linkname=P['data'] + '/master.key')"),
    archive(
        "has a second name for a file of the machine",
        "add('x', b'x')\nadd('h', type=tarfile.LNKTYPE, linkname='x', mode=0o4755)\nadd('s', type=tarfile.SYMTYPE, linkname='/etc/passwd')",
    ),
    archive("has a device", "add('null', type=tarfile.CHRTYPE, devmajor=1, devminor=3)"),
    archive("has a pipe", "add('pipe', type=tarfile.FIFOTYPE)"),
    archive("has a setuid program", "add('shell', b'#!/bin/sh', mode=0o6777)"),
    archive(
        "writes one name twice",
        "add('x', b'x', mode=0o666)\nadd('x', type=tarfile.SYMTYPE, linkname=canary)\nadd('x', b'y')",
    ),
    archive(
        "makes a file of its folder",
        "add('d/', type=tarfile.DIRTYPE)\nadd('d/x', b'x', mode=0o666)\nadd('.', type=tarfile.SYMTYPE, linkname='/')",
    ),
    client(
        "comes under the name of another content",
        Archive,
        r#"
import io, tarfile
stream = io.BytesIO()
with tarfile.open(fileobj=stream, mode="w") as archive:
    archive.addfile(tarfile.TarInfo("x"))
data = stream.getvalue()
def put(name):
    head = f"PUT /api/v1/artifacts/sha256:{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {P['token']}\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    return talk(head.encode() + data, P["api_port"], 10)
answer = put("0" * 64)
if P["proxy"] == P["api_port"]:
    # Under its own name it is taken.
    answer = put(re.findall(rb"[0-9a-f]{64}", answer.replace(b"0" * 64, b""))[0].decode())
answer.startswith(b"HTTP/1.1 2") and broken()
"#,
    ),
    refused!("takes another tenant's host", "hosts = [\"victim.localhost\"]", "hosts = [\"nobodys.localhost\"]"),
    refused!(
        "takes another tenant's host in other letters",
        "hosts = [\"VICTIM.localhost\"]",
        "hosts = [\"nobodys-own.localhost\"]"
    ),
    refused!(
        "takes another tenant's host with a dot behind it",
        "hosts = [\"victim.localhost.\"]",
        "hosts = [\"nobodys-dot.localhost\"]"
    ),
    refused!("takes all hosts", "hosts = [\"*.localhost\"]", "hosts = [\"all.localhost\"]"),
    refused!("takes the platform's own name", "hosts = [\"127.0.0.1\"]", "hosts = [\"own.localhost\"]"),
    steps("forges the mark of another stack in a variable", Definition, forged_variable, plain_variable),
    steps("lets the loader of programs run its code as root", Definition, loader, loader_bare),
    steps("is nested deeper than a stack", Definition, nested, nested_bare),
    steps("is too much for the platform", Definition, huge, large),
];

type Make = fn(&Path, &Path) -> std::io::Result<()>;

/// An app with something called `loot` in its folder.
fn with_loot(stage: &Stage, make: Make) -> Result<App> {
    let app = App::small()?;
    let folder = stage.freehold.path().join("secrets");
    fs::create_dir_all(&folder)?;
    let private = folder.join("private");
    fs::write(&private, SECRET)?;
    for path in [&folder, &private] {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        stage.freehold.give(path)?;
    }
    make(app.path(), &private)?;
    app.redefine("\"program.py\", ", "\"program.py\", \"loot\", ")?;
    stage.open(&app)?;
    Ok(app)
}

const SECRET: &str = "known to whoever runs the platform alone";

/// Whether the secret is among the artifacts, where the app's processes read it.
fn is_among_artifacts(stage: &Stage) -> Result<bool> {
    let found = Command::new("grep").args(["-rqsF", SECRET]).arg(stage.freehold.data().join("artifacts")).status()?;
    Ok(found.success())
}

fn taken_along(stage: &mut Stage, make: Make) -> Result<bool> {
    let app = with_loot(stage, make)?;
    deployed_loot(stage, &app)
}

fn deployed_loot(stage: &Stage, app: &App) -> Result<bool> {
    let run = stage.freehold.run(["deploy", &app.argument(), "--tenant", "loot", "--yes"])?;
    let broken = is_among_artifacts(stage)?;
    if run.code == 0 {
        stage.freehold.run(["destroy", "--tenant", "loot", "--confirm", "loot"])?;
    }
    Ok(broken)
}

/// A copy that follows links, as root.
fn copied(stage: &mut Stage, make: Make) -> Result<bool> {
    let app = with_loot(stage, make)?;
    let copy = tempfile::tempdir()?;
    Command::new("cp").args(["-rL"]).arg(app.path().join("loot")).arg(copy.path()).status()?;
    Ok(Command::new("grep").args(["-rqsF", SECRET]).arg(copy.path()).status()?.success())
}

fn nothing(_: &Path, _: &Path) -> std::io::Result<()> {
    Ok(())
}

fn above(stage: &mut Stage) -> Result<bool> {
    let app = with_loot(stage, nothing)?;
    let path = format!(
        "{}{}/secrets/private",
        "../".repeat(12),
        stage.freehold.path().display().to_string().trim_start_matches('/')
    );
    app.redefine("\"loot\"", &format!("{path:?}"))?;
    deployed_loot(stage, &app)
}

fn absolute(stage: &mut Stage) -> Result<bool> {
    let app = with_loot(stage, nothing)?;
    let path = stage.freehold.path().join("secrets/private");
    app.redefine("\"loot\"", &format!("{:?}", path.display().to_string()))?;
    deployed_loot(stage, &app)
}

fn above_copied(stage: &mut Stage) -> Result<bool> {
    copied(stage, |app, private| symlink(private, app.join("loot")))
}

fn pipe(stage: &Stage) -> Result<bool> {
    let app = with_loot(stage, |app, _| Command::new("mkfifo").arg(app.join("loot")).status().map(drop))?;
    let mut child = stage.freehold.start_run(["deploy", &app.argument(), "--tenant", "loot", "--yes"])?;
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(true)
}

/// Whoever just reads it waits.
fn pipe_copied(stage: &mut Stage) -> Result<bool> {
    let app = with_loot(stage, |app, _| Command::new("mkfifo").arg(app.join("loot")).status().map(drop))?;
    let status = Command::new("timeout").args(["1", "cat"]).arg(app.path().join("loot")).status()?;
    Ok(status.code() == Some(124))
}

/// Whether an app with that line in its route is deployed, and gets the requests of its host.
fn accepted(stage: &mut Stage, host: &str) -> Result<bool> {
    let app = App::small()?;
    app.redefine("hosts   = [\"${stack.name}.${target.domain}\"]", host)?;
    stage.open(&app)?;
    let run = stage.freehold.run(["deploy", &app.argument(), "--tenant", "squatter", "--yes"])?;
    let victim = stage.victim_answers()?;
    if run.code == 0 {
        stage.freehold.run(["destroy", "--tenant", "squatter", "--confirm", "squatter"])?.succeeded()?;
    }
    Ok(run.code == 0 || victim != VICTIM)
}

fn forged_variable(stage: &mut Stage) -> Result<bool> {
    let id = stage.fact("victim_id").to_owned();
    variable(stage, "FREEHOLD_STACK", &id)
}

fn plain_variable(stage: &mut Stage) -> Result<bool> {
    variable(stage, "SOMETHING", "anything")
}

fn variable(stage: &Stage, name: &str, value: &str) -> Result<bool> {
    let app = App::small_and(&format!("[service.web.env]\n{name} = {value:?}\n"))?;
    stage.open(&app)?;
    let run = stage.freehold.run(["deploy", &app.argument(), "--tenant", "forger", "--yes"])?;
    if run.code != 0 {
        return Ok(false);
    }
    let got = stage.freehold.get("forger.localhost", &format!("/env/{name}"))?.1;
    stage.freehold.run(["destroy", "--tenant", "forger", "--confirm", "forger"])?.succeeded()?;
    Ok(got == value)
}

/// The loader writes a file for each program that is started with these variables, as the user who starts it.
fn loader(stage: &mut Stage) -> Result<bool> {
    let folder = tempfile::Builder::new().prefix("loader-").tempdir_in(stage.freehold.path())?;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777))?;
    let prefix = folder.path().join("trace").display().to_string();
    let variables = format!("LD_DEBUG = \"libs\"\nLD_DEBUG_OUTPUT = {prefix:?}\n");
    let app = App::small_and(&format!(
        "[service.web.env]\n{variables}\n[job.migrate]\nservice = \"web\"\ncommand = [\"python3\", \"-c\", \"pass\"]\n[job.migrate.env]\n{variables}"
    ))?;
    stage.open(&app)?;
    let run = stage.freehold.run(["deploy", &app.argument(), "--tenant", "loader", "--yes"])?;
    let ours = stage.freehold.data().join("server.json").metadata()?.uid();
    let mut owners = fs::read_dir(folder.path())?.flatten().filter_map(|entry| Some(entry.metadata().ok()?.uid()));
    // Where all run as one user, there is nothing to gain.
    let broken = ours == 0 && owners.any(|owner| owner == 0);
    if run.code == 0 {
        stage.freehold.run(["destroy", "--tenant", "loader", "--confirm", "loader"])?.succeeded()?;
    }
    Ok(broken)
}

fn loader_bare(stage: &mut Stage) -> Result<bool> {
    let folder = tempfile::tempdir_in(stage.freehold.path())?;
    let prefix = folder.path().join("trace");
    Command::new("true").env("LD_DEBUG", "libs").env("LD_DEBUG_OUTPUT", prefix).status()?;
    Ok(fs::read_dir(folder.path())?.next().is_some())
}

fn nested(stage: &mut Stage) -> Result<bool> {
    let app = App::small()?;
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    app.define(&format!("{}\n[service.web.env]\nX = {deep}\n", fs::read_to_string(app.definition())?))?;
    stage.open(&app)?;
    let text = fs::read_to_string(app.definition())?;
    // The server decodes it itself, whatever sends it.
    let body =
        serde_json::json!({"definition": text, "target": "local", "kind": "tenant", "name": "nested"}).to_string();
    let _ = plan(stage, &body)?;
    let run = stage.freehold.run(["check", &app.argument()])?;
    Ok(run.code != 2 || stage.victim_answers().is_err())
}

/// A reader that calls itself for each level ends there.
fn nested_bare(_: &mut Stage) -> Result<bool> {
    let output = Command::new("python3").args(["-c", "import json; json.loads('[' * 200000)"]).output()?;
    Ok(!output.status.success())
}

/// The status of a plan's request.
fn plan(stage: &Stage, body: &str) -> Result<u16> {
    let client = reqwest::blocking::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build()?;
    let url = format!("http://127.0.0.1:{}/api/v1/plans", stage.number("api_port"));
    let request = client.post(url).bearer_auth(stage.fact("token")).header("content-type", "application/json");
    Ok(request.body(body.to_owned()).send()?.status().as_u16())
}

/// A definition with so many references to what isn't there, in one line, and how long the victim waits meanwhile.
fn references(stage: &Stage, count: usize) -> Result<(Duration, usize)> {
    let app = App::small()?;
    let text: String = (0..count).map(|number| format!("${{secret.s{number}}}")).collect();
    app.define(&format!("{}\n[service.web.env]\nX = {text:?}\n", fs::read_to_string(app.definition())?))?;
    stage.open(&app)?;
    let body = serde_json::json!({
        "definition": fs::read_to_string(app.definition())?, "target": "local", "kind": "tenant", "name": "huge",
    });
    let slowest = std::thread::scope(|scope| -> Result<Duration> {
        let planning = scope.spawn(|| plan(stage, &body.to_string()));
        let mut slowest = Duration::ZERO;
        while !planning.is_finished() {
            let begin = Instant::now();
            stage.victim_answers()?;
            slowest = slowest.max(begin.elapsed());
            std::thread::sleep(Duration::from_millis(10));
        }
        planning.join().ok().context("the request panicked")??;
        Ok(slowest)
    })?;
    let check = stage.freehold.run(["check", &app.argument()])?;
    Ok((slowest, check.stdout.len() + check.stderr.len()))
}

fn huge(stage: &mut Stage) -> Result<bool> {
    let (slowest, printed) = references(stage, 40_000)?;
    Ok(slowest > Duration::from_secs(5) || printed > 4 << 20)
}

/// What is within the limits is told in full.
fn large(stage: &mut Stage) -> Result<bool> {
    let (_, printed) = references(stage, 20)?;
    Ok(printed > 1000)
}
