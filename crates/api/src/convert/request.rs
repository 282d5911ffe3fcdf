//! Requests.

use std::time::Duration;

use freehold::wire;
use freehold_platform::{Apply, Command, Deploy, Destroy, PlanOptions, TargetRequest, TargetSetting};

use super::IntoDomain;

impl IntoDomain for wire::DeployRequest {
    type Domain = Deploy;

    fn into_domain(self) -> Deploy {
        let Self {
            app,
            definition,
            files,
            target,
            kind,
            name,
            tier,
            stage,
            artifacts,
            images,
            adopt,
            delete_data,
            settle,
        } = self;
        let options = PlanOptions { adopt, delete_data, settle };
        Deploy { app, definition, files, target, kind, name, tier, stage, artifacts, images, options }
    }
}

impl IntoDomain for wire::ApplyRequest {
    type Domain = Apply;

    fn into_domain(self) -> Apply {
        match self {
            Self::Plan { plan } => Apply::Plan { plan },
            Self::Deploy(request) => Apply::Deploy(Box::new(request.into_domain())),
        }
    }
}

impl IntoDomain for wire::DestroyRequest {
    type Domain = Destroy;

    fn into_domain(self) -> Destroy {
        let Self { confirm, dump, plan } = self;
        Destroy { confirm, dump, plan, generation: None }
    }
}

impl IntoDomain for wire::CommandRequest {
    type Domain = Command;

    fn into_domain(self) -> Command {
        let Self { service, job, command, timeout_seconds } = self;
        Command { service, job, command, timeout: timeout_seconds.map(Duration::from_secs) }
    }
}

impl IntoDomain for wire::TargetRequest {
    type Domain = TargetRequest;

    fn into_domain(self) -> TargetRequest {
        let Self {
            kubeconfig,
            domain,
            gateway,
            listener,
            port,
            data_plane_namespace,
            database_url,
            database_address,
            cloudnative_pg,
            issuer,
            external_dns,
            storage_class,
            cache_image,
            registry_credentials,
            insecure_registries,
            allowed_kinds,
            replace_cluster,
            in_cluster,
            unset,
        } = self;
        TargetRequest {
            kubeconfig,
            domain,
            gateway,
            listener,
            port,
            data_plane_namespace,
            database_url,
            database_address,
            cloudnative_pg,
            issuer,
            external_dns,
            storage_class,
            cache_image,
            registry_credentials,
            insecure_registries,
            allowed_kinds,
            replace_cluster,
            in_cluster,
            unset: unset.into_iter().map(IntoDomain::into_domain).collect(),
        }
    }
}

impl IntoDomain for wire::TargetSetting {
    type Domain = TargetSetting;

    fn into_domain(self) -> TargetSetting {
        match self {
            Self::Listener => TargetSetting::Listener,
            Self::Port => TargetSetting::Port,
            Self::DataPlaneNamespace => TargetSetting::DataPlaneNamespace,
            Self::Issuer => TargetSetting::Issuer,
            Self::ExternalDns => TargetSetting::ExternalDns,
            Self::DatabaseAddress => TargetSetting::DatabaseAddress,
            Self::StorageClass => TargetSetting::StorageClass,
            Self::CacheImage => TargetSetting::CacheImage,
            Self::RegistryCredentials => TargetSetting::RegistryCredentials,
            Self::InsecureRegistries => TargetSetting::InsecureRegistries,
            Self::AllowedKinds => TargetSetting::AllowedKinds,
        }
    }
}
