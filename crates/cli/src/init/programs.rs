//! What a folder says of the program in it: its Dockerfile, Procfile, package.json, pyproject.toml, Cargo.toml.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use super::draft::{Build, Draft};
use super::folder::{Folder, Found};

/// What a folder's files come to.
#[derive(Default)]
pub(super) struct Program {
    pub(super) command: Vec<String>,
    pub(super) build: Option<Build>,
    pub(super) port: Option<u16>,
    pub(super) ready: Option<String>,
    pub(super) env: BTreeMap<String, String>,
    /// There is a Dockerfile, so an image is built of it.
    pub(super) has_image: bool,
    /// The other lines of its Procfile.
    pub(super) others: BTreeMap<String, Vec<String>>,
    /// Where its command is from, for people.
    pub(super) source: String,
}

/// The most entries of an artifact.
const MOST: usize = 100;
/// What is no part of a program.
const LEFT_OUT: [&str; 14] = [
    "CHANGELOG.md",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "Procfile",
    "README.md",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
    "freehold.toml",
    "node_modules",
    "target",
    "venv",
];

/// Reads what a folder has of a file; what can't be read is said.
pub(super) fn text(draft: &mut Draft, folder: &Folder, name: &str) -> Option<String> {
    match folder.read(name) {
        Found::Text(text) => Some(text),
        Found::Absent => None,
        Found::Unread(why) => {
            draft.guess(why);
            None
        }
    }
}

/// The program of a folder, as far as it says.
pub(super) fn read(draft: &mut Draft, folder: &Folder, dockerfile: &str) -> Program {
    let mut program = Program::default();
    if let Some(text) = text(draft, folder, "Cargo.toml") {
        cargo(&text, folder, &mut program);
    } else if let Some(text) = text(draft, folder, "package.json") {
        node(&text, folder, &mut program);
    } else {
        python(draft, folder, &mut program);
    }
    if let Some(text) = text(draft, folder, dockerfile) {
        docker(&text, &mut program);
    }
    if let Some(text) = text(draft, folder, "Procfile") {
        procfile(&text, &mut program);
    }
    program
}

/// The name that a folder's project has.
pub(super) fn project_name(draft: &mut Draft, folder: &Folder) -> Option<String> {
    let of_toml = |text: &str, table: &str| {
        let (root, errors) = DeTable::parse_recoverable(text);
        let name = root.get_ref().get(table)?.get_ref().as_table()?.get("name")?.get_ref().as_str().map(str::to_owned);
        name.filter(|_| errors.is_empty())
    };
    let cargo = text(draft, folder, "Cargo.toml").and_then(|text| of_toml(&text, "package"));
    let node = || {
        let Found::Text(text) = folder.read("package.json") else { return None };
        serde_json::from_str::<Json>(&text).ok()?.get("name")?.as_str().map(str::to_owned)
    };
    let python = || {
        let Found::Text(text) = folder.read("pyproject.toml") else { return None };
        of_toml(&text, "project")
    };
    cargo.or_else(node).or_else(python)
}

/// What an artifact is made of, where all of the folder is the program.
fn everything(folder: &Folder, more: &[&str]) -> Vec<String> {
    let kept = |name: &String| {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        plain && !LEFT_OUT.contains(&name.as_str()) && !more.contains(&name.as_str())
    };
    let before = if folder.path().is_empty() { String::new() } else { format!("{}/", folder.path()) };
    let names = folder.entries().into_iter().filter(kept).chain(more.iter().map(|name| (*name).to_owned()));
    names.take(MOST).map(|name| format!("{before}{name}")).collect()
}

/// A command in a folder below the app's.
fn within(folder: &Folder, script: &str) -> Vec<String> {
    let path = folder.path();
    let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/'));
    match (path.is_empty(), plain) {
        (true, _) => shell(script),
        (false, true) => shell(&format!("cd {path} && {script}")),
        (false, false) => Vec::new(),
    }
}

fn cargo(text: &str, folder: &Folder, program: &mut Program) {
    let (root, _) = DeTable::parse_recoverable(text);
    let table = |key: &str| root.get_ref().get(key).map(|value| value.get_ref());
    let of_package = table("package").and_then(DeValue::as_table).and_then(|package| package.get("name"));
    let Some(name) = of_package.and_then(|name| name.get_ref().as_str()) else { return };
    let bin = table("bin").and_then(DeValue::as_array).and_then(|bins| bins.iter().next());
    let bin = bin.and_then(|bin| bin.get_ref().as_table()?.get("name")?.get_ref().as_str());
    let bin = bin.unwrap_or(name);
    if !bin.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        return;
    }
    let before = if folder.path().is_empty() { String::new() } else { format!("{}/", folder.path()) };
    let mut artifact = vec![format!("{before}target/release/{bin}")];
    let data = folder
        .entries()
        .into_iter()
        .filter(|name| ["assets", "migrations", "public", "static", "templates"].contains(&name.as_str()));
    artifact.extend(data.map(|name| format!("{before}{name}")));
    program.command = vec![bin.to_owned()];
    program.build = Some(Build { command: within(folder, "cargo build --release"), artifact });
    program.source = "Cargo.toml".to_owned();
}

