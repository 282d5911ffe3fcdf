//! `freehold install`: the manifests that run Freehold itself in a cluster, for `kubectl apply -f -`.
//!
//! Nothing is applied here. Each print makes a new master key and token, unless a Secret that is there is named: what was
//! sealed with one master key opens with no other.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freehold_problem::Code;
use freehold_provider_kubernetes::{Install, InstallRoute, InstallSecret};

use crate::arguments::InstallArguments;
use crate::database_url;
use crate::report::{CommandError, CommandResult, ExitStatus};
use crate::terminal::Terminal;

/// The Secret, unless another one is named.
const NAME: &str = "freehold";

pub(super) fn run(terminal: Terminal, arguments: &InstallArguments) -> CommandResult {
    if !arguments.dry_run {
        return Err(CommandError::new(Code::BadRequest, "`freehold install` only prints manifests so far")
            .help("look at them with --dry-run, and apply them: `freehold install --dry-run … | kubectl apply -f -`"));
    }
    for name in [&arguments.namespace].into_iter().chain(&arguments.existing_secret) {
        is_name(name)?;
    }
    let secret = match arguments.existing_secret {
        Some(_) => None,
        None => Some(Generated::new(database_url(terminal, arguments)?)?),
    };
    let text = manifests(arguments, secret.as_ref())?;
    match terminal.json {
        true => terminal.print_json(&serde_json::json!({ "yaml": text })),
        false => terminal.print(text.trim_end()),
    }
    if secret.is_some() {
        terminal.say(
            "The Secret has a new master key. Keep a copy of it: what the platform seals opens with no other. To print the \
             manifests again for the same platform, say --existing-secret freehold.",
        );
    }
    Ok(ExitStatus::Done)
}

fn database_url(terminal: Terminal, arguments: &InstallArguments) -> CommandResult<String> {
    let missing = || {
        CommandError::new(Code::BadRequest, "Freehold needs a PostgreSQL of its own, and none was named").help(
            "give its URL on stdin with --database-url-stdin, or name a Secret that has it with --existing-secret",
        )
    };
    let url = match arguments.database_url_stdin {
        true => terminal
            .read_secret("URL of Freehold's own PostgreSQL: ")
            .map_err(|error| CommandError::new(Code::BadRequest, format!("the URL can't be read: {error}")))?,
        false => std::env::var(database_url::VARIABLE).unwrap_or_default(),
    };
    if url.trim().is_empty() {
        return Err(missing());
    }
    checked(&url)
}

/// A URL that is one, of a server that Pods can reach. It isn't repeated: it may hold a password.
fn checked(url: &str) -> CommandResult<String> {
    let url = url.trim();
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(CommandError::new(Code::DatabaseUrl, "what was given is no URL of a PostgreSQL server")
            .help("it looks like postgresql://user:password@host:5432/postgres"));
    }
    if let Some(host) = database_url::loopback(url) {
        let detail = format!("Pods don't reach PostgreSQL at {host}: for each of them that is the Pod itself");
        return Err(CommandError::new(Code::DatabaseUrl, detail)
            .help("give the URL with the address at which the cluster reaches the server"));
    }
    Ok(url.to_owned())
}

/// A name that an object of a cluster can have.
pub(super) fn is_name(name: &str) -> CommandResult<()> {
    let fits = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '-';
    if !name.is_empty() && name.len() <= 63 && name.chars().all(fits) && !name.starts_with('-') && !name.ends_with('-')
    {
        return Ok(());
    }
    let detail = format!("{name:?} can't be the name of an object");
    Err(CommandError::new(Code::RequestName, detail)
        .help("use lower-case letters, digits and hyphens, at most 63 characters"))
}

/// The values of a new Secret.
struct Generated {
    master_key: [u8; 32],
    token: [u8; 32],
    database_url: String,
}

impl Generated {
    fn new(database_url: String) -> CommandResult<Self> {
        let random = || {
            let mut bytes = [0; 32];
            let filled = getrandom::fill(&mut bytes);
            filled.map(|()| bytes).map_err(|error| CommandError::new(Code::NoRandomness, error.to_string()))
        };
        Ok(Self { master_key: random()?, token: random()?, database_url })
    }
}

