//! The codes of the errors.

use std::collections::BTreeSet;

use freehold_graph::image::ImageReference;
use freehold_problem::Code;
use freehold_registry::{Credentials, RegistryError};

#[test]
fn every_code_has_a_page() {
    let boxed = || Box::new("ghcr.io/acme/web:1.4".parse::<ImageReference>().unwrap());
    let text = String::new;
    let digest = freehold_graph::image::Digest::of(b"");
    let errors = [
        RegistryError::NoRepository(boxed()),
        RegistryError::NotForPlatform { reference: boxed(), missing: BTreeSet::new(), has: BTreeSet::new() },
        RegistryError::Unauthorised { registry: text(), repository: text(), user: None, says: None },
        RegistryError::TimedOut { host: text() },
        RegistryError::TooManyRequests { host: text(), retry_after: None, says: None },
        RegistryError::WrongDigest { registry: text(), what: text(), announced: digest, found: digest },
        RegistryError::from(Credentials::from_docker_config("").unwrap_err()),
    ];
    let codes: BTreeSet<Code> = errors.iter().map(RegistryError::code).collect();
    assert_eq!(codes.len(), errors.len());
    for error in &errors {
        assert!(!error.help().is_empty() && !error.to_string().is_empty());
    }
}