fn node(text: &str, folder: &Folder, program: &mut Program) {
    let Ok(package) = serde_json::from_str::<Json>(text) else { return };
    let script = |name: &str| package.pointer(&format!("/scripts/{name}")).and_then(Json::as_str);
    program.command = match (script("start"), package.get("main").and_then(Json::as_str)) {
        // Without npm in between, signals reach the program.
        (Some(start), _) => shell(start),
        (None, Some(main)) => vec!["node".to_owned(), main.to_owned()],
        (None, None) => Vec::new(),
    };
    let has = |key: &str| package.get(key).and_then(Json::as_object).is_some_and(|table| !table.is_empty());
    let install = has("dependencies") || has("devDependencies");
    let entries = folder.entries();
    let with = |lock: &str| entries.iter().any(|name| name == lock);
    let install = install.then_some(if with("pnpm-lock.yaml") {
        "pnpm install --frozen-lockfile"
    } else if with("yarn.lock") {
        "yarn install --frozen-lockfile"
    } else if with("package-lock.json") {
        "npm ci"
    } else {
        "npm install"
    });
    let build = script("build").map(|_| "npm run build");
    let steps: Vec<&str> = install.into_iter().chain(build).collect();
    let artifact = everything(folder, if install.is_some() { &["node_modules"] } else { &[] });
    let command = if steps.is_empty() { Vec::new() } else { within(folder, &steps.join(" && ")) };
    program.build = (!artifact.is_empty()).then_some(Build { command, artifact });
    program.source = "package.json".to_owned();
}

fn python(draft: &mut Draft, folder: &Folder, program: &mut Program) {
    let entries = folder.entries();
    let has = |name: &str| entries.iter().any(|entry| entry == name);
    if !has("pyproject.toml")
        && !has("requirements.txt")
        && !["main.py", "app.py", "server.py", "manage.py"].iter().any(|name| has(name))
    {
        return;
    }
    if let Some(main) = ["main.py", "app.py", "server.py"].into_iter().find(|name| has(name)) {
        program.command = vec!["python3".to_owned(), main.to_owned()];
        program.source = main.to_owned();
    }
    let requirements = text(draft, folder, "requirements.txt");
    let needs = requirements
        .is_some_and(|text| text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')));
    let command =
        if needs { within(folder, "python3 -m pip install --target vendor -r requirements.txt") } else { Vec::new() };
    let artifact = everything(folder, if needs { &["vendor"] } else { &[] });
    if needs {
        program.env.insert("PYTHONPATH".to_owned(), "vendor".to_owned());
        draft.guess("what requirements.txt names is installed into `vendor`, which is a part of the artifact");
    }
    program.build = (!artifact.is_empty()).then_some(Build { command, artifact });
}

/// The last of each instruction holds. Of several stages, so does what the last one says.
fn docker(text: &str, program: &mut Program) {
    program.has_image = true;
    let (mut entrypoint, mut command) = (Vec::new(), Vec::new());
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    for line in joined.lines().map(str::trim) {
        let Some((word, rest)) = line.split_once(char::is_whitespace) else { continue };
        match word.to_ascii_uppercase().as_str() {
            "FROM" => (entrypoint, command) = (Vec::new(), Vec::new()),
            "ENTRYPOINT" => entrypoint = instruction(rest),
            "CMD" => command = instruction(rest),
            "EXPOSE" => {
                let port = rest.split(['/', ' ']).next().and_then(|port| port.trim().parse().ok());
                program.port = port.filter(|port| *port > 0).or(program.port);
            }
            "HEALTHCHECK" => program.ready = health_path(rest).or(program.ready.take()),
            _ => {}
        }
    }
    let whole: Vec<String> = entrypoint.into_iter().chain(command).collect();
    if !whole.is_empty() {
        program.command = whole;
        program.source = "Dockerfile".to_owned();
    }
}

/// `["program", "argument"]`, or a line for a shell.
fn instruction(text: &str) -> Vec<String> {
    match serde_json::from_str::<Vec<String>>(text.trim()) {
        Ok(words) => words,
        Err(_) => shell(text.trim()),
    }
}

fn procfile(text: &str, program: &mut Program) {
    for line in text.lines() {
        let Some((kind, line)) = line.split_once(':') else { continue };
        let (kind, line) = (kind.trim(), line.trim());
        if line.is_empty() || kind.starts_with('#') || program.others.len() >= MOST {
            continue;
        }
        if kind == "web" {
            program.command = shell(line);
            program.source = "Procfile".to_owned();
            program.port = program.port.or(Some(8080));
        } else {
            program.others.insert(kind.to_owned(), shell(line));
        }
    }
}

/// A line as program and arguments: through a shell only where it needs one.
pub(super) fn shell(line: &str) -> Vec<String> {
    let plain = line.chars().all(|c| c.is_alphanumeric() || " \t-_./:=,@+".contains(c));
    let assigns = line.split_whitespace().next().is_some_and(|first| first.contains('='));
    match plain && !assigns {
        true => line.split_whitespace().map(str::to_owned).collect(),
        false => vec!["sh".to_owned(), "-c".to_owned(), line.to_owned()],
    }
}

/// The path of a health check that asks over HTTP: `curl -f http://localhost:8080/health`.
pub(super) fn health_path(text: &str) -> Option<String> {
    let hosts = ["http://localhost", "http://127.0.0.1", "http://0.0.0.0"];
    let rest = hosts.iter().find_map(|host| text.split_once(host)).map(|(_, rest)| rest)?;
    let from =
        rest.find(['/', ' ', '"', '\'']).filter(|at| rest.get(*at..).is_some_and(|rest| rest.starts_with('/')))?;
    let path: String =
        rest.get(from..)?.chars().take_while(|c| c.is_ascii_alphanumeric() || "/-_.".contains(*c)).collect();
    (path.len() <= 200 && !path.contains("..") && !path.contains("//")).then_some(path)
}
