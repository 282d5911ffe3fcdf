//! Images in a real registry.

use std::fs;
use std::sync::Arc;

use freehold_graph::image::Digest;
use freehold_problem::Code;
use freehold_registry::RegistryError;
use serde_json::json;

use crate::setting::{OCI_MANIFEST, as_nobody, linux, resolve, storage};

#[tokio::test]
async fn a_tag_becomes_the_digest_of_what_the_registry_has() {
    let Some(storage) = storage("a_tag_becomes_the_digest_of_what_the_registry_has") else { return };
    let server = storage.open();
    let (digest, _) = server.push_image("acme/web", Some("1.4"), "amd64").await;
    let resolved = resolve(&server.reference("acme/web:1.4")).await.unwrap();
    assert_eq!(resolved.digest, digest);
    assert_eq!(resolved.pinned(), format!("{}/acme/web@{digest}", server.host));
    assert_eq!(resolved.reference.to_string(), format!("{}/acme/web:1.4@{digest}", server.host));
    assert_eq!(resolved.platforms, linux(&["amd64"]));
}

#[tokio::test]
async fn a_tag_that_moves_is_looked_up_again() {
    let Some(storage) = storage("a_tag_that_moves_is_looked_up_again") else { return };
    let server = storage.open();
    let (registry, reference) = (as_nobody(), server.reference("acme/web"));
    let (first, _) = server.push_image("acme/web", Some("latest"), "amd64").await;
    assert_eq!(registry.resolve(&reference, &linux(&["amd64"])).await.unwrap().digest, first);
    let (second, _) = server.push_image("acme/web", Some("latest"), "arm64").await;
    assert_ne!(first, second);
    assert_eq!(registry.resolve(&reference, &linux(&["arm64"])).await.unwrap().digest, second);
}

#[tokio::test]
async fn many_images_are_looked_up_at_once() {
    let Some(storage) = storage("many_images_are_looked_up_at_once") else { return };
    let server = storage.open();
    let registry = Arc::new(as_nobody());
    let mut looked_up = Vec::new();
    for number in 0..8 {
        let (digest, _) = server.push_image(&format!("acme/web-{number}"), Some("1"), "amd64").await;
        let (registry, reference) = (registry.clone(), server.reference(&format!("acme/web-{number}:1")));
        let task = tokio::spawn(async move { registry.resolve(&reference, &linux(&["amd64"])).await });
        looked_up.push((digest, task));
    }
    for (digest, task) in looked_up {
        assert_eq!(task.await.unwrap().unwrap().digest, digest);
    }
}

#[tokio::test]
async fn an_index_keeps_its_own_digest_and_tells_all_its_platforms() {
    let Some(storage) = storage("an_index_keeps_its_own_digest_and_tells_all_its_platforms") else { return };
    let server = storage.open();
    for (tag, told) in [("told", true), ("untold", false)] {
        let digest = server.push_index("acme/web", tag, &["amd64", "arm64"], told).await;
        let reference = server.reference(&format!("acme/web:{tag}"));
        let resolved = as_nobody().resolve(&reference, &linux(&["amd64", "arm64"])).await.unwrap();
        assert_eq!((resolved.digest, resolved.platforms), (digest, linux(&["amd64", "arm64"])), "{tag}");
    }
}

#[tokio::test]
async fn a_digest_is_kept_if_it_exists_whatever_the_tag_beside_it_says() {
    let Some(storage) = storage("a_digest_is_kept_if_it_exists_whatever_the_tag_beside_it_says") else { return };
    let server = storage.open();
    let (digest, _) = server.push_image("acme/web", Some("1.4"), "amd64").await;
    server.push_image("acme/web", Some("1.4"), "arm64").await;
    let pinned = server.reference(&format!("acme/web:1.4@{digest}"));
    assert_eq!(resolve(&pinned).await.unwrap().reference, pinned);

    let gone = server.reference(&format!("acme/web:1.4@{}", Digest::of(b"never pushed")));
    let error = resolve(&gone).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoDigest(_)), "{error:?}");
    assert_eq!(error.code(), Code::ImageMissing);
}

#[tokio::test]
async fn a_tag_that_does_not_exist_is_an_error_that_names_the_nearest() {
    let Some(storage) = storage("a_tag_that_does_not_exist_is_an_error_that_names_the_nearest") else { return };
    let server = storage.open();
    for tag in ["1.4.0", "1.4.1", "edge", "v1.4", "zzz"] {
        server.push_image("acme/web", Some(tag), "amd64").await;
    }
    let error = resolve(&server.reference("acme/web:1.4")).await.unwrap_err();
    assert_eq!(error.code(), Code::ImageMissing);
    let host = &server.host;
    assert_eq!(
        error.to_string(),
        format!("the image {host}/acme/web:1.4 doesn't exist: {host}/acme/web has no tag 1.4")
    );
    assert_eq!(error.help(), "the nearest tags there: v1.4, 1.4.0, 1.4.1; else push it first");
}

