//! Hosts that do what a real registry won't do for a test.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use freehold_graph::image::ImageReference;
use freehold_problem::Code;
use freehold_registry::{BODY_LIMIT, LinkFault, RegistryError};
use tokio::net::TcpListener;

use crate::setting::{answering, as_user, http, linux, resolve};

fn at(host: &str) -> ImageReference {
    format!("{host}/acme/web:1.4").parse().unwrap()
}

#[tokio::test]
async fn a_host_where_nothing_listens_can_not_be_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = resolve(&at(&host)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { fault: LinkFault::Connection, .. }), "{error:?}");
    assert!(error.to_string().starts_with(&format!("{host} can't be reached: ")), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let error = resolve(&at(&host)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{host} didn't answer within 10 s"));
    assert_eq!(error.code(), Code::RegistryUnreachable);
}

#[tokio::test]
async fn a_registry_that_asks_to_wait_is_reported_with_how_long() {
    let body = r#"{"errors": [{"code": "TOOMANYREQUESTS", "message": "pull limit reached"}]}"#;
    let host = answering(move |_| http("429 Too Many Requests", &[("retry-after", "77")], body)).await;
    let error = resolve(&at(&host)).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::TooManyRequests { retry_after: Some(wait), .. } if *wait == Duration::from_secs(77)),
        "{error:?}"
    );
    assert_eq!(error.code(), Code::RegistryBusy);
    let expected =
        format!("{host} lets nothing more through for now, and asks to wait 77 s (it says: pull limit reached)");
    assert_eq!((error.to_string(), error.help()), (expected, "try again in 77 s".to_owned()));
}

#[tokio::test]
async fn a_registry_with_a_fault_of_its_own_is_not_a_missing_image() {
    let host = answering(|_| http("503 Service Unavailable", &[], "<html>")).await;
    let error = resolve(&at(&host)).await.unwrap_err();
    assert_eq!(
        (error.to_string(), error.code()),
        (format!("{host} answers with status 503"), Code::RegistryUnreachable)
    );
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read_to_its_end() {
    let host = answering(|_| http("200 OK", &[], &" ".repeat(BODY_LIMIT + 1))).await;
    let error = resolve(&at(&host)).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error:?}");
    assert!(error.to_string().contains("more than 4 MiB"), "{error}");
}

#[tokio::test]
async fn a_manifest_other_than_its_announced_digest_is_refused() {
    let announced = freehold_graph::image::Digest::of(b"something else").to_string();
    let host = answering(move |_| {
        http("200 OK", &[("docker-content-digest", &announced)], r#"{"schemaVersion": 2, "manifests": []}"#)
    })
    .await;
    let error = resolve(&at(&host)).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error:?}");
}

#[tokio::test]
async fn a_redirect_to_another_host_carries_no_password() {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let keep = heads.clone();
    let elsewhere = answering(move |head| {
        keep.lock().unwrap().push(head.to_owned());
        http("200 OK", &[], r#"{"schemaVersion": 2, "manifests": []}"#)
    })
    .await;
    let shown: Arc<Mutex<Vec<bool>>> = Arc::default();
    let note = shown.clone();
    let host = answering(move |head| {
        let login = head.contains("authorization: Basic ");
        note.lock().unwrap().push(login);
        match login {
            true => http("307 Temporary Redirect", &[("location", &format!("http://{elsewhere}/content"))], ""),
            false => http("401 Unauthorized", &[("www-authenticate", "Basic realm=\"x\"")], ""),
        }
    })
    .await;
    as_user(&host, "octo", "right").resolve(&at(&host), &linux(&[])).await.unwrap();
    assert_eq!(*shown.lock().unwrap(), [false, true]);
    let heads = heads.lock().unwrap();
    assert!(heads.len() == 1 && heads[0].starts_with("GET /content "), "{heads:?}");
    assert!(!heads[0].to_ascii_lowercase().contains("authorization"), "{heads:?}");
}

#[tokio::test]
async fn a_redirect_away_from_tls_is_not_followed() {
    let host = answering(|_| http("302 Found", &[("location", "http://registry.example.com/x")], "")).await;
    let error = resolve(&at(&host)).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::Unreachable { host, fault: LinkFault::Plain, .. } if host == "registry.example.com")
    );
}

#[tokio::test]
async fn redirects_in_a_circle_come_to_an_end() {
    let host = answering(|_| http("302 Found", &[("location", "/again")], "")).await;
    let error = resolve(&at(&host)).await.unwrap_err();
    assert!(error.to_string().contains("sent on more than 5 times"), "{error}");
}

#[tokio::test]
async fn a_token_service_without_tls_is_not_shown_the_login() {
    let challenge = "Bearer realm=\"http://tokens.example.com/token\",service=\"x\"";
    let host = answering(move |_| http("401 Unauthorized", &[("www-authenticate", challenge)], "")).await;
    let error = as_user(&host, "octo", "right").resolve(&at(&host), &linux(&[])).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::Unreachable { host, fault: LinkFault::Plain, .. } if host == "tokens.example.com")
    );
}
