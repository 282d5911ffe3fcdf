//! Cross-origin resource sharing, as the Fetch standard has it.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

/// Which pages of other origins may read answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// `https://app.example.org`, `https://*.example.org`, `*`. In lower case.
    pub origins: Vec<String>,
    /// The methods that pages may use: `GET, POST`.
    pub methods: HeaderValue,
    /// The fields that pages may set, as a list; empty for none.
    pub headers: HeaderValue,
    /// The fields that pages may read, as a list; empty for none.
    pub expose: HeaderValue,
    /// Whether cookies and the like are sent along.
    pub credentials: bool,
    /// How long a browser may rely on it.
    pub max_age: Duration,
}

/// What is said to the page that asked.
#[derive(Clone, Debug)]
pub(crate) struct Permission {
    fields: Vec<(HeaderName, HeaderValue)>,
}

/// Says on an answer what a page may, in the place of what the service says; caches must not hand the answer for one origin to another.
pub(crate) fn settle(headers: &mut HeaderMap, permission: Option<Permission>) {
    for name in [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS] {
        headers.remove(name);
    }
    headers.append(VARY, HeaderValue::from_static("Origin"));
    headers.extend(permission.into_iter().flat_map(|permission| permission.fields));
}

impl Cors {
    /// What is said to the page that sent a request; `None` if none did, or one that is let nothing.
    pub(crate) fn permission(&self, headers: &HeaderMap) -> Option<Permission> {
        let origin = headers.get(ORIGIN)?;
        let allowed = self.allowed(origin)?;
        let mut fields = vec![(ACCESS_CONTROL_ALLOW_ORIGIN, allowed)];
        if self.credentials {
            fields.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        }
        if !self.expose.is_empty() {
            fields.push((ACCESS_CONTROL_EXPOSE_HEADERS, self.expose.clone()));
        }
        Some(Permission { fields })
    }

    /// The header of the answer to the question whether a page may send a request, if this is one. One that may not gets no permission.
    pub(crate) fn preflight<B>(&self, request: &Request<B>) -> Option<HeaderMap> {
        let headers = request.headers();
        let asks = request.method() == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let origin = headers.get(ORIGIN).filter(|_| asks)?;
        let mut answer = HeaderMap::new();
        answer.insert(VARY, HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"));
        if let Some(allowed) = self.allowed(origin) {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            answer.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
            answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(self.max_age.as_secs()));
            if !self.headers.is_empty() {
                answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone());
            }
            if self.credentials {
                answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
        Some(answer)
    }

    /// How an origin is let in, if it is.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        let text = origin.to_str().ok()?.to_ascii_lowercase();
        let fits = |pattern: &String| match pattern.split_once("*.") {
            // At least one whole label stands for the star.
            Some((scheme, domain)) => text
                .strip_prefix(scheme)
                .and_then(|host| host.strip_suffix(domain))
                .and_then(|label| label.strip_suffix('.'))
                .is_some_and(|labels| !labels.is_empty() && labels.bytes().all(is_of_host)),
            None => *pattern == text,
        };
        if self.origins.iter().any(|pattern| pattern == "*") {
            // With credentials a star means nothing; whoever says both is not let in by it.
            return (!self.credentials).then(|| HeaderValue::from_static("*"));
        }
        self.origins.iter().any(fits).then(|| origin.clone())
    }
}

const fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str], credentials: bool) -> Cors {
        Cors {
            origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            methods: HeaderValue::from_static("GET, PUT"),
            headers: HeaderValue::from_static("x-token"),
            expose: HeaderValue::from_static(""),
            credentials,
            max_age: Duration::from_secs(60),
        }
    }

    #[test]
    fn an_origin_is_let_in_by_its_name_or_by_the_domain_that_it_is_below() {
        let cors = cors(&["https://app.example.org", "https://*.example.net", "http://localhost:5173"], true);
        let allowed = |origin: &'static str| cors.allowed(&HeaderValue::from_static(origin)).is_some();
        for origin in [
            "https://app.example.org",
            "https://APP.example.org",
            "https://a.example.net",
            "https://a.b.example.net",
            "http://localhost:5173",
        ] {
            assert!(allowed(origin), "{origin}");
        }
        for origin in [
            "http://app.example.org",
            "https://app.example.org:444",
            "https://app.example.org.evil.example",
            "https://example.net",
            "https://.example.net",
            "https://evil.example/.example.net",
            "https://evilexample.net",
            "https://evil@a.example.net",
            "null",
            "",
        ] {
            assert!(!allowed(origin), "{origin}");
        }
    }

    #[test]
    fn everybody_is_let_in_without_credentials_only() {
        let origin = HeaderValue::from_static("https://a.example");
        assert_eq!(cors(&["*"], false).allowed(&origin), Some(HeaderValue::from_static("*")));
        assert_eq!(cors(&["*"], true).allowed(&origin), None);
    }
}
