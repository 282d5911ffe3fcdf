//! A cluster that is to become a target: connected to, known again by its identity, surveyed and prepared.

use async_trait::async_trait;
use freehold_engine::ProviderError;
use freehold_graph::SecretText;
use freehold_graph::expand::{Authority, ClusterDatabases, KubernetesTarget, ServerTls};
use freehold_platform::{Connected, ConnectedCluster, Settings, TargetChange};
use freehold_problem::{Code, Problem};
use freehold_provider_kubernetes::{self as kubernetes, Cluster, ClusterError, Requirements};
use freehold_provider_postgres::{ensure_provisioner, is_encrypted, version_of};
use freehold_spec::Name;
use freehold_store::{Credential, Store};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tracing::warn;
use uuid::Uuid;

use super::access::{Result, access, database_url};
use super::images::registry_of;
use super::keys;
use crate::database_tls;

/// The oldest major version of PostgreSQL that databases can be on.
pub(super) const OLDEST_POSTGRES: u32 = 15;

/// A cluster that answers, and what it has to have.
struct Candidate {
    cluster: Cluster,
    requirements: Requirements,
    platform: Uuid,
}

#[async_trait]
impl ConnectedCluster for Candidate {
    async fn prepare(self: Box<Self>) -> Result<KubernetesTarget> {
        let mut facts = kubernetes::discover(&self.cluster, &self.requirements).await?;
        facts.platform = Some(self.platform);
        kubernetes::prepare(&self.cluster, &mut facts).await?;
        Ok(facts)
    }
}

pub(crate) async fn connect(store: &Store, change: &TargetChange<'_>) -> Result<Connected> {
    let TargetChange { name, settings, credentials, former, replace_cluster, platform } = *change;
    registry_of(credentials.get(&Credential::Registry), settings.settings.insecure_registries.clone())?;
    let cluster = Cluster::connect(&access(credentials.get(&Credential::Kubeconfig).cloned())).await?;
    if let Some(former) = former
        && former.cluster != cluster.identity()
        && !replace_cluster
    {
        let (expected, found) = (former.cluster.clone(), cluster.identity().to_owned());
        let error = Problem::from(ClusterError::WrongCluster { expected, found });
        return Err(error.help("if the cluster was recreated on purpose, pass --replace-cluster"));
    }
    let (databases, database_role) = match credentials.get(&Credential::Database) {
        Some(url) => server(store, name, settings, url).await?,
        None => (Settings::cloudnative_pg(), None),
    };
    let registry_credentials = credentials.contains_key(&Credential::Registry);
    let requirements = requirements(name, settings, databases.clone(), registry_credentials);
    Ok(Connected { databases, database_role, cluster: Box::new(Candidate { cluster, requirements, platform }) })
}

/// A server for databases, with a role of our own on it that is made or brought up to date, where the URL's role may do that.
async fn server(
    store: &Store,
    name: &Name,
    settings: &Settings,
    url: &SecretText,
) -> Result<(ClusterDatabases, Option<String>)> {
    let admin = database_url(url)?;
    let reached = (admin.get_host().to_owned(), admin.get_port());
    let unusable = |error: ProviderError| {
        let message =
            format!("the database server at {}:{} can't be used: {error}", admin.get_host(), admin.get_port());
        Problem::new(Code::TargetDatabase, message)
            .help("check the URL, and that its role may make roles and databases")
    };
    // First of all whether the server is there and lets us in: only then does a refusal of the role say something.
    let version = version_of(&admin).await.map_err(unusable)?.major;
    let role = keys::role_name(store, name).await?;
    let password = keys::role_password(store, name).await?;
    let role = match ensure_provisioner(&admin, &role, &password).await {
        Ok(()) => Some(role),
        Err(failure) => {
            // A managed server's administrator is no superuser. All but dumps of tables under forced row-level security works.
            warn!(target = %name, "the role of the database URL is used, for {role} could not be made: {failure}");
            None
        }
    };
    if version < OLDEST_POSTGRES {
        let message = format!("the server runs PostgreSQL {version}; {OLDEST_POSTGRES} or newer is required");
        return Err(Problem::new(Code::TargetDatabase, message));
    }
    let tls = tls(settings, &admin, url.reveal()).await?;
    Ok((settings.server(reached, version, tls).await?, role))
}

/// How programs protect their connections to the server. Where they are to verify it and nobody has tried that yet, it is tried here.
async fn tls(settings: &Settings, admin: &PgConnectOptions, url: &str) -> Result<Option<ServerTls>> {
    let refused = |message: String| {
        Problem::new(Code::TargetDatabase, message)
            .help("`sslrootcert` in the URL names the file with the authority that the server's certificate is from")
    };
    let authority = database_tls::authority_file(url).map(|file| database_tls::certificates(&file));
    let authority = authority.transpose().map_err(refused)?.map(Authority::Pem);
    let offered = is_encrypted(admin).await.map_err(|error| {
        Problem::new(
            Code::TargetDatabase,
            format!("whether the database server offers TLS can't be found out: {error}"),
        )
    })?;
    let tls = database_tls::of_programs(admin, authority, Some(offered));
    match &tls {
        Some(ServerTls::VerifyFull(_)) if settings.settings.database_address.is_none() => {
            let verified = version_of(&admin.clone().ssl_mode(PgSslMode::VerifyFull)).await;
            let unproved = |error| {
                refused(format!("the database server at {} can't prove its identity: {error}", admin.get_host()))
            };
            verified.map_err(unproved)?;
        }
        Some(ServerTls::VerifyFull(_) | ServerTls::VerifyCa(_) | ServerTls::Require | ServerTls::Disable) | None => {}
    }
    Ok(tls)
}