#[tokio::test]
async fn a_repository_that_does_not_exist_is_told_from_a_tag_that_does_not() {
    let Some(storage) = storage("a_repository_that_does_not_exist_is_told_from_a_tag_that_does_not") else { return };
    let server = storage.open();
    server.push_image("acme/web", Some("latest"), "amd64").await;
    let error = resolve(&server.reference("acme/wbe")).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoRepository(_)), "{error:?}");
    assert!(error.to_string().contains("has no repository acme/wbe"), "{error}");
    let error = resolve(&server.reference("acme/web:2")).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoTag { .. }), "{error:?}");
}

#[tokio::test]
async fn an_image_for_other_machines_is_an_error_that_says_what_it_has() {
    let Some(storage) = storage("an_image_for_other_machines_is_an_error_that_says_what_it_has") else { return };
    let server = storage.open();
    server.push_image("acme/web", Some("one"), "arm64").await;
    server.push_index("acme/web", "two", &["arm64", "s390x"], true).await;
    for (tag, has) in [("one", vec!["arm64"]), ("two", vec!["arm64", "s390x"])] {
        let all = [&["amd64"], has.as_slice()].concat().iter().map(|one| format!("linux/{one}")).collect::<Vec<_>>();
        let reference = server.reference(&format!("acme/web:{tag}"));
        let error = as_nobody().resolve(&reference, &linux(&["amd64", "arm64"])).await.unwrap_err();
        assert_eq!(error.code(), Code::ImageNotForPlatform);
        assert!(error.to_string().contains("isn't made for linux/amd64: it has linux/arm64"), "{error}");
        let build = format!("--platform {} --push", all.join(","));
        assert!(error.help().contains(&build), "what it has stays: {}", error.help());
        let RegistryError::NotForPlatform { has: found, missing, .. } = error else { panic!("{error:?}") };
        assert_eq!((found, missing), (linux(&has), linux(&["amd64"])));
    }
}

#[tokio::test]
async fn what_is_no_image_is_refused() {
    let Some(storage) = storage("what_is_no_image_is_refused") else { return };
    let server = storage.open();
    let config = server.push_blob("acme/chart", b"{\"name\":\"chart\"}").await;
    let chart = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [{
            "mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "digest": config.to_string(), "size": 16
        }],
        "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": config.to_string(), "size": 16},
    });
    server.push_manifest("acme/chart", Some("1.0.0"), OCI_MANIFEST, &chart).await;
    let error = resolve(&server.reference("acme/chart:1.0.0")).await.unwrap_err();
    assert_eq!(error.code(), Code::RegistryAnswer);
    assert!(error.to_string().contains("it is no image: its config is of the type"), "{error}");
}

#[tokio::test]
async fn bytes_that_were_changed_in_the_registry_are_found_out() {
    let Some(storage) = storage("bytes_that_were_changed_in_the_registry_are_found_out") else { return };
    let server = storage.open();
    let (digest, config) = server.push_image("acme/web", Some("latest"), "arm64").await;
    // The config now says that it is for other machines; then the manifest has a space more.
    for changed in [config, digest] {
        let file = storage.file_of(changed);
        let content = fs::read_to_string(&file).unwrap();
        let other = if changed == config { content.replace("arm64", "amd64") } else { content.replacen(' ', "\t", 1) };
        assert_eq!(other.len(), content.len());
        fs::write(&file, other).unwrap();
        let error = resolve(&server.reference(&format!("acme/web@{digest}"))).await.unwrap_err();
        let RegistryError::WrongDigest { announced, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*announced, error.code()), (changed, Code::RegistryAnswer));
    }
}

#[tokio::test]
async fn an_image_without_its_config_is_incomplete() {
    let Some(storage) = storage("an_image_without_its_config_is_incomplete") else { return };
    let server = storage.open();
    let (_, config) = server.push_image("acme/web", Some("latest"), "amd64").await;
    fs::remove_file(storage.file_of(config)).unwrap();
    let error = resolve(&server.reference("acme/web")).await.unwrap_err();
    assert!(error.to_string().contains("the image is incomplete"), "{error}");
}
