//! What a registry asks for with status 401: a password, or a token of the service that it names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freehold_graph::SecretText;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, Uri};
use serde::Deserialize;

use crate::credentials::Login;

/// What to show.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password, each time.
    Basic,
    Bearer {
        /// Where to get it.
        realm: Uri,
        service: Option<String>,
    },
}

impl Challenge {
    /// The one to answer: a token rather than the password itself.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for header in headers.get_all(WWW_AUTHENTICATE) {
            let Ok(challenges) = http_auth::parse_challenges(header.to_str().unwrap_or_default()) else { continue };
            for challenge in challenges {
                let parameter = |name: &str| {
                    let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                    found.map(|(_, value)| value.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    let realm = parameter("realm").and_then(|realm| realm.parse::<Uri>().ok());
                    if let Some(realm) = realm.filter(|realm| matches!(realm.scheme_str(), Some("https" | "http"))) {
                        return Some(Self::Bearer { realm, service: parameter("service") });
                    }
                } else if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
            }
        }
        basic
    }
}

/// Where to ask for a token to pull from a repository.
pub(crate) fn token_address(realm: &Uri, service: Option<&str>, repository: &str) -> Option<Uri> {
    let mut query = form_urlencoded::Serializer::new(realm.query().unwrap_or_default().to_owned());
    if let Some(service) = service {
        query.append_pair("service", service);
    }
    query.append_pair("scope", &format!("repository:{repository}:pull"));
    format!("{}://{}{}?{}", realm.scheme_str()?, realm.authority()?, realm.path(), query.finish()).parse().ok()
}

/// The value of `Authorization` for a login.
pub(crate) fn basic(login: &Login) -> Option<HeaderValue> {
    let pair = SecretText::new(format!("{}:{}", login.user, login.password.reveal()));
    header("Basic", &SecretText::new(STANDARD.encode(pair.reveal())))
}

/// The value of `Authorization` for a token.
pub(crate) fn bearer(token: &SecretText) -> Option<HeaderValue> {
    header("Bearer", token)
}

fn header(scheme: &str, word: &SecretText) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("{scheme} {}", word.reveal())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The token in a token service's answer.
pub(crate) fn token(body: &[u8]) -> Option<SecretText> {
    #[derive(Deserialize)]
    struct Granted {
        token: Option<String>,
        access_token: Option<String>,
    }
    let granted: Granted = serde_json::from_slice(body).ok()?;
    let token = granted.token.filter(|token| !token.is_empty()).or(granted.access_token)?;
    (!token.is_empty()).then(|| SecretText::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(values: &[&'static str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(value));
        }
        Challenge::from_headers(&headers)
    }

    #[test]
    fn a_token_is_preferred_to_the_password() {
        let bearer =
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.docker.io/token".parse().unwrap(),
            service: Some("registry.docker.io".to_owned()),
        };
        assert_eq!(challenge(&[r#"Basic realm="x""#, bearer]), Some(expected));
        assert_eq!(challenge(&[r#"basic realm="x""#]), Some(Challenge::Basic));
    }

    #[test]
    fn what_is_no_challenge_is_passed_over() {
        assert_eq!(challenge(&[]), None);
        assert_eq!(challenge(&["Negotiate", r#"Bearer realm="nowhere""#, "???"]), None);
        assert_eq!(challenge(&["Bearer", r#"Basic realm="x""#]), Some(Challenge::Basic));
    }

    #[test]
    fn the_address_of_a_token_names_service_and_repository() {
        let realm = "https://auth.example.com/token?a=b".parse().unwrap();
        let address = token_address(&realm, Some("my registry"), "acme/web").unwrap();
        assert_eq!(
            address,
            "https://auth.example.com/token?a=b&service=my+registry&scope=repository%3Aacme%2Fweb%3Apull"
        );
    }

    #[test]
    fn a_token_has_either_name() {
        for (body, expected) in [
            (r#"{"token":"a"}"#, Some("a")),
            (r#"{"access_token":"b"}"#, Some("b")),
            (r#"{"token":""}"#, None),
            ("x", None),
        ] {
            assert_eq!(token(body.as_bytes()).as_ref().map(SecretText::reveal), expected, "{body}");
        }
    }

    #[test]
    fn what_is_shown_is_not_printed() {
        let login = Login { user: "u".to_owned(), password: SecretText::new("geheim") };
        assert_eq!(basic(&login).unwrap(), "Basic dTpnZWhlaW0=");
        assert_eq!(format!("{:?}", basic(&login).unwrap()), "Sensitive");
    }
}
