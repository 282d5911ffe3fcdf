//! Secrets: where they may not stand, and texts that should be one.

use freehold_problem::Code;
use freehold_spec::part::output::Secrecy;
use freehold_spec::{EnvName, PartKind, Spanned, Template};

use crate::diagnostic::Diagnostic;
use crate::placeholder::is_placeholder;
use crate::scope::Scope;

/// Texts that nobody means as a secret, but that may be right elsewhere.
const WEAK: [&str; 10] =
    ["password", "passwort", "passw0rd", "secret", "token", "admin", "test", "default", "123456", "example"];

pub(super) fn check(scope: &mut Scope<'_>) {
    made_public(scope);
    literals(scope);
    given_to_browsers(scope);
    unused(scope);
}

/// What everybody may read of a route.
fn made_public(scope: &mut Scope<'_>) {
    for (name, route) in &scope.app.routes {
        for text in route.public_texts() {
            let is_host = route.hosts.iter().chain(&route.redirect_from).any(|host| host.span == text.span);
            for reference in text.references() {
                let Some((_, output)) = reference.value.output() else { continue };
                let Secrecy::Secret(what) = output.row().secrecy else { continue };
                let (whose, note, help) = if is_host {
                    let note = "host names stand in DNS, in certificates and in every log on the way";
                    ("a host name", note, "make the host name from `${stack.name}` and `${target.domain}`")
                } else {
                    let note = "clients and everybody who may read the gateway's routes would see it";
                    ("a text", note, "let the service that needs it read it from a variable")
                };
                let message = format!("{whose} of route {name} would make `${{{}}}` public", reference.value);
                let diagnostic = Diagnostic::error(Code::SecretMadePublic, message).at(reference.span, what).note(note);
                scope.report(diagnostic.help(help));
            }
        }
    }
}

/// Texts in the environment that are, or should be, secret.
fn literals(scope: &mut Scope<'_>) {
    for program in scope.programs() {
        for (name, value) in program.env {
            let Some(text) = value.literal() else { continue };
            let found = placeholder(name, value, text).or_else(|| in_browsers(name, value, text));
            if let Some(diagnostic) = found.or_else(|| in_the_open(name, value, text)) {
                scope.report(diagnostic);
            }
        }
    }
}

/// How the names of variables end that usually are a secret.
const SECRET_ENDINGS: [&str; 7] = ["KEY", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "TOKEN", "CREDENTIALS"];
/// What stands before `KEY` in the names of those that are none: keys that everybody may have, and keys that unlock nothing.
const OTHER_KEYS: [&str; 16] = [
    "CACHE",
    "FOREIGN",
    "GROUP",
    "HASH",
    "IDEMPOTENCY",
    "INDEX",
    "ORDER",
    "PARTITION",
    "POSTHOG",
    "PRIMARY",
    "PUBLIC",
    "PUBLISHABLE",
    "ROUTING",
    "SITE",
    "SORT",
    "TRANSLATION",
];
/// How the names of variables begin whose values are made public anyway: they are compiled into what browsers load.
const FOR_BROWSERS: [&str; 9] = [
    "EXPO_PUBLIC_",
    "GATSBY_",
    "NEXT_PUBLIC_",
    "NG_APP_",
    "NUXT_PUBLIC_",
    "PUBLIC_",
    "REACT_APP_",
    "VITE_",
    "VUE_APP_",
];
/// How the names of servers' variables begin that look as if they were for browsers: public keys may well be kept as secrets.
const PUBLIC_KEY: &str = "PUBLIC_KEY";
/// How the names of variables end that are a secret wherever they are, and how keys begin that are never published.
const NEVER_PUBLIC: [&str; 2] = ["SECRET", "PASSWORD"];
const PRIVATE: [&str; 3] = ["sk_", "rk_", "whsec_"];
/// The least length of such a key, in bytes: `sk_SK` is Slovak.
const SHORTEST: usize = 12;
const COMPILED_IN: &str = "variables of this name are compiled into the files that browsers load";
const LET_THE_SERVICE: &str = "let the service use the secret, and the browser ask the service";
/// How keys begin that are made to be published.
const PUBLISHABLE: [&str; 3] = ["pk_live_", "pk_test_", "phc_"];

/// Whether a variable of this name usually is a secret.
fn names_a_secret(name: &EnvName) -> bool {
    let name = name.as_str().to_ascii_uppercase();
    let ends = |ending: &str| name == ending || name.ends_with(&format!("_{ending}"));
    let other = OTHER_KEYS.iter().any(|key| ends(&format!("{key}_KEY")));
    SECRET_ENDINGS.into_iter().any(ends) && !other
}

/// Whether everybody may have a value, whatever its variable is called.
fn is_publishable(name: &EnvName, text: &str) -> bool {
    PUBLISHABLE.iter().any(|beginning| text.starts_with(beginning)) || is_for_browsers(name.as_str())
}

