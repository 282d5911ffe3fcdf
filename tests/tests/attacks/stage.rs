//! A platform with a tenant who attacks and one who is attacked, and the ways in which scripts are run against it.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use freehold_end_to_end::{App, Installation, eventually};
use serde_json::{Map, Value, json};

use crate::attack::Who;
use crate::inherited;

/// The program of both tenants.
const PROGRAM: &str = include_str!("tenant.py");
const PRELUDE: &str = include_str!("prelude.py");

/// The one who attacks, and the one who is attacked.
pub(crate) const MALLORY: &str = "mallory";
pub(crate) const VICTIM: &str = "victim";

/// The definition of one of them; `{name}` is theirs.
const DEFINITION: &str = r#"[app]
name = "{name}"

[database.main]
connections = 8

[service.web]
build   = { artifact = ["{name}.py"] }
command = ["python3", "{name}.py"]
port    = 8080
health  = { ready = "/health" }
memory  = "64Mi..512Mi"

[service.web.env]
DATABASE_URL = "${database.main.url}"
NAME = "{name}"
{more}

[job.prepare]
service = "web"
command = ["sh", "-c", "printf %s \"$MIGRATION_URL\" > \"$HOME/migrator\"; echo dear > \"$HOME/diary\"; exec psql -Xq \"$MIGRATION_URL\" -c 'CREATE TABLE IF NOT EXISTS public.notes (note text)'"]
[job.prepare.env]
MIGRATION_URL = "${database.main.migration_url}"

[route.web]
service = "web"
hosts   = ["${stack.name}.${target.domain}"]

[route.narrow]
service = "web"
hosts   = ["narrow-${stack.name}.${target.domain}"]
paths   = [{ prefix = "/public" }]
"#;

pub(crate) struct Stage {
    pub(crate) freehold: Installation,
    pub(crate) mallory: App,
    pub(crate) victim: App,
    /// What scripts are told.
    facts: Map<String, Value>,
    /// The victim's program without Freehold around it.
    bare: Child,
    bare_port: u16,
}

/// An app of a tenant's own.
pub(crate) fn app(name: &str, more: &str) -> Result<App> {
    let app = App::with(&DEFINITION.replace("{name}", name).replace("{more}", more))?;
    fs::write(app.path().join(format!("{name}.py")), PROGRAM)?;
    Ok(app)
}

impl Stage {
    pub(crate) fn set(who: Who) -> Result<Self> {
        let mut freehold = Installation::new()?;
        if who == Who::User {
            freehold.as_ordinary_user()?;
        }
        let inherited = freehold.path().join("inherited");
        fs::write(&inherited, "of whoever started it")?;
        freehold.give(&inherited)?;
        freehold.start_after(&format!("{}{}", inherited::BEFORE, inherited.display()))?;
        freehold.up()?;
        let (mallory, victim) = (app(MALLORY, "MAY_RUN = \"1\"")?, app(VICTIM, "MAY_RUN = \"1\"")?);
        for (name, app) in [(VICTIM, &victim), (MALLORY, &mallory)] {
            // They may be read by whoever runs the platform.
            fs::set_permissions(app.path(), fs::Permissions::from_mode(0o755))?;
            freehold.deploy(&app.argument(), &["--tenant", name])?;
        }
        let bare_port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let bare = bare_program(&victim.path().join("victim.py"), bare_port)?;
        let mut stage = Self { freehold, mallory, victim, facts: Map::new(), bare, bare_port };
        eventually("the bare program answers", || TcpStream::connect(("127.0.0.1", bare_port)).ok());
        stage.learn()?;
        Ok(stage)
    }

