//! The questions that lead from a reference to a digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold_graph::SecretText;
use freehold_graph::image::{Digest, ImageReference};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::Deserialize;

use crate::credentials::Login;
use crate::error::LinkFault;
use crate::exchange::{Exchange, Question, RegistryResponse, plain_refused};
use crate::manifest::{ACCEPTED, Manifest, platform_of_config};
use crate::token::{self, Challenge};
use crate::{Credentials, Platform, RegistryError};

/// How many images of an index are looked into whose platform the index doesn't tell.
const MOST_UNTOLD: usize = 8;
/// How many tags are named where the one that was asked for doesn't exist.
const NEAR_TAGS: usize = 3;
/// The longest text of a registry that is passed on, in characters.
const LONGEST_SAYING: usize = 200;
const JSON: &str = "application/json";

/// Container registries, as one target's credentials let us see them.
pub struct Registry {
    credentials: Credentials,
    exchange: Exchange,
    insecure: BTreeSet<String>,
    /// By registry and repository. A token that has run out is found out by the registry's answer.
    tokens: Mutex<BTreeMap<(String, String), SecretText>>,
}

/// An image that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// As it was asked for, at the digest that was found.
    pub reference: ImageReference,
    /// Of the index, or of the manifest where there is one image only.
    pub digest: Digest,
    /// The platforms that it was made for; at least those that were asked for.
    pub platforms: BTreeSet<Platform>,
}

impl Resolved {
    /// What goes into a Pod: `registry/repository@sha256:…`.
    pub fn pinned(&self) -> String {
        format!("{}@{}", self.reference.name(), self.digest)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("credentials", &self.credentials)
            .field("insecure", &self.insecure)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Uses these credentials and the system's certificate authorities. The insecure hosts (`host` or `host:port`) may be
    /// asked over plain HTTP where they don't speak TLS; so may loopback.
    pub fn new(credentials: Credentials, insecure_hosts: BTreeSet<String>) -> Result<Self, RegistryError> {
        let exchange = Exchange::new(insecure_hosts.clone(), &[])?;
        Ok(Self { credentials, exchange, insecure: insecure_hosts, tokens: Mutex::default() })
    }

    /// Trusts these certificate authorities (PEM) as well as the system's.
    pub fn trusting(mut self, authorities: &str) -> Result<Self, RegistryError> {
        self.exchange = Exchange::new(self.insecure.clone(), authorities.as_bytes())?;
        Ok(self)
    }

    /// Finds the digest of an image, and checks that it exists for each of these platforms. A reference with a digest keeps it.
    pub async fn resolve(
        &self,
        reference: &ImageReference,
        platforms: &BTreeSet<Platform>,
    ) -> Result<Resolved, RegistryError> {
        let mut visit = Visit::new(self, reference);
        let (digest, manifest) = visit.manifest().await?;
        let has = visit.platforms(manifest).await?;
        let missing: BTreeSet<Platform> = platforms.difference(&has).cloned().collect();
        if !missing.is_empty() {
            return Err(RegistryError::NotForPlatform { reference: Box::new(reference.clone()), missing, has });
        }
        Ok(Resolved { reference: reference.at(digest), digest, platforms: has })
    }

    fn remembered(&self, reference: &ImageReference) -> Option<HeaderValue> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(&place(reference)).and_then(token::bearer)
    }

    fn remember(&self, reference: &ImageReference, token: SecretText) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(place(reference), token);
    }
}

fn place(reference: &ImageReference) -> (String, String) {
    (reference.registry().to_owned(), reference.repository().to_owned())
}

/// All that is asked about one image.
struct Visit<'a> {
    registry: &'a Registry,
    reference: &'a ImageReference,
    login: Option<&'a Login>,
    /// Known after the first answer.
    scheme: Option<&'static str>,
    authorization: Option<HeaderValue>,
}

impl<'a> Visit<'a> {
    fn new(registry: &'a Registry, reference: &'a ImageReference) -> Self {
        let login = registry.credentials.of(reference);
        Self { registry, reference, login, scheme: None, authorization: registry.remembered(reference) }
    }