/// Whether a variable of this name is compiled into what browsers load.
pub fn is_for_browsers(name: &str) -> bool {
    FOR_BROWSERS.iter().any(|beginning| name.starts_with(beginning)) && !name.starts_with(PUBLIC_KEY)
}

/// Whether a text that browsers would load is a secret; a switch is none, whatever it is called.
fn is_private(name: &EnvName, text: &str) -> bool {
    let key = text.len() >= SHORTEST && PRIVATE.iter().any(|beginning| text.starts_with(beginning));
    let pem = text.starts_with("-----BEGIN") && text.contains("PRIVATE KEY");
    let value = !matches!(text, "" | "true" | "false" | "0" | "1");
    key || pem || (value && NEVER_PUBLIC.iter().any(|ending| name.as_str().ends_with(&format!("_{ending}"))))
}

/// Secrets in variables that are compiled into what browsers load.
fn given_to_browsers(scope: &mut Scope<'_>) {
    for program in scope.programs() {
        for (name, value) in program.env.iter().filter(|(name, _)| is_for_browsers(name.as_str())) {
            for reference in value.references() {
                let Some((_, output)) = reference.value.output() else { continue };
                let Secrecy::Secret(what) = output.row().secrecy else { continue };
                let message = format!("{name} would give `${{{}}}` to every browser", reference.value);
                let diagnostic =
                    Diagnostic::error(Code::SecretMadePublic, message).at(reference.span, what).note(COMPILED_IN);
                scope.report(diagnostic.help(LET_THE_SERVICE));
            }
        }
    }
}

/// Whether a text of a variable is, or should be, a secret.
pub fn looks_secret(name: &EnvName, text: &str) -> bool {
    let named = names_a_secret(name) && !is_publishable(name, text);
    named || has_password(text) || is_placeholder(text) || (is_for_browsers(name.as_str()) && is_private(name, text))
}

fn placeholder(name: &EnvName, value: &Spanned<Template>, text: &str) -> Option<Diagnostic> {
    let bare: String = text.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    let is_meant = names_a_secret(name);
    // In a text that nobody would take for a secret, a word says little.
    let alone = !text.contains(char::is_whitespace) || (text.starts_with('<') && text.ends_with('>'));
    let refused = ((is_meant || alone) && is_placeholder(text)) || (is_meant && WEAK.contains(&bare.as_str()));
    refused.then(|| {
        Diagnostic::error(Code::PlaceholderSecret, format!("{name} is set to the placeholder {text:?}"))
            .at(value.span, "not meant to be deployed")
            .help(format!("use a secret: `[secret.{0}]`, then {name} = \"${{secret.{0}}}\"", secret_name(name)))
    })
}

fn in_browsers(name: &EnvName, value: &Spanned<Template>, text: &str) -> Option<Diagnostic> {
    if !is_for_browsers(name.as_str()) || !is_private(name, text) {
        return None;
    }
    let diagnostic = Diagnostic::error(Code::SecretMadePublic, format!("{name} would be given to every browser"))
        .at(value.span, "this is a secret")
        .note(COMPILED_IN);
    Some(diagnostic.help(LET_THE_SERVICE))
}

fn in_the_open(name: &EnvName, value: &Spanned<Template>, text: &str) -> Option<Diagnostic> {
    let why = if has_password(text) {
        "a password stands in this URL"
    } else if names_a_secret(name) && !text.is_empty() && !is_publishable(name, text) {
        "the name says that this is a secret"
    } else {
        return None;
    };
    let diagnostic =
        Diagnostic::warning(Code::PlaintextSecret, format!("{name} stands in the definition for all to read"))
            .at(value.span, why)
            .note("the definition is kept in Git, in the store, and is shown in plans");
    Some(diagnostic.help(format!("use a secret: `[secret.{0}]`, then {name} = \"${{secret.{0}}}\"", secret_name(name))))
}

/// `scheme://user:password@host`.
fn has_password(text: &str) -> bool {
    let authority = text.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    let user = authority.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
    user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty())
}

fn secret_name(variable: &EnvName) -> String {
    let words: Vec<String> =
        variable.as_str().split('_').filter(|w| !w.is_empty()).map(str::to_ascii_lowercase).collect();
    words.join("-")
}

/// Secrets that no program gets.
fn unused(scope: &mut Scope<'_>) {
    // What couldn't be read may use it.
    if !scope.knows_all() {
        return;
    }
    for name in scope.unused(PartKind::Secret) {
        let Some(secret) = scope.app.secrets.get(name) else { continue };
        let diagnostic = Diagnostic::warning(Code::UnusedSecret, format!("nothing uses the secret {name}"))
            .at(secret.span, "")
            .help(format!("set a variable to `${{secret.{name}}}`, or leave the secret out"));
        scope.report(diagnostic);
    }
}