    /// What an attacker has found out already: the paths, names and numbers are no secrets.
    fn learn(&mut self) -> Result<()> {
        let data = self.freehold.data();
        let connection: Value = serde_json::from_slice(&fs::read(data.join("server.json"))?)?;
        let url = connection.get("url").and_then(Value::as_str).context("no url of the API")?;
        let token = connection.get("token").and_then(Value::as_str).context("no token")?;
        let api_port: u16 = url.trim_end_matches('/').rsplit(':').next().context("no port")?.parse()?;
        let victim_url = self.environment(VICTIM, "DATABASE_URL")?;
        let password = part_of(&victim_url, "password").to_owned();
        let private = self.freehold.path().join("private");
        fs::write(&private, "known to root alone")?;
        fs::set_permissions(&private, fs::Permissions::from_mode(0o600))?;
        self.freehold.give(&private)?;
        let (setuid, setuid_owner) = self.setuid_program()?;
        let victim = self.stack(VICTIM)?;
        let own = self.stack(MALLORY)?;
        let at = |path: &str| data.join(path).display().to_string();
        let facts = json!({
            "data": data,
            "up": format!("up --port {}", self.freehold.router_port()),
            "host": "victim.localhost",
            "narrow": "narrow-victim.localhost",
            "entrance": self.freehold.router_port(),
            "proxy": self.freehold.router_port(),
            "api_port": api_port,
            "token": token,
            "binary": self.freehold.binary(),
            "private": private,
            "inherited": self.freehold.path().join("inherited"),
            "setuid": setuid,
            "setuid_owner": setuid_owner,
            "password_file": self.freehold.password_file(),
            "superuser": self.freehold.superuser_url(&format!("{MALLORY}__{MALLORY}"))?,
            "victim_url": victim_url,
            "victim_password": password,
            "victim_port": self.environment(VICTIM, "PORT")?.parse::<u16>()?,
            "victim_database": format!("{VICTIM}__{VICTIM}"),
            "own_database": format!("{MALLORY}__{MALLORY}"),
            "victim_owner": self.role(VICTIM, "owner")?,
            "own_owner": self.role(MALLORY, "owner")?,
            "victim_role": part_of(&victim_url, "user"),
            "victim_id": victim,
            "victim_stack": at(&format!("local/stacks/{victim}")),
            "own_stack": at(&format!("local/stacks/{own}")),
            "victim_logs": at(&format!("logs/{victim}")),
            "logs": at("logs"),
            "dumps": at("dumps"),
            "victim_artifact": artifact(&data, &victim, "victim.py")?,
            "own_artifact": artifact(&data, &own, "mallory.py")?,
        });
        let Value::Object(facts) = facts else { unreachable!("it is an object") };
        self.facts = facts;
        Ok(())
    }

    pub(crate) fn fact(&self, name: &str) -> &str {
        self.facts.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.facts.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    /// A variable of a tenant's service.
    pub(crate) fn environment(&self, tenant: &str, name: &str) -> Result<String> {
        Ok(self.freehold.get(&format!("{tenant}.localhost"), &format!("/env/{name}"))?.1)
    }

    /// The id of a tenant's stack.
    pub(crate) fn stack(&self, tenant: &str) -> Result<String> {
        let id = self
            .freehold
            .sql("freehold", &format!("SELECT id FROM stacks WHERE name = '{tenant}' AND state <> 'destroyed'"))?;
        anyhow::ensure!(!id.is_empty(), "there is no stack {tenant}");
        Ok(id)
    }

    fn role(&self, tenant: &str, part: &str) -> Result<String> {
        let database = format!("{tenant}__{tenant}");
        let role = match part {
            "owner" => format!("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{database}'"),
            other => format!("SELECT rolname FROM pg_roles WHERE rolname LIKE '{database}%{other}%' LIMIT 1"),
        };
        self.freehold.sql("postgres", &role)
    }

    /// A program that says as whom it runs, with the setuid bit of whoever runs the tests.
    fn setuid_program(&self) -> Result<(PathBuf, String)> {
        let path = self.freehold.path().join("identity");
        let found = Command::new("sh").args(["-c", "command -v id"]).output()?;
        fs::copy(String::from_utf8(found.stdout)?.trim(), &path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755))?;
        Ok((path, rustix::process::geteuid().as_raw().to_string()))
    }

    fn script(&self, script: &str, more: &[(&str, Value)]) -> String {
        let mut facts = self.facts.clone();
        facts.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        // The strong things are for controls.
        if facts.get("inside") == Some(&Value::Bool(true)) {
            for strong in ["superuser", "victim_url", "token"] {
                facts.remove(strong);
            }
        }
        format!("FACTS = {:?}\n{PRELUDE}\n{script}\n", Value::Object(facts).to_string())
    }

    /// Runs a script in the attacker's program, and says what it printed.
    pub(crate) fn inside(&self, script: &str) -> Result<String> {
        self.within(MALLORY, script)
    }

