//! Who we are to which registry: a docker config, as it is in a Kubernetes Secret of the type `kubernetes.io/dockerconfigjson`.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freehold_graph::SecretText;
use freehold_graph::image::ImageReference;
use freehold_problem::Code;
use serde::Deserialize;

/// Docker Hub's names, all of them `docker.io` here.
const DOCKER_HUB: [&str; 3] = ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];

/// User names and passwords by registry. `Debug` prints the registries and user names.
///
/// Entries are matched as kubelet matches them: a host may have `*` for whole labels or parts of them, a path behind it is the
/// beginning of the repositories that it is for, and the longest entry that matches wins.
#[derive(Clone, Default)]
pub struct Credentials(Vec<Entry>);

#[derive(Clone)]
struct Entry {
    host: String,
    path: String,
    login: Login,
}

/// A user name and its password.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: SecretText,
}

/// Why a docker config can't be read. Nothing of its content is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Not JSON, or not of that form.
    #[error("the pull credentials are no docker config: line {line}, column {column}")]
    Form {
        /// Where the reader stumbled, from 1.
        line: usize,
        /// Where the reader stumbled, from 1.
        column: usize,
    },
    /// `auth` is not the Base64 of `user:password`.
    #[error("the pull credentials for {registry}: auth is not user:password in Base64")]
    Auth {
        /// The entry's registry.
        registry: String,
    },
    /// Neither `auth` nor `username` and `password`.
    #[error("the pull credentials for {registry} have no user name and password")]
    Incomplete {
        /// The entry's registry.
        registry: String,
    },
}

impl CredentialsError {
    /// The diagnostic's code.
    pub fn code(&self) -> Code {
        Code::PullCredentials
    }

    /// What to do next.
    pub fn help(&self) -> String {
        "write them anew, for example with `kubectl create secret docker-registry NAME --docker-server=HOST \
         --docker-username=USER --docker-password=…`"
            .to_owned()
    }
}

#[derive(Deserialize)]
struct Config {
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize)]
struct Auth {
    auth: Option<SecretJson>,
    username: Option<String>,
    password: Option<SecretJson>,
}

#[derive(Deserialize)]
#[serde(from = "String")]
struct SecretJson(SecretText);

impl From<String> for SecretJson {
    fn from(text: String) -> Self {
        Self(SecretText::new(text))
    }
}

impl Credentials {
    /// No credentials: only what anybody may pull.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a docker config: `{"auths": {"ghcr.io": {"auth": "…"}}}`, or with `username` and `password`.
    pub fn from_docker_config(json: &str) -> Result<Self, CredentialsError> {
        let config: Config = serde_json::from_str(json)
            .map_err(|error| CredentialsError::Form { line: error.line(), column: error.column() })?;
        let mut entries = Vec::new();
        for (key, auth) in config.auths {
            let (host, path) = place(&key);
            entries.push(Entry { login: login(&host, auth)?, host, path });
        }
        // The longest first; all of a length in the order of their names.
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.path.len() + entry.host.len()));
        Ok(Self(entries))
    }

    /// The login for an image.
    pub(crate) fn of(&self, reference: &ImageReference) -> Option<&Login> {
        let fits = |entry: &&Entry| {
            host_fits(&entry.host, reference.registry())
                && reference
                    .repository()
                    .strip_prefix(entry.path.as_str())
                    .is_some_and(|rest| entry.path.is_empty() || rest.is_empty() || rest.starts_with('/'))
        };
        self.0.iter().find(fits).map(|entry| &entry.login)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |entry: &Entry| format!("{}/{}", entry.host, entry.path);
        f.debug_map().entries(self.0.iter().map(|entry| (place(entry), &entry.login.user))).finish()
    }
}

/// Host and path of a key. Old keys are addresses: `https://index.docker.io/v1/`.
fn place(key: &str) -> (String, String) {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let host = host.to_ascii_lowercase();
    let host = if DOCKER_HUB.contains(&host.as_str()) { "docker.io".to_owned() } else { host };
    let path = path.trim_end_matches('/');
    (host, if matches!(path, "v1" | "v2") { String::new() } else { path.to_owned() })
}

