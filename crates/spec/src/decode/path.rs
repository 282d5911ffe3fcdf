//! Paths: of the app's files, in a container, of URLs.

use serde_json::{Value as Json, json};

use super::error::DecodeErrorKind;
use super::text::{Rejection, TextKind, without_nul};

/// A file or folder below the app's own folder.
pub(crate) struct RelativePath;

impl TextKind for RelativePath {
    type Value = String;

    fn schema() -> Json {
        json!({ "pattern": "^(?!/)(?!(.*/)?\\.\\.?(/|$)).+$" })
    }

    fn parse(text: &str) -> Result<String, Rejection> {
        let rejection = |why: &str| Rejection::new(DecodeErrorKind::BadPath, format!("{text:?} {why}"));
        without_nul(text)?;
        if text.starts_with('/') {
            return Err(rejection("is an absolute path").help("write it relative to the folder of freehold.toml"));
        }
        let parts: Vec<&str> = text.trim_end_matches('/').split('/').collect();
        if parts.contains(&"..") {
            return Err(rejection("leaves the app's folder"));
        }
        if parts.iter().any(|part| part.is_empty() || *part == ".") {
            return Err(rejection("has an empty part or a `.` in it")
                .help("name each file or folder: \"static\", \"target/release/app\""));
        }
        Ok(parts.join("/"))
    }
}

/// The path of a URL, without a query.
pub(crate) struct UrlPath;

impl TextKind for UrlPath {
    type Value = String;

    fn schema() -> Json {
        json!({ "pattern": "^/[^\\s?#]*$" })
    }

    fn parse(text: &str) -> Result<String, Rejection> {
        let rejection = |why: &str| Rejection::new(DecodeErrorKind::BadPath, format!("{text:?} {why}"));
        if !text.starts_with('/') {
            return Err(rejection("doesn't start with a slash")
                .help(format!("write {:?}", format!("/{}", text.trim_end_matches('/')))));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#')) {
            return Err(rejection("has a character in it that the path of a URL doesn't have"));
        }
        if text.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(rejection("goes up in the tree"));
        }
        Ok(text.to_owned())
    }
}

/// The path below which a rule of a route holds; it ends with a slash only if it is nothing but one.
pub(crate) struct Prefix;

impl TextKind for Prefix {
    type Value = String;

    fn schema() -> Json {
        json!({ "pattern": "^/([^\\s?#]*[^\\s?#/])?$" })
    }

    fn parse(text: &str) -> Result<String, Rejection> {
        let path = UrlPath::parse(text)?;
        if path.len() > 1 && path.ends_with('/') {
            let shorter = path.trim_end_matches('/');
            let rejection = Rejection::new(DecodeErrorKind::BadPath, format!("{text:?} ends with a slash"));
            return Err(rejection.help(format!("{shorter:?} fits the path itself and everything below it")));
        }
        Ok(path)
    }
}

/// A folder in a container. It ends with no slash.
pub(crate) struct AbsolutePath;

impl TextKind for AbsolutePath {
    type Value = String;

    fn schema() -> Json {
        json!({ "pattern": "^(/(?!\\.\\.?(/|$))[^/:]+)+/?$" })
    }

    fn parse(text: &str) -> Result<String, Rejection> {
        let rejection = |why: &str| Rejection::new(DecodeErrorKind::BadPath, format!("{text:?} {why}"));
        without_nul(text)?;
        let Some(inner) = text.strip_prefix('/') else {
            return Err(rejection("is not an absolute path").help(format!(
                "write where the program finds it: {:?}",
                format!("/{}", text.trim_start_matches("./"))
            )));
        };
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() {
            return Err(rejection("is the whole file system").help("name the folders: \"/tmp\", \"/var/cache/app\""));
        }
        if inner.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(rejection("has an empty part, a `.` or a `..` in it"));
        }
        if inner.contains(':') || inner.chars().any(char::is_control) {
            return Err(rejection("has a character in it that a folder in a container can't have"));
        }
        // Shared memory is the one folder of the kernel's that programs are meant to write.
        let kernel = matches!(inner.split('/').next(), Some("proc" | "sys" | "dev")) && inner != "dev/shm";
        if kernel {
            return Err(rejection("belongs to the kernel"));
        }
        Ok(format!("/{inner}"))
    }
}
