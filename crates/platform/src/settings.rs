//! What a target is meant to be like, as it was asked for: a request fills in, what it leaves out stays as it was.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::Result;
use crate::request::{TargetRequest, TargetSetting};
use freehold_graph::expand::{ClusterDatabases, PostgresServer, ServerTls};
use freehold_graph::image::ImageReference;
use freehold_problem::{Code, Problem};
use freehold_spec::Name;
use freehold_store::{Store, StoredTarget};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Where CloudNativePG's operator usually is.
const CLOUDNATIVE_PG: &str = "cnpg-system";
/// How long the name of a database server may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(5);

/// The settings of a target as they are kept. Read without what a later release has added: the store's documents may grow by fields
/// without another version (ADR 12).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// All that was ever asked for.
    #[serde(rename = "wanted")]
    pub settings: TargetSettings,
    /// Freehold's own role on the database server; without, it works in that of the URL.
    #[serde(default)]
    pub database_role: Option<String>,
}

/// What was asked for of a target: each is the field of [`TargetRequest`] of the same name. Credentials are sealed, apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is the field of TargetRequest of the same name")]
pub struct TargetSettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_plane_namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_address: Option<String>,
    #[serde(default)]
    pub cloudnative_pg: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    #[serde(default)]
    pub external_dns: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_image: Option<String>,
    #[serde(default)]
    pub insecure_registries: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allowed_kinds: BTreeSet<String>,
}

impl Settings {
    /// Those of a target that is there.
    pub fn read(stored: &StoredTarget) -> Result<Self> {
        serde_json::from_value(stored.settings.clone()).map_err(|error| {
            let message = format!("the settings of target {} can't be read: {error}", stored.name);
            Problem::new(Code::StoreUnreadable, message)
                .help("if a newer release works on this store, use that one; else remove the target and add it again")
        })
    }

    /// The same with what a request says. `cloudnative_pg` and a server for databases put each other out.
    pub(crate) fn with(mut self, request: &TargetRequest) -> Self {
        fn take<T: Clone>(to: &mut Option<T>, from: &Option<T>) {
            if from.is_some() {
                to.clone_from(from);
            }
        }
        let settings = &mut self.settings;
        for setting in &request.unset {
            match setting {
                TargetSetting::Listener => settings.listener = None,
                TargetSetting::Port => settings.port = None,
                TargetSetting::DataPlaneNamespace => settings.data_plane_namespace = None,
                TargetSetting::Issuer => settings.issuer = None,
                TargetSetting::ExternalDns => settings.external_dns = false,
                TargetSetting::DatabaseAddress => settings.database_address = None,
                TargetSetting::StorageClass => settings.storage_class = None,
                TargetSetting::CacheImage => settings.cache_image = None,
                TargetSetting::InsecureRegistries => settings.insecure_registries.clear(),
                TargetSetting::AllowedKinds => settings.allowed_kinds.clear(),
                // A credential, and so no setting.
                TargetSetting::RegistryCredentials => {}
            }
        }
        // What was found for another Gateway says nothing about this one.
        if request.gateway.is_some() && request.gateway != settings.gateway {
            (settings.listener, settings.port, settings.data_plane_namespace) = (None, None, None);
        }
        for (to, from) in [
            (&mut settings.domain, &request.domain),
            (&mut settings.gateway, &request.gateway),
            (&mut settings.listener, &request.listener),
            (&mut settings.data_plane_namespace, &request.data_plane_namespace),
            (&mut settings.database_address, &request.database_address),
            (&mut settings.issuer, &request.issuer),
            (&mut settings.storage_class, &request.storage_class),
            (&mut settings.cache_image, &request.cache_image),
        ] {
            take(to, from);
        }
        take(&mut settings.port, &request.port);
        settings.external_dns |= request.external_dns;
        if !request.insecure_registries.is_empty() {
            settings.insecure_registries.clone_from(&request.insecure_registries);
        }
        if !request.allowed_kinds.is_empty() {
            settings.allowed_kinds.clone_from(&request.allowed_kinds);
        }
        if request.cloudnative_pg {
            (settings.cloudnative_pg, settings.database_address) = (true, None);
        }
        if request.database_url.is_some() {
            settings.cloudnative_pg = false;
        }
        self
    }