/// What is to be found out of the cluster. The settings have been checked.
fn requirements(
    name: &Name,
    settings: &Settings,
    databases: ClusterDatabases,
    registry_credentials: bool,
) -> Requirements {
    let asked = &settings.settings;
    Requirements {
        name: name.clone(),
        domain: asked.domain.clone().unwrap_or_default(),
        gateway: settings.gateway().unwrap_or_default(),
        listener: asked.listener.clone(),
        port: asked.port,
        data_plane_namespace: asked.data_plane_namespace.clone(),
        databases,
        issuer: asked.issuer.clone(),
        external_dns: asked.external_dns,
        storage_class: asked.storage_class.clone(),
        cache_image: asked.cache_image.clone(),
        registry_credentials,
        allowed_kinds: asked.allowed_kinds.clone(),
    }
}

#[cfg(test)]
mod tests {
    use freehold_testkit::postgres::TestServer;
    use rcgen::CertifiedKey;
    use sqlx::{Connection as _, Executor as _, PgConnection};

    use super::*;

    /// A server, and certificates for these names in a file of its own folder.
    async fn server_for(names: &[&str]) -> (TestServer, tempfile::NamedTempFile) {
        let server = TestServer::start().unwrap();
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
        let mut connection = PgConnection::connect_with(&server.superuser()).await.unwrap();
        for (file, pem) in [("server.crt", cert.pem()), ("server.key", signing_key.serialize_pem())] {
            // As PostgreSQL's user, whose key is nobody else's.
            let lines = pem.trim_end().replace('\n', "'), ('");
            let copy =
                format!("COPY (SELECT * FROM (VALUES ('{lines}')) AS lines) TO PROGRAM 'umask 077 && cat > {file}'");
            connection.execute(sqlx::AssertSqlSafe(copy)).await.unwrap();
        }
        connection.execute("ALTER SYSTEM SET ssl = on").await.unwrap();
        connection.execute("SELECT pg_reload_conf()").await.unwrap();
        // Signals are on their way when the function returns.
        while !is_encrypted(&server.superuser_over_tcp().ssl_mode(PgSslMode::Prefer)).await.unwrap() {
            tokio::task::yield_now().await;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), cert.pem()).unwrap();
        (server, file)
    }

    async fn found(url: &str) -> Result<Option<ServerTls>> {
        tls(&Settings::default(), &database_url(&SecretText::new(url))?, url).await
    }

    #[tokio::test]
    async fn programs_protect_their_connections_as_the_server_lets_them() {
        let plain = TestServer::start().unwrap();
        assert_eq!(found(&plain.url()).await.unwrap(), Some(ServerTls::Disable));

        let (server, authority) = server_for(&["127.0.0.1"]).await;
        let url = server.url();
        assert_eq!(found(&url).await.unwrap(), Some(ServerTls::Require), "nobody says which authority it is from");
        assert_eq!(found(&format!("{url}?sslmode=disable")).await.unwrap(), Some(ServerTls::Disable));
        let given = format!("{url}?sslrootcert={}", authority.path().display());
        let Some(ServerTls::VerifyFull(Authority::Pem(pem))) = found(&given).await.unwrap() else { panic!("{given}") };
        assert_eq!(pem, std::fs::read_to_string(authority.path()).unwrap());
    }

    #[tokio::test]
    async fn a_server_that_programs_could_not_verify_is_refused() {
        let (server, authority) = server_for(&["db.example.org"]).await;
        let url = format!("{}?sslrootcert={}", server.url(), authority.path().display());
        let refused = found(&url).await.unwrap_err();
        assert_eq!(refused.code, Code::TargetDatabase);
        assert!(refused.message.contains("can't prove its identity"), "{}", refused.message);
        assert!(!refused.message.contains("postgres:"), "no password: {}", refused.message);
        // As Pods reach it, it may have that name.
        let settings = Settings::default();
        let mut elsewhere = settings.clone();
        elsewhere.settings.database_address = Some("db.example.org:5432".to_owned());
        let admin = database_url(&SecretText::new(url.as_str())).unwrap();
        assert!(matches!(tls(&elsewhere, &admin, &url).await.unwrap(), Some(ServerTls::VerifyFull(_))));
        let missing = found(&format!("{}?sslrootcert=/nowhere/ca.pem", server.url())).await.unwrap_err();
        assert!(missing.message.contains("/nowhere/ca.pem can't be read"), "{}", missing.message);
    }
}
