//! A definition that is being made, and its text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use freehold_spec::{EnvName, Name};

/// What was found out so far.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) databases: BTreeMap<Name, Vec<String>>,
    pub(super) caches: BTreeMap<Name, Vec<String>>,
    /// Whether each is generated.
    pub(super) secrets: BTreeMap<Name, bool>,
    pub(super) services: BTreeMap<Name, Service>,
    pub(super) jobs: BTreeMap<Name, Job>,
    /// What was guessed or left out.
    pub(super) guesses: Vec<String>,
}

#[derive(Default, Clone)]
pub(super) struct Service {
    pub(super) image: Option<String>,
    pub(super) build: Option<Build>,
    /// Empty where the image says it.
    pub(super) command: Vec<String>,
    pub(super) port: Option<u16>,
    /// The path that answers when it is healthy.
    pub(super) ready: Option<String>,
    /// The host of its route.
    pub(super) host: Option<String>,
    pub(super) env: BTreeMap<EnvName, String>,
    /// Variables that it may read and that nothing is known of; `Some`: the contract is stated.
    pub(super) reads: Option<BTreeSet<EnvName>>,
}

#[derive(Clone)]
pub(super) struct Build {
    pub(super) command: Vec<String>,
    pub(super) artifact: Vec<String>,
}

pub(super) struct Job {
    pub(super) service: Name,
    pub(super) command: Vec<String>,
    pub(super) env: BTreeMap<EnvName, String>,
}

impl Draft {
    pub(super) fn guess(&mut self, line: impl Into<String>) {
        self.guesses.push(one_line(&line.into()));
    }

    /// The definition, with what was guessed as comments.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if !self.guesses.is_empty() {
            text.push_str("# Made by `freehold init` from what is in this folder. What it guessed:\n");
            for guess in &self.guesses {
                let _ = writeln!(text, "# - {guess}");
            }
            text.push('\n');
        }
        let _ = writeln!(text, "[app]\nname = {}", quoted(&self.name));
        for (name, extensions) in &self.databases {
            let _ = writeln!(text, "\n[database.{name}]");
            if !extensions.is_empty() {
                let _ = writeln!(text, "extensions = {}", list(extensions));
            }
        }
        for name in self.caches.keys() {
            let _ = writeln!(text, "\n[cache.{name}]");
        }
        for (name, generated) in &self.secrets {
            let generate = if *generated { "generate = {}\n" } else { "" };
            let _ = write!(text, "\n[secret.{name}]\n{generate}");
        }
        for (name, service) in &self.services {
            service.write(name, &mut text);
        }
        for (name, job) in &self.jobs {
            let _ = writeln!(
                text,
                "\n[job.{name}]\nservice = {}\ncommand = {}",
                quoted(job.service.as_str()),
                list(&job.command)
            );
            variables(&format!("job.{name}"), &job.env, &mut text);
        }
        for (name, service) in &self.services {
            if let Some(host) = &service.host {
                let _ = writeln!(
                    text,
                    "\n[route.{name}]\nservice = {}\nhosts   = [{}]",
                    quoted(name.as_str()),
                    quoted(host)
                );
            }
        }
        text
    }
}

impl Service {
    fn write(&self, name: &Name, text: &mut String) {
        let _ = writeln!(text, "\n[service.{name}]");
        if let Some(image) = &self.image {
            let _ = writeln!(text, "image   = {}", quoted(image));
        }
        if let Some(Build { command, artifact }) = &self.build {
            let command = if command.is_empty() { String::new() } else { format!("command = {}, ", list(command)) };
            let _ = writeln!(text, "build   = {{ {command}artifact = {} }}", list(artifact));
        }
        if !self.command.is_empty() {
            let _ = writeln!(text, "command = {}", list(&self.command));
        }
        if let Some(port) = self.port {
            let _ = writeln!(text, "port    = {port}");
        }
        if let Some(path) = &self.ready {
            let _ = writeln!(text, "health  = {{ ready = {} }}", quoted(path));
        }
        if let Some(reads) = &self.reads {
            let port = self.port.map(|_| "PORT?".to_owned());
            let set = self.env.keys().map(ToString::to_string);
            let optional = reads.iter().filter(|name| !self.env.contains_key(*name)).map(|name| format!("{name}?"));
            let all: Vec<String> = port.into_iter().chain(set).chain(optional).collect();
            let _ = writeln!(text, "reads   = {}", list(&all));
        }
        variables(&format!("service.{name}"), &self.env, text);
    }
}

fn variables(path: &str, env: &BTreeMap<EnvName, String>, text: &mut String) {
    if env.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n[{path}.env]");
    for (name, value) in env {
        let _ = writeln!(text, "{name} = {}", quoted(value));
    }
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "))
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// A text for a comment and a terminal.
fn one_line(text: &str) -> String {
    let shown = text.get(..text.floor_char_boundary(300)).unwrap_or(text);
    shown.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

/// A name for a part, made from any text; `None` where nothing of it can be one.
pub(super) fn name(text: &str) -> Option<Name> {
    let mut name = String::new();
    for character in text.chars().take(200) {
        match character.to_ascii_lowercase() {
            letter @ ('a'..='z' | '0'..='9') => name.push(letter),
            _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    let name = name.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    name.get(..name.len().min(40)).unwrap_or(name).trim_end_matches('-').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_becomes_a_name_or_none() {
        let made = |text: &str| name(text).map(|name| name.to_string());
        assert_eq!(made("My_App.v2").as_deref(), Some("my-app-v2"));
        assert_eq!(made("@acme/shop").as_deref(), Some("acme-shop"));
        assert_eq!(made("9lives").as_deref(), Some("lives"));
        assert_eq!(made("日本"), None);
        assert_eq!(made(&"a-".repeat(99)).map(|name| name.len()), Some(39));
    }

    #[test]
    fn no_text_leaves_its_quotes_or_its_comment() {
        assert_eq!(quoted("a\"]\n[b]\\\u{7f}"), r#""a\"]\u000A[b]\\\u007F""#);
        assert_eq!(one_line("a\n[app]\u{1b}"), "a?[app]?");
    }
}
