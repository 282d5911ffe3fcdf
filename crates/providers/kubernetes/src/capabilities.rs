//! What a cluster can do beside keeping objects as they should be.

use std::collections::BTreeMap;

use async_trait::async_trait;
use freehold_engine::capability::{
    CommandEvents, CommandRequest, Commands, Finding, LogLines, LogQuery, Logs, Scan, System,
};
use freehold_engine::{OwnedObject, ProviderError};
use freehold_graph::StackId;
use freehold_problem::Problem;
use futures::{StreamExt, stream};
use uuid::Uuid;

use crate::command;
use crate::logs::PodLogs;
use crate::provider::KubernetesProvider;
use crate::target;

#[async_trait]
impl System for KubernetesProvider {
    async fn ping(&self) -> Result<(), ProviderError> {
        self.cluster_for_a_look().await.map(drop)
    }

    async fn inspect(&self) -> Vec<Finding> {
        match self.cluster().await {
            Ok(cluster) => target::check(&cluster, self.facts()).await,
            Err(error) => vec![Finding::failed("cluster", Problem::from(error))],
        }
    }

    async fn release(&self) -> Result<(), ProviderError> {
        Ok(target::release(&*self.cluster().await?, self.facts()).await?)
    }
}

#[async_trait]
impl Logs for KubernetesProvider {
    async fn logs(&self, query: LogQuery) -> Result<LogLines, ProviderError> {
        let LogQuery { stack, of, lines, follow, resources, .. } = query;
        let namespace = resources.into_iter().find(|resource| resource.kind.row().encloses);
        // Before its namespace is made a stack has printed nothing.
        let Some(namespace) = namespace else { return Ok(stream::empty().boxed()) };
        let query = PodLogs { stack, namespace: namespace.identity, of, lines, follow, since: None, previous: false };
        Ok(self.pod_logs(query).await?.map(|line| Ok(vec![line])).boxed())
    }
}

#[async_trait]
impl Commands for KubernetesProvider {
    async fn start(&self, request: CommandRequest) -> Result<CommandEvents, ProviderError> {
        command::start(self.cluster_for_a_look().await?, request).await
    }
}

#[async_trait]
impl Scan for KubernetesProvider {
    async fn platforms(&self) -> Result<BTreeMap<StackId, Uuid>, ProviderError> {
        self.platforms_of_stacks().await
    }

    async fn owned_of_every_kind(&self) -> Result<Vec<OwnedObject>, ProviderError> {
        Ok(target::scan_all_groups(&*self.cluster().await?, None).await?)
    }
}
