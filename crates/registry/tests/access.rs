//! Passwords, tokens and certificates.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use freehold_problem::Code;
use freehold_registry::{LinkFault, RegistryError};
use rcgen::{CertifiedKey, KeyPair};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;

use crate::setting::{Server, Storage, answering, as_nobody, as_user, http, linux, storage};

/// `octo` with the password `right`, bcrypt.
const PASSWORDS: &str = "octo:$2b$05$abcdefghijklmnopqrstuu8xaCxxL82bnl.UY74PMksDxIJShppPC\n";

fn with_passwords(storage: &Storage) -> Server {
    let file = storage.folder().join("passwords");
    fs::write(&file, PASSWORDS).unwrap();
    storage.serve(&format!("auth: {{htpasswd: {{realm: tests, path: '{}'}}}}", file.display()), "")
}

#[tokio::test]
async fn the_right_password_lets_us_in() {
    let Some(storage) = storage("the_right_password_lets_us_in") else { return };
    let (digest, _) = storage.open().push_image("acme/web", Some("1.4"), "amd64").await;
    let server = with_passwords(&storage);
    let registry = as_user(&server.host, "octo", "right");
    let resolved = registry.resolve(&server.reference("acme/web:1.4"), &linux(&["amd64"])).await.unwrap();
    assert_eq!(resolved.digest, digest);
    let error = registry.resolve(&server.reference("acme/web:1.5"), &linux(&[])).await.unwrap_err();
    assert!(error.help().contains("1.4"), "{}", error.help());
}

#[tokio::test]
async fn a_wrong_password_is_an_error_that_names_the_user_and_not_the_password() {
    let Some(storage) = storage("a_wrong_password_is_an_error_that_names_the_user_and_not_the_password") else {
        return;
    };
    storage.open().push_image("acme/web", Some("1.4"), "amd64").await;
    let server = with_passwords(&storage);
    let registry = as_user(&server.host, "octo", "geheim-99");
    let error = registry.resolve(&server.reference("acme/web:1.4"), &linux(&["amd64"])).await.unwrap_err();
    assert_eq!(error.code(), Code::RegistryRefused);
    let text = format!("{error}\n{}\n{error:?}\n{registry:?}", error.help());
    assert!(text.contains(&format!("{} doesn't let us pull acme/web: it was asked as octo", server.host)), "{text}");
    assert!(!text.contains("geheim-99") && !text.contains(&STANDARD.encode("octo:geheim-99")), "{text}");
}

#[tokio::test]
async fn without_a_login_the_error_says_that_there_is_none() {
    let Some(storage) = storage("without_a_login_the_error_says_that_there_is_none") else { return };
    storage.open().push_image("acme/web", Some("1.4"), "amd64").await;
    let server = with_passwords(&storage);
    // A login for another registry isn't shown to this one.
    for registry in [as_nobody(), as_user("ghcr.io", "octo", "right")] {
        let error = registry.resolve(&server.reference("acme/web:1.4"), &linux(&["amd64"])).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unauthorised { user: None, .. }), "{error:?}");
        assert!(error.help().starts_with(&format!("add a login for {}", server.host)), "{}", error.help());
    }
}

/// A token service for pulls from `acme/web` by `octo`, and a registry that trusts it.
async fn with_tokens(storage: &Storage) -> (Server, Arc<AtomicUsize>) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["tokens.test".to_owned()]).unwrap();
    let bundle = storage.folder().join("tokens.pem");
    fs::write(&bundle, cert.pem()).unwrap();
    let certificate = STANDARD.encode(cert.der());
    let (asked, count) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counter = asked.clone();
    let service = answering(move |head| {
        counter.fetch_add(1, Ordering::SeqCst);
        let right = format!("authorization: Basic {}", STANDARD.encode("octo:right"));
        let scope = "scope=repository%3Aacme%2Fweb%3Apull";
        let first = head.lines().next().unwrap_or_default();
        if !head.contains(&right) {
            return http(
                "401 Unauthorized",
                &[],
                r#"{"errors": [{"code": "UNAUTHORIZED", "message": "no such account"}]}"#,
            );
        }
        assert!(first.contains(scope) && first.contains("service=freehold-tests"), "{first}");
        let number = count.fetch_add(1, Ordering::SeqCst);
        http("200 OK", &[], &json!({"token": signed(&signing_key, &certificate, number)}).to_string())
    })
    .await;
    let configuration = format!(
        "auth: {{token: {{realm: 'http://{service}/token', service: freehold-tests, issuer: tests, rootcertbundle: '{}'}}}}",
        bundle.display()
    );
    (storage.serve(&configuration, ""), asked)
}

