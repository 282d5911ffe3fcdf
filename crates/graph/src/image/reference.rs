//! What an image is called, as people write it and as registries know it.

use std::fmt;
use std::str::FromStr;

use super::Digest;

/// Docker Hub, which is meant where no registry is written.
const DOCKER_HUB: &str = "docker.io";
/// The longest repository name that registries take, in characters.
const LONGEST_REPOSITORY: usize = 255;
/// The longest tag, in characters.
const LONGEST_TAG: usize = 128;

/// The name of an image. Read with docker's rules: `nginx` means `docker.io/library/nginx`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image reference: {reason}")]
pub struct ReferenceError {
    /// The text that was to name an image.
    pub text: String,
    /// What is wrong with it, in words.
    pub reason: String,
}

impl ImageReference {
    /// The registry's host, with its port if one was written: `ghcr.io`, `localhost:5000`, `docker.io`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Whether its registry is on the machine that asks, by its name: nobody listens in on the way there, so TLS is not needed.
    pub fn is_of_this_machine(&self) -> bool {
        let host = self.registry.rsplit_once(':').map_or(self.registry.as_str(), |(host, _)| host);
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// The repository: `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was written. It counts more than the tag, which is then only information.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same image at this digest. The tag is kept as information.
    pub fn at(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// Registry and repository, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What to ask the registry for: the digest, else the tag, else `latest`.
    pub fn asked(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        read(text).map_err(|reason| ReferenceError { text: text.to_owned(), reason })
    }
}

fn read(text: &str) -> Result<ImageReference, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if let Some(space) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("it has {space:?} in it"));
    }
    if text.contains("://") {
        return Err("leave out what stands before the registry's host name, such as https://".to_owned());
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
        None => (text, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(read_tag(tag)?)),
        _ => (rest, None),
    };
    let (registry, repository) = split_name(name);
    check_registry(&registry)?;
    check_repository(&repository)?;
    Ok(ImageReference { registry, repository, tag, digest })
}

/// Docker's rule: what stands before the first slash is a host if it looks like one, which no part of a repository can.
fn split_name(name: &str) -> (String, String) {
    let (registry, repository) = match name.split_once('/') {
        Some((host, repository)) if host == "localhost" || host.contains(is_of_hosts) => (host, repository),
        _ => (DOCKER_HUB, name),
    };
    let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
    let official = registry == DOCKER_HUB && !repository.contains('/');
    (registry.to_ascii_lowercase(), if official { format!("library/{repository}") } else { repository.to_owned() })
}

fn is_of_hosts(c: char) -> bool {
    matches!(c, '.' | ':' | '[') || c.is_ascii_uppercase()
}

fn check_registry(registry: &str) -> Result<(), String> {
    let wrong = || format!("{registry:?} is not a host name with an optional port");
    // An address of the sixth version stands in brackets.
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            ("localhost", port)
        }
        None => registry.split_at(registry.find(':').unwrap_or(registry.len())),
    };
    let port_fits = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|n| n > 0),
        None => port.is_empty(),
    };
    let label_fits = |label: &str| {
        let allowed = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        allowed && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    if port_fits && host.split('.').all(label_fits) { Ok(()) } else { Err(wrong()) }
}

/// Parts of a to z and 0 to 9, which may be joined by one dot, one or two underlines, or any number of hyphens.
fn check_repository(repository: &str) -> Result<(), String> {
    if repository.is_empty() {
        return Err("the repository is missing".to_owned());
    }
    if repository.len() > LONGEST_REPOSITORY {
        return Err(format!("a repository's name has at most {LONGEST_REPOSITORY} characters"));
    }
    if repository.contains(|c: char| c.is_ascii_uppercase()) {
        return Err(format!("repositories are written in lower case, {repository:?} is not"));
    }
    for part in repository.split('/') {
        if part.is_empty() {
            return Err("two slashes follow each other, or it ends with one".to_owned());
        }
        if !part_fits(part) {
            return Err(format!("{part:?} can't be part of a repository's name"));
        }
    }
    Ok(())
}

