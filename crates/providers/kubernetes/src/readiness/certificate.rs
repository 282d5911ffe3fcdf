//! Whether cert-manager has issued a certificate.

use freehold_engine::Readiness;
use freehold_problem::Code;
use serde_json::Value as Json;

use crate::document::{Condition, Fields};
use crate::error::ClusterError;
use crate::neighbour::CHALLENGE;
use crate::not_ready::NotReady;
use crate::reader::Reader;

/// Ready when it is issued; a failed attempt counts as failed, since the next one is an hour away.
pub(super) async fn readiness(reader: &Reader<'_>, certificate: &Json) -> Result<Readiness, ClusterError> {
    let generation = certificate.number("/metadata/generation");
    let ready = certificate.condition("Ready");
    if ready.is_some_and(|ready| ready.is_true() && ready.is_about(generation)) {
        return Ok(Readiness::Ready);
    }
    let issuing = certificate.condition("Issuing");
    let failed = issuing.filter(|issuing| issuing.is_false() && issuing.reason() == "Failed");
    if let Some(issuing) = failed {
        return Ok(
            NotReady::failed(Code::NoCertificate, format!("it was not issued: {}", issuing.message())).readiness(&[])
        );
    }
    if let Some(challenge) = challenge(reader, certificate).await? {
        return Ok(Readiness::Waiting(format!("the issuer's challenge is not solved: {challenge}")));
    }
    Ok(Readiness::Waiting(match ready {
        Some(ready) => format!("not issued yet: {}", Condition::words(ready)),
        None => "not yet reconciled by cert-manager; is it running?".to_owned(),
    }))
}

/// What an ACME challenge for one of its names says.
async fn challenge(reader: &Reader<'_>, certificate: &Json) -> Result<Option<String>, ClusterError> {
    let namespace = certificate.text("/metadata/namespace");
    let challenges = reader.list(CHALLENGE, Some(namespace), "").await?;
    let names = certificate.items("/spec/dnsNames");
    let ours = |challenge: &&Json| names.iter().any(|name| name.as_str() == Some(challenge.text("/spec/dnsName")));
    let mut said = challenges.iter().filter(ours).map(|challenge| challenge.text("/status/reason"));
    Ok(said.rfind(|reason| !reason.is_empty()).map(str::to_owned))
}