fn signed(key: &KeyPair, certificate: &str, number: usize) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [certificate]});
    let claims = json!({
        "iss": "tests", "sub": "octo", "aud": "freehold-tests", "exp": now + 300, "nbf": now - 10, "iat": now,
        "jti": number.to_string(), "access": [{"type": "repository", "name": "acme/web", "actions": ["pull"]}],
    });
    let encode = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let text = format!("{}.{}", encode(&header), encode(&claims));
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der(), &random).unwrap();
    let signature = key.sign(&random, text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn a_token_is_fetched_with_the_login_and_used_again() {
    let Some(storage) = storage("a_token_is_fetched_with_the_login_and_used_again") else { return };
    let (digest, _) = storage.open().push_image("acme/web", Some("1.4"), "amd64").await;
    let (server, asked) = with_tokens(&storage).await;
    let registry = as_user(&server.host, "octo", "right");
    for _ in 0..3 {
        let resolved = registry.resolve(&server.reference("acme/web:1.4"), &linux(&["amd64"])).await.unwrap();
        assert_eq!(resolved.digest, digest);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_token_service_that_refuses_the_login_is_reported_with_what_it_says() {
    let Some(storage) = storage("a_token_service_that_refuses_the_login_is_reported_with_what_it_says") else { return };
    storage.open().push_image("acme/web", Some("1.4"), "amd64").await;
    let (server, _) = with_tokens(&storage).await;
    let error = as_user(&server.host, "octo", "wrong")
        .resolve(&server.reference("acme/web:1.4"), &linux(&["amd64"]))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::RegistryRefused);
    assert!(error.to_string().ends_with("it was asked as octo (it says: no such account)"), "{error}");
}

#[tokio::test]
async fn a_token_that_has_run_out_is_replaced() {
    // This registry takes each token for one visit: as if it had run out by the next.
    let (issued, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counter = issued.clone();
    let tokens = answering(move |_| {
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        http("200 OK", &[], &format!(r#"{{"access_token": "token-{number}", "expires_in": 1}}"#))
    })
    .await;
    let latest = issued.clone();
    let host = answering(move |head| {
        let visit = seen.fetch_add(1, Ordering::SeqCst);
        let current = head.contains(&format!("Bearer token-{}\r\n", latest.load(Ordering::SeqCst)));
        // The third request is the first of the second visit, with the token of the first.
        if current && visit != 2 {
            return http("200 OK", &[], r#"{"schemaVersion": 2, "manifests": []}"#);
        }
        http(
            "401 Unauthorized",
            &[("www-authenticate", &format!(r#"Bearer realm="http://{tokens}/",service="x""#))],
            "",
        )
    })
    .await;
    let (registry, reference) = (as_nobody(), format!("{host}/acme/web").parse().unwrap());
    for visit in 1..=2 {
        registry.resolve(&reference, &linux(&[])).await.unwrap();
        assert_eq!(issued.load(Ordering::SeqCst), visit);
    }
}

/// A registry with TLS, and its certificate.
fn with_tls(storage: &Storage, names: &[&str]) -> (Server, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
    let write = |name: &str, text: String| -> PathBuf {
        let file = storage.folder().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let (certificate, key) = (write("tls.pem", cert.pem()), write("tls.key", signing_key.serialize_pem()));
    let tls = format!("  tls: {{certificate: '{}', key: '{}'}}", certificate.display(), key.display());
    (storage.serve("", &tls), cert.pem())
}

#[tokio::test]
async fn a_registry_with_a_certificate_of_our_own_authority_is_trusted_if_we_are_given_it() {
    let Some(storage) = storage("a_registry_with_a_certificate_of_our_own_authority_is_trusted_if_we_are_given_it")
    else {
        return;
    };
    let (digest, _) = storage.open().push_image("acme/web", Some("1.4"), "amd64").await;
    let (server, authority) = with_tls(&storage, &["127.0.0.1"]);
    let reference = server.reference("acme/web:1.4");
    let registry = as_nobody().trusting(&authority).unwrap();
    assert_eq!(registry.resolve(&reference, &linux(&["amd64"])).await.unwrap().digest, digest);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_ends_it() {
    let Some(storage) = storage("a_certificate_that_is_not_trusted_ends_it") else { return };
    storage.open().push_image("acme/web", Some("1.4"), "amd64").await;
    let (server, _) = with_tls(&storage, &["127.0.0.1"]);
    let (elsewhere, authority) = with_tls(&storage, &["registry.example.com"]);
    for (registry, server) in [(as_nobody(), server), (as_nobody().trusting(&authority).unwrap(), elsewhere)] {
        let error = registry.resolve(&server.reference("acme/web:1.4"), &linux(&["amd64"])).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unreachable { fault: LinkFault::Certificate, .. }), "{error:?}");
        assert_eq!(error.code(), Code::RegistryUnreachable);
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

#[test]
fn certificates_that_can_not_be_read_are_an_error() {
    let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    assert_eq!(as_nobody().trusting(broken).unwrap_err().code(), Code::PullCredentials);
}