    /// What is missing or doesn't go together, all of it.
    pub(crate) fn check(&self, name: &Name, has_database: bool) -> Result<()> {
        let settings = &self.settings;
        let mut faults = Vec::new();
        if settings.domain.is_none() {
            faults.push("no domain (--domain example.org)".to_owned());
        }
        match &settings.gateway {
            None => faults.push("no Gateway (--gateway NAMESPACE/NAME)".to_owned()),
            Some(gateway) if namespaced(gateway).is_none() => {
                faults.push(format!("the Gateway {gateway:?}, which is not NAMESPACE/NAME"));
            }
            Some(_) => {}
        }
        if !settings.cloudnative_pg && !has_database {
            faults.push("no server for databases (--database-url-stdin or --cloudnative-pg)".to_owned());
        }
        if let Some(address) = settings.database_address.as_ref().filter(|address| host_and_port(address).is_none()) {
            faults.push(format!("the database address {address:?}, which is not HOST:PORT"));
        }
        let is_pinned = |image: &str| image.parse::<ImageReference>().is_ok_and(|image| image.digest().is_some());
        if let Some(image) = settings.cache_image.as_ref().filter(|image| !is_pinned(image)) {
            faults.push(format!("the image for caches {image:?}, which has no digest (REPOSITORY@sha256:…)"));
        }
        if faults.is_empty() {
            return Ok(());
        }
        let message = format!("target {name} has {}", faults.join("; "));
        Err(Problem::new(Code::TargetSettings, message)
            .help("run the command again with what is missing; later calls keep every setting that they leave out"))
    }

    /// The Gateway's namespace and name. Checked settings have one.
    pub fn gateway(&self) -> Option<(String, String)> {
        self.settings.gateway.as_deref().and_then(namespaced)
    }

    /// Databases of each stack's own.
    pub fn cloudnative_pg() -> ClusterDatabases {
        ClusterDatabases::CloudNativePg { operator_namespace: CLOUDNATIVE_PG.to_owned() }
    }

    /// A server for databases, as Pods reach it. `reached` is how the platform does, `tls` how Pods protect their connections.
    pub async fn server(
        &self,
        reached: (String, u16),
        version: u32,
        tls: Option<ServerTls>,
    ) -> Result<ClusterDatabases> {
        let given = self.settings.database_address.as_deref().and_then(host_and_port);
        let (host, port) = given.unwrap_or(reached);
        let refused = |message: String| {
            Problem::new(Code::TargetDatabase, message)
                .help("set the address at which Pods reach it: --database-address HOST:PORT")
        };
        if host.starts_with('/') || host == "localhost" {
            return Err(refused(format!("Pods can't reach a database server at {host}")));
        }
        let lookup = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host.as_str(), port))).await;
        let unknown =
            |why: String| refused(format!("the address of the database server {host} can't be looked up: {why}"));
        let found =
            lookup.map_err(|_| unknown("no answer in time".to_owned()))?.map_err(|error| unknown(error.to_string()))?;
        let addresses: BTreeSet<IpAddr> = found.map(|address| address.ip()).collect();
        if let Some(own) = addresses.iter().find(|address| address.is_loopback()) {
            return Err(refused(format!("Pods can't reach a database server at {own}")));
        }
        let addresses = addresses.into_iter().map(|address| match address {
            IpAddr::V4(address) => format!("{address}/32"),
            IpAddr::V6(address) => format!("{address}/128"),
        });
        let addresses = addresses.collect();
        let server = PostgresServer { tls, ..PostgresServer::new(host, port, version) };
        Ok(ClusterDatabases::Server { server, addresses })
    }
}

/// `NAMESPACE/NAME`.
fn namespaced(gateway: &str) -> Option<(String, String)> {
    let (namespace, name) = gateway.split_once('/')?;
    let fits = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
    fits.then(|| (namespace.to_owned(), name.to_owned()))
}

/// `host:port`, `[::1]:port`.
fn host_and_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then_some((host.to_owned(), port.parse().ok()?))
}