fn part_fits(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let joined_well =
        part.split(plain).all(|joint| matches!(joint, "" | "." | "_" | "__") || joint.bytes().all(|byte| byte == b'-'));
    joined_well && part.starts_with(plain) && part.ends_with(plain)
}

fn read_tag(tag: &str) -> Result<String, String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if tag.is_empty() {
        return Err("the tag after the colon is missing".to_owned());
    }
    if tag.len() > LONGEST_TAG {
        return Err(format!("a tag has at most {LONGEST_TAG} characters"));
    }
    if !tag.starts_with(word) || !tag.chars().all(|c| word(c) || c == '.' || c == '-') {
        return Err(format!("{tag:?} can't be a tag: letters, digits, '_', '.' and '-', and not first '.' or '-'"));
    }
    Ok(tag.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_read_with_dockers_rules() {
        for (written, full) in [
            ("nginx", "docker.io/library/nginx"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("acme/web", "docker.io/acme/web"),
            ("index.docker.io/nginx", "docker.io/library/nginx"),
            ("ghcr.io/acme/web:1.4", "ghcr.io/acme/web:1.4"),
            ("GHCR.io/acme/web", "ghcr.io/acme/web"),
            ("localhost/web", "localhost/web"),
            ("localhost:5000/web", "localhost:5000/web"),
            ("localhost:5000/web:v1", "localhost:5000/web:v1"),
            ("localhost:5000", "docker.io/library/localhost:5000"),
            ("[::1]:5000/a/b/c", "[::1]:5000/a/b/c"),
            ("127.0.0.1:5000/a__b.c---d/e:_X.-", "127.0.0.1:5000/a__b.c---d/e:_X.-"),
        ] {
            let read: ImageReference = written.parse().unwrap();
            assert_eq!(read.to_string(), full);
            assert_eq!(full.parse(), Ok(read), "{full} is not read as it is written");
        }
    }

    #[test]
    fn a_digest_stands_after_the_tag_or_alone() {
        let both: ImageReference = format!("ghcr.io/acme/web:1.4@{DIGEST}").parse().unwrap();
        assert_eq!(
            (both.tag(), both.digest().map(|digest| digest.to_string())),
            (Some("1.4"), Some(DIGEST.to_owned()))
        );
        assert_eq!(both.asked(), DIGEST);
        let alone: ImageReference = format!("nginx@{DIGEST}").parse().unwrap();
        assert_eq!(alone.to_string(), format!("docker.io/library/nginx@{DIGEST}"));
    }

    #[test]
    fn without_a_tag_latest_is_asked_for() {
        assert_eq!("nginx".parse::<ImageReference>().unwrap().asked(), "latest");
    }

    #[test]
    fn what_names_no_image_is_refused_with_the_reason() {
        let long = format!("{}:1", "a".repeat(300));
        for (written, reason) in [
            ("", "empty"),
            ("https://ghcr.io/acme/web", "https://"),
            ("ghcr.io/acme/web ", "' '"),
            ("ghcr.io/", "repository is missing"),
            ("ghcr.io/acme//web", "two slashes"),
            ("ghcr.io/Acme/web", "lower case"),
            ("ghcr.io/acme/web:", "tag after the colon"),
            ("ghcr.io/acme/web:-1", "can't be a tag"),
            ("ghcr.io/acme/web@sha256:12", "64 digits"),
            ("ghcr.io/acme/web@latest", "begins with sha256:"),
            ("ghcr.io/acme/we___b", "can't be part"),
            ("ghcr.io/acme/../web", "can't be part"),
            ("ghcr.io/acme/web?x=1", "can't be part"),
            ("ghcr.io:99999/acme", "not a host name"),
            ("user:word@ghcr.io/acme/web", "begins with sha256:"),
            ("-a.io/acme/web", "not a host name"),
            ("[::1/acme/web", "not a host name"),
            (&long, "255"),
        ] {
            let error = written.parse::<ImageReference>().unwrap_err();
            assert!(error.reason.contains(reason), "{written}: {error}");
        }
    }
}