    /// The manifest that the reference names, and its digest.
    async fn manifest(&mut self) -> Result<(Digest, Manifest), RegistryError> {
        let asked = self.reference.asked();
        let what = format!("the manifest of {}", self.reference);
        let answer = self.get(&format!("manifests/{asked}"), &what, ACCEPTED).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(self.missing().await);
        }
        let answer = self.granted(answer)?;
        let header = answer.headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
        let announced = self.reference.digest().or_else(|| header.and_then(|digest| digest.parse().ok()));
        let digest = self.checked(&answer, announced, &what)?;
        let manifest = Manifest::read(&answer.body).map_err(|why| self.unusable(&answer, &what, why))?;
        Ok((digest, manifest))
    }

    async fn platforms(&mut self, manifest: Manifest) -> Result<BTreeSet<Platform>, RegistryError> {
        match manifest {
            Manifest::Image { config } => Ok(BTreeSet::from([self.platform(config).await?])),
            Manifest::Index { platforms, untold } => {
                let mut all: BTreeSet<Platform> = platforms.into_iter().collect();
                for digest in untold.into_iter().take(MOST_UNTOLD) {
                    let what = format!("the manifest {digest} in the index of {}", self.reference);
                    let answer = self.existing(&format!("manifests/{digest}"), digest, &what, ACCEPTED).await?;
                    // Other artifacts may be listed in an index too.
                    if let Ok(Manifest::Image { config }) = Manifest::read(&answer.body) {
                        all.insert(self.platform(config).await?);
                    }
                }
                Ok(all)
            }
        }
    }

    /// The platform in an image's config.
    async fn platform(&mut self, config: Digest) -> Result<Platform, RegistryError> {
        let what = format!("the config of {}", self.reference);
        let answer = self.existing(&format!("blobs/{config}"), config, &what, "*/*").await?;
        platform_of_config(&answer.body).map_err(|why| self.unusable(&answer, &what, why))
    }

    /// Content that something else in the registry says it has.
    async fn existing(
        &mut self,
        path: &str,
        digest: Digest,
        what: &str,
        accept: &'static str,
    ) -> Result<RegistryResponse, RegistryError> {
        let answer = self.get(path, what, accept).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(self.unusable(
                &answer,
                what,
                format!("the image is incomplete, {digest} is missing: push it again"),
            ));
        }
        let answer = self.granted(answer)?;
        self.checked(&answer, Some(digest), what)?;
        Ok(answer)
    }

    /// Which part of the reference doesn't exist.
    async fn missing(&mut self) -> RegistryError {
        let reference = Box::new(self.reference.clone());
        let what = format!("the tags of {}", self.reference.name());
        let tags = match self.get("tags/list?n=1000", &what, JSON).await {
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => return RegistryError::NoRepository(reference),
            Ok(answer) if answer.status == StatusCode::OK => tags(&answer.body),
            // Not every registry lists them, or not to everybody.
            _ => Vec::new(),
        };
        match self.reference.digest() {
            Some(_) => RegistryError::NoDigest(reference),
            None => RegistryError::NoTag { near: nearest(&self.reference.asked(), tags), reference },
        }
    }

    /// Asks the registry about this repository; a second time if it wants to know first who we are.
    async fn get(&mut self, path: &str, what: &str, accept: &'static str) -> Result<RegistryResponse, RegistryError> {
        let first = self.ask(path, what, accept).await?;
        if first.status != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        self.authorization = self.authorise(&first).await?;
        self.ask(path, what, accept).await
    }

    async fn ask(&mut self, path: &str, what: &str, accept: &'static str) -> Result<RegistryResponse, RegistryError> {
        let host = match self.reference.registry() {
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        let known = self.scheme.as_ref().map(std::slice::from_ref);
        let mut schemes = known.unwrap_or_else(|| self.registry.exchange.schemes(host)).iter();
        let mut scheme = schemes.next().copied().unwrap_or("https");
        loop {
            let address = format!("{scheme}://{host}/v2/{}/{path}", self.reference.repository());
            let uri = address.parse::<Uri>().map_err(|error| RegistryError::Unreachable {
                host: host.to_owned(),
                why: error.to_string(),
                fault: LinkFault::Connection,
            })?;
            let question = Question { uri, what, accept, authorization: self.authorization.clone() };
            match (self.registry.exchange.ask(question).await, schemes.next()) {
                (Err(RegistryError::Unreachable { fault, .. }), Some(next)) if fault != LinkFault::Certificate => {
                    scheme = next;
                }
                (answer, _) => {
                    self.scheme = answer.is_ok().then_some(scheme);
                    return answer;
                }
            }
        }
    }

    /// What to show the registry, after it refused.
    async fn authorise(&self, refusal: &RegistryResponse) -> Result<Option<HeaderValue>, RegistryError> {
        match Challenge::from_headers(&refusal.headers) {
            Some(Challenge::Basic) => match self.login.and_then(token::basic) {
                Some(basic) => Ok(Some(basic)),
                None => Err(self.unauthorised(refusal)),
            },
            Some(Challenge::Bearer { realm, service }) => {
                let token = self.token(&realm, service.as_deref()).await?;
                let bearer = token::bearer(&token);
                self.registry.remember(self.reference, token);
                Ok(bearer)
            }
            None => Err(self.unauthorised(refusal)),
        }
    }

    async fn token(&self, realm: &Uri, service: Option<&str>) -> Result<SecretText, RegistryError> {
        let exchange = &self.registry.exchange;
        if !exchange.may_lead_to(self.reference.registry(), realm) {
            return Err(plain_refused(realm));
        }
        let what = format!("a token for {}", self.reference.name());
        let unusable = |host: &str, why: &str| RegistryError::Unusable {
            host: host.to_owned(),
            what: what.clone(),
            why: why.to_owned(),
        };
        let uri = token::token_address(realm, service, self.reference.repository())
            .ok_or_else(|| unusable(self.reference.registry(), "it names no address for it"))?;
        let authorization = self.login.and_then(token::basic);
        let answer = exchange.ask(Question { uri, what: &what, accept: JSON, authorization }).await?;
        let answer = self.granted(answer)?;
        token::token(&answer.body).ok_or_else(|| unusable(&answer.host, "there is no token in the answer"))
    }

    /// The answer, if it is one; else what its status means.
    fn granted(&self, answer: RegistryResponse) -> Result<RegistryResponse, RegistryError> {
        let host = || answer.host.clone();
        Err(match answer.status {
            StatusCode::OK => return Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => self.unauthorised(&answer),
            StatusCode::TOO_MANY_REQUESTS => RegistryError::TooManyRequests {
                host: host(),
                retry_after: retry_after(&answer.headers, Utc::now()),
                says: says(&answer.body),
            },
            status => RegistryError::Failing { host: host(), status: status.as_u16(), says: says(&answer.body) },
        })
    }

    fn unauthorised(&self, answer: &RegistryResponse) -> RegistryError {
        RegistryError::Unauthorised {
            registry: self.reference.registry().to_owned(),
            repository: self.reference.repository().to_owned(),
            user: self.login.map(|login| login.user.clone()),
            says: says(&answer.body),
        }
    }

    fn checked(
        &self,
        answer: &RegistryResponse,
        announced: Option<Digest>,
        what: &str,
    ) -> Result<Digest, RegistryError> {
        let found = Digest::of(&answer.body);
        match announced {
            Some(announced) if announced != found => Err(RegistryError::WrongDigest {
                registry: self.reference.registry().to_owned(),
                what: what.to_owned(),
                announced,
                found,
            }),
            _ => Ok(found),
        }
    }

    fn unusable(&self, answer: &RegistryResponse, what: &str, why: String) -> RegistryError {
        RegistryError::Unusable { host: answer.host.clone(), what: what.to_owned(), why }
    }
}