    /// Runs a script in a tenant's program.
    pub(crate) fn within(&self, tenant: &str, script: &str) -> Result<String> {
        let script = self.script(script, &[("inside", json!(true))]);
        self.ask(tenant, "/run", &script)
    }

    fn ask(&self, tenant: &str, path: &str, body: &str) -> Result<String> {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {tenant}.localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut connection = TcpStream::connect(("127.0.0.1", self.freehold.router_port()))?;
        connection.set_read_timeout(Some(Duration::from_secs(40)))?;
        connection.write_all(head.as_bytes())?;
        connection.write_all(body.as_bytes())?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{tenant} doesn't do {path}: {answer}");
        Ok(body.to_owned())
    }

    /// Lets the attacker's program print something.
    pub(crate) fn say(&self, bytes: &str) -> Result<()> {
        self.ask(MALLORY, "/say", bytes).map(drop)
    }

    /// Runs the script of an attacker as whoever runs the tests, in no sandbox, with the superuser in place of the attacker's roles.
    pub(crate) fn outside(&self, script: &str) -> Result<String> {
        python(&self.script(script, &[("inside", json!(false)), ("victim_port", json!(self.bare_port))]))
    }

    /// Runs the script of a client that asks the router.
    pub(crate) fn client(&self, script: &str) -> Result<String> {
        python(&self.script(script, &[("inside", json!(false))]))
    }

    /// Runs the script of a client that asks the program itself.
    pub(crate) fn without_router(&self, script: &str) -> Result<String> {
        let more = [
            ("inside", json!(false)),
            ("entrance", json!(self.bare_port)),
            ("proxy", self.facts.get("api_port").cloned().unwrap_or_default()),
        ];
        python(&self.script(script, &more))
    }

    /// The victim's answer to a request of a customer.
    pub(crate) fn victim_answers(&self) -> Result<String> {
        let (status, body) = self.freehold.get("victim.localhost", "/")?;
        anyhow::ensure!(status == 200, "the victim answers {status}: {body}");
        Ok(body)
    }

    /// Lets whoever runs the platform read an app.
    pub(crate) fn open(&self, app: &App) -> Result<()> {
        Ok(fs::set_permissions(app.path(), fs::Permissions::from_mode(0o755))?)
    }

    /// What has changed where the victim was started anew.
    pub(crate) fn relearn(&mut self) -> Result<()> {
        self.learn()
    }

    /// Waits until both answer again.
    pub(crate) fn settle(&self) {
        for host in ["victim.localhost", "mallory.localhost"] {
            eventually("both answer", || (self.freehold.get(host, "/").ok()?.0 == 200).then_some(()));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.bare.kill();
        let _ = self.bare.wait();
    }
}

/// The `user` or `password` of a URL, in whichever of the two forms it has.
fn part_of<'a>(url: &'a str, name: &str) -> &'a str {
    let (before, query) = url.split_once('?').unwrap_or((url, ""));
    let named = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let (user, password) = before
        .split_once("//")
        .and_then(|(_, rest)| rest.split_once('@'))
        .and_then(|(login, _)| login.split_once(':'))
        .unwrap_or_default();
    named.unwrap_or(if name == "user" { user } else { password })
}

fn bare_program(path: &Path, port: u16) -> Result<Child> {
    let mut command = Command::new("python3");
    command
        .arg(path)
        .env("PORT", port.to_string())
        .env("NAME", "victim")
        .env("DATABASE_URL", "postgresql://")
        .env("MAY_RUN", "1");
    Ok(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

fn python(script: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("attack.py");
    File::create(&path)?.write_all(script.as_bytes())?;
    let output = Command::new("timeout").args(["40", "python3", "-IS"]).arg(&path).output()?;
    Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// Where a stack runs from: as root it has a tree of its own.
fn artifact(data: &Path, stack: &str, name: &str) -> Result<PathBuf> {
    let own = data.join("local/stacks").join(stack).join("artifacts");
    let place = if own.exists() { own } else { data.join("artifacts") };
    holding(&place, name)
}

/// The folder in which there is a file of that name.
fn holding(folder: &Path, name: &str) -> Result<PathBuf> {
    let found = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).find(|path| path.join(name).exists());
    found.with_context(|| format!("no folder in {} has {name}", folder.display()))
}