fn login(host: &str, auth: Auth) -> Result<Login, CredentialsError> {
    let registry = || host.to_owned();
    if let Some(SecretJson(encoded)) = auth.auth.filter(|auth| !auth.0.reveal().is_empty()) {
        let wrong = || CredentialsError::Auth { registry: registry() };
        let decoded = STANDARD.decode(encoded.reveal().trim()).map_err(|_| wrong())?;
        let text = SecretText::new(String::from_utf8(decoded).map_err(|_| wrong())?);
        let (user, password) = text.reveal().split_once(':').ok_or_else(wrong)?;
        // Docker has been known to fill up with zero bytes.
        return Ok(Login { user: user.to_owned(), password: SecretText::new(password.trim_end_matches('\0')) });
    }
    match (auth.username, auth.password) {
        (Some(user), Some(SecretJson(password))) if !user.is_empty() => Ok(Login { user, password }),
        _ => Err(CredentialsError::Incomplete { registry: registry() }),
    }
}

/// Label by label; ports have to be equal.
fn host_fits(pattern: &str, host: &str) -> bool {
    let (pattern, pattern_port) = split_port(pattern);
    let (host, host_port) = split_port(host);
    pattern_port == host_port
        && pattern.split('.').count() == host.split('.').count()
        && pattern.split('.').zip(host.split('.')).all(|(pattern, label)| label_fits(pattern, label))
}

fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    }
}

fn label_fits(pattern: &str, label: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == label };
    let Some(mut label) = label.strip_prefix(start) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let end = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some((_, after)) = label.split_once(piece) else { return false };
        label = after;
    }
    label.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(config: &str, reference: &str) -> Option<String> {
        let credentials = Credentials::from_docker_config(config).unwrap();
        credentials.of(&reference.parse().unwrap()).map(|login| login.user.clone())
    }

    #[test]
    fn a_login_is_found_by_its_registry() {
        let config = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
            "ghcr.io": {"username": "octo", "password": "p:w"},
            "localhost:5000": {"username": "local", "password": ""}
        }}"#;
        assert_eq!(user(config, "nginx").as_deref(), Some("hub"));
        assert_eq!(user(config, "ghcr.io/acme/web").as_deref(), Some("octo"));
        assert_eq!(user(config, "localhost:5000/web").as_deref(), Some("local"));
        assert_eq!(user(config, "localhost:5001/web"), None);
        assert_eq!(user(config, "quay.io/acme/web"), None);
    }

    #[test]
    fn the_longest_entry_that_matches_wins() {
        let config = r#"{"auths": {
            "ghcr.io": {"auth": "YWxsOng="}, "ghcr.io/acme": {"auth": "YWNtZTp4"}, "*.ecr.*.example.com": {"auth": "ZWNyOng="}
        }}"#;
        assert_eq!(user(config, "ghcr.io/acme/web").as_deref(), Some("acme"));
        assert_eq!(user(config, "ghcr.io/acmexyz/web").as_deref(), Some("all"));
        assert_eq!(user(config, "12.ecr.eu.example.com/web").as_deref(), Some("ecr"));
        assert_eq!(user(config, "12.ecr.eu.west.example.com/web"), None);
    }

    #[test]
    fn a_star_stands_for_any_part_of_a_label() {
        for (pattern, label, fits) in [
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*b*c", "aXbYc", true),
            ("a*b", "abc", false),
            ("*b*", "ac", false),
        ] {
            assert_eq!(label_fits(pattern, label), fits, "{pattern} {label}");
        }
    }

    #[test]
    fn a_password_may_have_colons() {
        let credentials = Credentials::from_docker_config(r#"{"auths": {"a.io": {"auth": "dTpwOnc="}}}"#).unwrap();
        let login = credentials.of(&"a.io/web".parse().unwrap()).unwrap();
        assert_eq!((login.user.as_str(), login.password.reveal()), ("u", "p:w"));
    }

    #[test]
    fn nothing_that_is_printed_has_a_password_in_it() {
        let credentials =
            Credentials::from_docker_config(r#"{"auths": {"a.io": {"username": "u", "password": "geheim"}}}"#).unwrap();
        assert_eq!(format!("{credentials:?}"), r#"{"a.io/": "u"}"#);
        for config in [r#"{"auths": {"a.io": {"auth": "geheim"}}}"#, r#"{"auths": {"a.io": "geheim"}}"#, "geheim"] {
            let error = Credentials::from_docker_config(config).unwrap_err();
            assert!(!format!("{error} {error:?} {}", error.help()).contains("geheim"), "{error:?}");
        }
    }

    #[test]
    fn an_entry_without_a_login_is_refused() {
        let error = Credentials::from_docker_config(r#"{"auths": {"a.io": {}}}"#).unwrap_err();
        assert_eq!(error, CredentialsError::Incomplete { registry: "a.io".to_owned() });
    }
}