/// Which platform this is: the same at any time, and another one for each store.
pub(crate) async fn identity(store: &Store) -> Result<Uuid> {
    let digest = Sha256::digest(store.derive("platform/identity").await?.reveal());
    let bytes: [u8; 16] = std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default());
    Ok(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use freehold_graph::Target;
    use freehold_graph::expand::LocalTarget;
    use serde_json::{Value as Json, json};

    fn request() -> TargetRequest {
        TargetRequest {
            domain: Some("example.org".to_owned()),
            gateway: Some("infra/public".to_owned()),
            listener: Some("https".to_owned()),
            database_url: Some("postgresql://x".to_owned()),
            database_address: Some("10.0.0.5:5432".to_owned()),
            external_dns: true,
            insecure_registries: BTreeSet::from(["127.0.0.1:5000".to_owned()]),
            allowed_kinds: BTreeSet::from(["widgets.example.org".to_owned()]),
            ..TargetRequest::default()
        }
    }

    fn name() -> Name {
        "prod".parse().unwrap()
    }

    #[test]
    fn what_is_left_out_stays_as_it_was() {
        let first = Settings::default().with(&request());
        assert_eq!(first.clone().with(&TargetRequest::default()), first);
        let moved =
            first.clone().with(&TargetRequest { domain: Some("example.net".to_owned()), ..TargetRequest::default() });
        assert_eq!(moved.settings.domain.as_deref(), Some("example.net"));
        assert_eq!(moved.settings.gateway, first.settings.gateway);
    }

    #[test]
    fn what_was_asked_for_can_be_taken_back() {
        let unset =
            BTreeSet::from([TargetSetting::ExternalDns, TargetSetting::Listener, TargetSetting::InsecureRegistries]);
        let plain = Settings::default().with(&request()).with(&TargetRequest { unset, ..Default::default() }).settings;
        assert_eq!((plain.external_dns, plain.listener, plain.insecure_registries.len()), (false, None, 0));
        assert_eq!(plain.domain.as_deref(), Some("example.org"));
    }

    #[test]
    fn settings_are_read_without_what_another_release_has_beside_them() {
        let kept = json!({
            "wanted": {
                "domain": "example.org", "gateway": "infra/public", "cloudnative_pg": false, "external_dns": true,
                "insecure_registries": [], "replace_cluster": false, "of_a_later_release": { "any": 1 }
            },
            "database_role": "freehold_prod",
            "also_of_a_later_release": 2
        });
        let now = DateTime::UNIX_EPOCH;
        let facts = Target::Local(LocalTarget {
            name: "local".parse().unwrap(),
            domain: "localhost".to_owned(),
            router_port: 80,
            postgres: PostgresServer::new("/run".to_owned(), 5432, 15),
        });
        let stored = StoredTarget { name: name(), facts, settings: kept, created_at: now, changed_at: now };
        let read = Settings::read(&stored).unwrap();
        assert_eq!(read.settings.gateway.as_deref(), Some("infra/public"));
        assert!(read.settings.external_dns);
        assert_eq!(read.database_role.as_deref(), Some("freehold_prod"));
        // And this release writes what the one before, which knows no further fields, reads.
        let written = serde_json::to_value(Settings::default().with(&request())).unwrap();
        let names = |value: &Json| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&written), ["database_role", "wanted"]);
        let known =
            "allowed_kinds cloudnative_pg database_address domain external_dns gateway insecure_registries listener";
        assert_eq!(names(&written["wanted"]).join(" "), known);
    }

    #[test]
    fn another_gateway_has_another_listener() {
        let first = Settings::default().with(&request());
        let other = TargetRequest { gateway: Some("infra/other".to_owned()), ..TargetRequest::default() };
        assert_eq!(first.clone().with(&other).settings.listener, None);
        let same = TargetRequest { gateway: first.settings.gateway.clone(), ..TargetRequest::default() };
        assert_eq!(first.clone().with(&same), first, "said again, it is the same Gateway");
    }

    #[test]
    fn a_server_and_databases_of_each_stack_put_each_other_out() {
        let own =
            Settings::default().with(&request()).with(&TargetRequest { cloudnative_pg: true, ..Default::default() });
        assert!(own.settings.cloudnative_pg && own.settings.database_address.is_none());
        assert!(own.check(&name(), false).is_ok());
        assert!(!own.with(&request()).settings.cloudnative_pg);
    }

    #[test]
    fn all_that_is_missing_is_told_at_once() {
        let wrong = TargetRequest { database_address: Some("db".to_owned()), ..TargetRequest::default() };
        let problem = Settings::default().with(&wrong).check(&name(), false).unwrap_err();
        assert_eq!(problem.code, Code::TargetSettings);
        for part in ["domain", "Gateway", "databases", "HOST:PORT"] {
            assert!(problem.message.contains(part), "{}", problem.message);
        }
        assert!(Settings::default().with(&request()).check(&name(), true).is_ok());
    }

    #[tokio::test]
    async fn a_server_that_pods_can_t_reach_is_refused_unless_they_reach_it_elsewhere() {
        let plain = Settings::default();
        for host in ["127.0.0.1", "localhost", "/run/postgresql", "::1"] {
            let refused = plain.server((host.to_owned(), 5432), 15, None).await.unwrap_err();
            assert_eq!(refused.code, Code::TargetDatabase, "{host}");
        }
        let elsewhere = plain.with(&request()).server(("127.0.0.1".to_owned(), 5432), 15, None).await.unwrap();
        let ClusterDatabases::Server { server, addresses } = elsewhere else { panic!("{elsewhere:?}") };
        assert_eq!((server.host.as_str(), server.port), ("10.0.0.5", 5432));
        assert_eq!(addresses, BTreeSet::from(["10.0.0.5/32".to_owned()]));
    }
}