fn manifests(arguments: &InstallArguments, secret: Option<&Generated>) -> CommandResult<String> {
    let token = secret.map(|secret| URL_SAFE_NO_PAD.encode(secret.token)).unwrap_or_default();
    let secret = match secret {
        Some(Generated { master_key, database_url, .. }) => {
            InstallSecret::New { master_key, token: &token, database_url }
        }
        None => InstallSecret::Existing(arguments.existing_secret.as_deref().unwrap_or(NAME)),
    };
    let route = match (&arguments.host, &arguments.gateway) {
        (Some(host), Some(gateway)) => Some(route(host, gateway)?),
        _ => None,
    };
    let InstallArguments { namespace, image, replicas, .. } = arguments;
    let install = Install { namespace, image, replicas: *replicas, secret, route };
    Ok(freehold_provider_kubernetes::install(&install))
}

fn route<'a>(host: &'a str, gateway: &'a str) -> CommandResult<InstallRoute<'a>> {
    let Some((gateway_namespace, gateway)) = gateway.split_once('/') else {
        let detail = format!("{gateway:?} is not the name of a Gateway");
        return Err(CommandError::new(Code::BadRequest, detail).help("it looks like NAMESPACE/NAME"));
    };
    is_name(gateway_namespace)?;
    is_name(gateway)?;
    Ok(InstallRoute { host, gateway_namespace, gateway })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> InstallArguments {
        InstallArguments {
            namespace: "freehold".to_owned(),
            image: "registry.example.org/freehold@sha256:0123".to_owned(),
            replicas: 3,
            host: Some("freehold.example.org".to_owned()),
            gateway: Some("gateways/main".to_owned()),
            database_url_stdin: false,
            existing_secret: None,
            dry_run: true,
        }
    }

    fn secret() -> Generated {
        Generated { master_key: [7; 32], token: [9; 32], database_url: "postgresql://u:p@db/freehold".to_owned() }
    }

    #[test]
    fn the_manifests_are_everything_that_a_cluster_needs() {
        let text = manifests(&arguments(), Some(&secret())).unwrap();
        // The permissions have tests of their own.
        let without_permissions: Vec<&str> =
            text.split("---\n").filter(|document| !document.contains("kind: ClusterRole\n")).collect();
        insta::assert_snapshot!(without_permissions.join("---\n"));
    }

    #[test]
    fn there_is_one_namespace_and_it_lets_only_restricted_pods_in() {
        let text = manifests(&arguments(), Some(&secret())).unwrap();
        assert_eq!(text.matches("\nkind: Namespace\n").count(), 1);
        assert!(text.contains("pod-security.kubernetes.io/enforce: restricted"));
        assert_eq!(text.matches("\nkind: ServiceAccount\n").count(), 1);
    }

    #[test]
    fn a_secret_that_is_there_is_used_and_none_is_printed() {
        let arguments = InstallArguments { existing_secret: Some("kept".to_owned()), ..arguments() };
        let text = manifests(&arguments, None).unwrap();
        assert!(!text.contains("kind: Secret\n") && text.contains("secretName: kept"), "{text}");
    }

    #[test]
    fn a_database_that_no_pod_reaches_is_refused() {
        let refused = |url: &str| checked(url).unwrap_err().problem;
        assert_eq!(refused("postgresql://ada:love@localhost:5432/freehold").code, Code::DatabaseUrl);
        let unread = refused("ada:love@db");
        assert!(!unread.detail.contains("love"), "{unread:?}");
        assert!(checked("postgresql://ada:love@db.example.org/freehold\n").is_ok());
    }

    #[test]
    fn names_that_no_object_can_have_are_refused() {
        assert!(is_name("a: b\nkind: ClusterRoleBinding").is_err());
        assert!(is_name("Freehold").is_err() && is_name("-x").is_err() && is_name("").is_err());
        let arguments = InstallArguments { gateway: Some("main".to_owned()), ..arguments() };
        assert_eq!(
            manifests(&arguments, None).unwrap_err().problem.help.as_deref(),
            Some("it looks like NAMESPACE/NAME")
        );
    }
}
