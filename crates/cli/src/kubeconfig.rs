//! A kubeconfig, cut down to the one context that a target is to be: whole, so that it works where the platform runs.
//!
//! Certificates, keys and tokens are taken out of their files. What would have to run a program on the platform's machine is
//! refused: the platform runs none that came over the network. No message repeats anything of the file but names.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freehold_problem::Code;
use kube::config::{Kubeconfig, KubeconfigError};
use serde_json::{Map, Value as Json, json};

use crate::report::{CommandError, CommandResult};

/// One context of a kubeconfig.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Context {
    /// As `kubectl config get-contexts` lists it.
    pub name: String,
    /// The address of the API server.
    pub server: String,
    /// A kubeconfig with nothing else in it. Secret.
    pub text: String,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({} at {})", self.name, self.server)
    }
}

impl Context {
    /// Reads one: of this file, else of those in `KUBECONFIG`, else of `~/.kube/config`; without a name the current one.
    pub(crate) fn read(file: Option<&Path>, name: Option<&str>) -> CommandResult<Self> {
        let kubeconfig = match file {
            Some(file) => Kubeconfig::read_from(file),
            None => Kubeconfig::read(),
        };
        Self::of(kubeconfig.map_err(|error| unreadable(&error))?, name)
    }

    fn of(kubeconfig: Kubeconfig, name: Option<&str>) -> CommandResult<Self> {
        let known: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
        let current = kubeconfig.current_context.clone().filter(|current| !current.is_empty());
        let Some(name) = name.map(str::to_owned).or(current) else {
            return Err(no_context("the kubeconfig has no current context", None, &known));
        };
        let kubeconfig = serde_json::to_value(&kubeconfig).unwrap_or_default();
        let Some(context) = entry(&kubeconfig, "contexts", "context", &name) else {
            return Err(no_context(&format!("the kubeconfig has no context {name}"), Some(&name), &known));
        };
        let part = |field: &str| context.get(field).and_then(Json::as_str).unwrap_or_default().to_owned();
        let (cluster_name, user_name) = (part("cluster"), part("user"));
        let missing = |what: &str, of: &str| match of {
            "" => unusable(format!("context {name} names no {what}")),
            of => unusable(format!("context {name} names the {what} {of}, which does not exist")),
        };
        let mut cluster = entry(&kubeconfig, "clusters", "cluster", &cluster_name)
            .cloned()
            .ok_or_else(|| missing("cluster", &cluster_name))?;
        let mut user =
            entry(&kubeconfig, "users", "user", &user_name).cloned().ok_or_else(|| missing("user", &user_name))?;
        runs_nothing(&user, &format!("user {user_name} of context {name}"))?;
        let of = format!("context {name}");
        inline(&mut cluster, ["certificate-authority", "certificate-authority-data"], &of)?;
        inline(&mut user, ["client-certificate", "client-certificate-data"], &of)?;
        inline(&mut user, ["client-key", "client-key-data"], &of)?;
        inline(&mut user, ["tokenFile", "token"], &of)?;
        let server = cluster.get("server").and_then(Json::as_str).unwrap_or_default().to_owned();
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "contexts": [{ "name": name, "context": { "cluster": cluster_name, "user": user_name } }],
            "clusters": [{ "name": cluster_name, "cluster": cluster }],
            "users": [{ "name": user_name, "user": user }],
        });
        // JSON is YAML, too.
        Ok(Self { name, server, text: text.to_string() })
    }
}

/// `contexts[name].context` and the like.
fn entry<'a>(kubeconfig: &'a Json, list: &str, field: &str, name: &str) -> Option<&'a Map<String, Json>> {
    let entries = kubeconfig.get(list)?.as_array()?;
    let named = entries.iter().find(|entry| entry.get("name").and_then(Json::as_str) == Some(name))?;
    named.get(field)?.as_object()
}

/// Puts the content of a file in the place of its name; what stands there already is kept, as every client does.
fn inline(of: &mut Map<String, Json>, [file, data]: [&str; 2], context: &str) -> CommandResult<()> {
    let Some(path) = of.remove(file).and_then(|path| path.as_str().map(str::to_owned)) else { return Ok(()) };
    if of.get(data).and_then(Json::as_str).is_some_and(|data| !data.is_empty()) {
        return Ok(());
    }
    let unread = |why: String| unusable(format!("{file} of {context} can't be read: {path}: {why}"));
    let content = std::fs::read(&path).map_err(|error| unread(error.to_string()))?;
    let text = match data {
        "token" => String::from_utf8(content).map_err(|_| unread("it is no text".to_owned()))?.trim().to_owned(),
        _ => STANDARD.encode(content),
    };
    of.insert(data.to_owned(), Json::String(text));
    Ok(())
}

fn runs_nothing(user: &Map<String, Json>, whose: &str) -> CommandResult<()> {
    let has_token = user.get("token").and_then(Json::as_str).is_some_and(|token| !token.is_empty());
    let program = user.get("exec").map(|exec| exec.get("command").and_then(Json::as_str).unwrap_or("a program"));
    let how = match (program, user.get("auth-provider")) {
        (Some(program), _) => format!("by running {program}"),
        (None, Some(_)) if !has_token => "from an auth provider".to_owned(),
        _ => return Ok(()),
    };
    Err(unusable(format!("{whose} gets its credentials {how}")).help(
        "give the platform a service account of its own: `freehold target rbac | kubectl apply -f -`, then a kubeconfig with its \
         token; docs/kubernetes.md has the commands",
    ))
}

fn unusable(detail: String) -> Box<CommandError> {
    CommandError::new(Code::KubeconfigUnreadable, detail)
}

fn unreadable(error: &KubeconfigError) -> Box<CommandError> {
    let detail = match error {
        KubeconfigError::FindPath => "there is no kubeconfig: no home directory is known".to_owned(),
        KubeconfigError::ReadConfig(error, path) => format!("the kubeconfig {} can't be read: {error}", path.display()),
        // The reader's own words quote the lines, and these may be secret.
        KubeconfigError::Parse(error) => match error.location() {
            Some(place) => format!("the kubeconfig is not valid: line {}, column {}", place.line(), place.column()),
            None => "the kubeconfig is not valid".to_owned(),
        },
        error => format!("the kubeconfig can't be used: {error}"),
    };
    unusable(detail).help("name it with --kubeconfig FILE, or in KUBECONFIG; `--in-cluster` needs none")
}

fn no_context(detail: &str, wanted: Option<&str>, known: &[String]) -> Box<CommandError> {
    let failure = CommandError::new(Code::UnknownContext, detail);
    if known.is_empty() {
        return failure.fact("it has none at all");
    }
    let failure = failure.fact(format!("it has {}", known.join(", ")));
    match wanted.and_then(|wanted| freehold_spec::nearest(wanted, known.iter().map(String::as_str))) {
        Some(near) => failure.help(format!("did you mean --context {near}?")),
        None => failure.help("choose one with --context NAME"),
    }
}

#[cfg(test)]
#[path = "kubeconfig_tests.rs"]
mod tests;
