//! What a registry keeps under a tag: one image, or an index of images for several platforms.

use freehold_graph::image::Digest;
use serde::Deserialize;

use crate::Platform;

/// What we can read, for the `Accept` header: OCI's and Docker's names for the same two things.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A manifest, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Manifest {
    /// One image; its config tells the platform.
    Image {
        /// Of the config.
        config: Digest,
    },
    Index {
        /// The platforms that the index tells.
        platforms: Vec<Platform>,
        /// The image manifests of which it tells none.
        untold: Vec<Digest>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    schema_version: Option<u32>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    platform: Option<PlatformJson>,
}

#[derive(Deserialize)]
struct PlatformJson {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

impl PlatformJson {
    fn known(self) -> Option<Platform> {
        Some(Platform::new(self.os, self.architecture)).filter(Platform::is_known)
    }
}

impl Manifest {
    /// Reads a manifest. The error says in words what is wrong with it.
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        let json: Json = serde_json::from_slice(body).map_err(|error| format!("it is no manifest: {error}"))?;
        match json {
            Json { schema_version: Some(1), .. } => {
                Err("it is a manifest of Docker's first form, which clusters don't run any more: push it again"
                    .to_owned())
            }
            // What one reader takes for an index and another for an image has no single meaning (CVE-2021-41190).
            Json { manifests: Some(_), config, layers, .. } if config.is_some() || layers.is_some() => {
                Err("it says that it is both an image and an index".to_owned())
            }
            Json { manifests: Some(manifests), .. } => index(manifests),
            Json { config: Some(config), .. } if config.media_type.contains(".image.") => {
                Ok(Self::Image { config: config.digest.parse()? })
            }
            Json { config: Some(config), .. } => {
                Err(format!("it is no image: its config is of the type {:?}", config.media_type))
            }
            _ => Err("it is neither an image nor an index".to_owned()),
        }
    }
}

fn index(manifests: Vec<Descriptor>) -> Result<Manifest, String> {
    let (mut platforms, mut untold) = (Vec::new(), Vec::new());
    for entry in manifests {
        match entry.platform {
            Some(platform) => platforms.extend(platform.known()),
            None if entry.media_type.contains("manifest.v") => untold.push(entry.digest.parse()?),
            None => {}
        }
    }
    Ok(Manifest::Index { platforms, untold })
}

/// The platform in an image's config. The error says in words what is wrong.
pub(crate) fn platform_of_config(body: &[u8]) -> Result<Platform, String> {
    let json: PlatformJson =
        serde_json::from_slice(body).map_err(|error| format!("its config can't be read: {error}"))?;
    json.known().ok_or_else(|| "its config doesn't tell for which platform it is".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Manifest, String> {
        Manifest::read(json.replace("DIGEST", &Digest::of(b"").to_string()).as_bytes())
    }

    #[test]
    fn attestations_in_an_index_are_no_platform() {
        let index = read(
            r#"{"schemaVersion": 2, "manifests": [
                {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "DIGEST", "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
                {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "DIGEST", "platform": {"os": "unknown", "architecture": "unknown"}},
                {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "DIGEST"},
                {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "DIGEST"}
            ]}"#,
        );
        let expected =
            Manifest::Index { platforms: vec![Platform::new("linux", "arm64")], untold: vec![Digest::of(b"")] };
        assert_eq!(index, Ok(expected));
    }

    #[test]
    fn what_is_no_image_is_refused_with_the_reason() {
        let chart = r#"{"schemaVersion": 2, "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": "DIGEST"}}"#;
        let both = r#"{"manifests": [], "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "DIGEST"}}"#;
        for (json, reason) in [
            (chart, "helm"),
            (both, "both"),
            (r#"{"schemaVersion": 1}"#, "first form"),
            ("{}", "neither"),
            ("<html>", "no manifest"),
            (r#"{"config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "x"}}"#, "not a digest"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(reason), "{json}: {error}");
        }
    }

    #[test]
    fn dockers_names_mean_the_same_as_ocis() {
        for kind in ["application/vnd.docker.container.image.v1+json", "application/vnd.oci.image.config.v1+json"] {
            let json = format!(r#"{{"config": {{"mediaType": "{kind}", "digest": "DIGEST"}}, "layers": []}}"#);
            assert_eq!(read(&json), Ok(Manifest::Image { config: Digest::of(b"") }));
        }
    }
}
