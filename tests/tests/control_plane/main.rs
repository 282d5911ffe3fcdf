//! Freehold and a real API server with simulated Pods: everything that the API decides, in all the ways in which it can go wrong.

mod foreign;
mod interruption;
mod lifecycle;
mod limits;
mod manifests;
mod targets;

use anyhow::Result;
use freehold_end_to_end::{Place, Simulated, Site};
use freehold_testkit::kubernetes::ControlPlane;

/// A Freehold on the cluster that all tests share, and a tenant of the guestbook that no other test has.
struct Setting {
    site: Site<'static>,
    tenant: String,
    /// The tenant's.
    namespace: String,
    /// What `--image` takes.
    image: String,
}

impl Setting {
    /// `None` where there is no such cluster, after a line with the reason.
    fn of(test: &str) -> Result<Option<Self>> {
        let Some(simulated) = Simulated::for_test(test) else { return Ok(None) };
        let site = Site::start(Place::Simulated(simulated))?;
        let (tenant, image) = (ControlPlane::unique("acme"), site.place.guestbook()?);
        let namespace = freehold_end_to_end::site::namespace(&tenant);
        Ok(Some(Self { site, tenant, namespace, image }))
    }
}