/// What a registry says about a failure, in one line that is safe to print.
fn says(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Saying>,
    }
    #[derive(Deserialize)]
    struct Saying {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let errors: Errors = serde_json::from_slice(body).ok()?;
    let first = errors.errors.into_iter().next()?;
    let text = if first.message.is_empty() { first.code } else { first.message };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_SAYING).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Seconds, or the time of day when to come back.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = DateTime::parse_from_rfc2822(text).ok()?;
    Some((then.to_utc() - now).to_std().unwrap_or_default())
}

fn tags(body: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct List {
        tags: Option<Vec<String>>,
    }
    serde_json::from_slice::<List>(body).ok().and_then(|list| list.tags).unwrap_or_default()
}

/// The tags most like the one that was asked for, the most alike first.
fn nearest(asked: &str, mut tags: Vec<String>) -> Vec<String> {
    tags.sort_by(|one, other| {
        let alike = |tag: &str| strsim::jaro_winkler(asked, tag);
        alike(other).total_cmp(&alike(one)).then_with(|| one.cmp(other))
    });
    tags.truncate(NEAR_TAGS);
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_to_wait_is_a_figure_or_a_time() {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        let wait = |value: &'static str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]), now)
        };
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("Sun, 01 Mar 2026 12:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(wait("Sun, 01 Mar 2026 11:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn what_a_registry_says_is_one_short_line() {
        let long = format!(r#"{{"errors": [{{"code": "DENIED", "message": "a\u001b[2J\n{}"}}]}}"#, "b".repeat(500));
        let text = says(long.as_bytes()).unwrap();
        assert!(text.starts_with("a [2J b") && text.chars().count() == LONGEST_SAYING, "{text}");
        assert_eq!(says(br#"{"errors": [{"code": "DENIED"}]}"#).as_deref(), Some("DENIED"));
        assert_eq!(says(b"<html>"), None);
    }

    #[test]
    fn the_nearest_tags_come_first() {
        let tags = ["latest", "1.4.0", "1.3.0", "2.0.0", "v1.4"].map(str::to_owned).to_vec();
        assert_eq!(nearest("1.4", tags), ["v1.4", "1.4.0", "1.3.0"]);
    }
}
