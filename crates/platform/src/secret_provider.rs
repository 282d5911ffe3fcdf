//! The provider for `store.secret`: secrets of the definition, sealed in the store. A value that is there stays; to change it is
//! `secret set` and `secret rotate`.

use async_trait::async_trait;
use freehold_engine::{Context, Lookup, OwnedObject, Performed, Provider, ProviderError, Readiness, Task};
use freehold_graph::{ProviderName, Resource, StackId, Value};
use freehold_plan::{Observation, Ownership};
use freehold_problem::Code;
use freehold_spec::app::{Encoding, Generate};
use freehold_store::{Store, StoreError};

use crate::generate::generate_text;

/// Generates secrets, and removes them.
pub(crate) struct SealedSecrets {
    store: Store,
}

impl SealedSecrets {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    async fn generate(&self, context: &Context, resource: &Resource) -> Result<Performed, ProviderError> {
        let generate = generate(resource)?;
        let text =
            generate_text(generate).map_err(|refusal| ProviderError::retryable(refusal.code, refusal.message))?;
        let tenant = self.store.tenant_of(&context.key).await?;
        let key = self.store.data_key(tenant).await?;
        let mut tx = self.store.begin(tenant).await?;
        let made = tx.generate_secret(&key, context.stack, &resource.identity, &text, "freehold").await?;
        // Whoever reads it starts behind a record that waits for the disk, and what was committed before is on disk then, too.
        tx.commit_without_waiting().await?;
        Ok(Performed { object: Some(made.identity.to_string()), note: None, ..Performed::default() })
    }

    async fn remove(&self, context: &Context, lookup: &Lookup) -> Result<Performed, ProviderError> {
        let tenant = self.store.tenant_of(&context.key).await?;
        let mut tx = self.store.begin(tenant).await?;
        tx.remove_secret(context.stack, &lookup.identity).await?;
        tx.commit().await?;
        Ok(Performed::default())
    }
}

#[async_trait]
impl Provider for SealedSecrets {
    fn name(&self) -> ProviderName {
        ProviderName::Store
    }

    fn concurrency(&self) -> usize {
        4
    }

    async fn observe(&self, stack: StackId, lookup: &Lookup) -> Result<Option<Observation>, ProviderError> {
        let tenant = match self.store.tenant_of_stack(stack).await {
            Ok(tenant) => tenant,
            // A stack that isn't in the store yet has no secrets.
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut tx = self.store.begin(tenant).await?;
        let found = tx.secret(stack, &lookup.identity).await?;
        Ok(found.map(|secret| Observation {
            object: secret.identity.to_string(),
            ownership: Ownership::Ours,
            // How it would be generated says nothing about a value that is there.
            body: lookup.body.clone(),
            foreign_fields: Vec::new(),
        }))
    }

    async fn perform(&self, context: &Context, task: &Task) -> Result<Performed, ProviderError> {
        match task {
            Task::Apply { resource, .. } => self.generate(context, resource).await,
            Task::Delete { lookup, .. } => self.remove(context, lookup).await,
            Task::Run { .. } | Task::Dump { .. } | Task::Fence { .. } | Task::Lift { .. } => {
                Err(ProviderError::rejected(Code::StepFailed, "a secret can't be run, dumped or stopped"))
            }
        }
    }

    async fn readiness(&self, stack: StackId, lookup: &Lookup) -> Result<Readiness, ProviderError> {
        match self.observe(stack, lookup).await? {
            Some(_) => Ok(Readiness::Ready),
            None => Ok(Readiness::failed("it has no value")),
        }
    }

    async fn owned(&self, _stack: Option<StackId>) -> Result<Vec<OwnedObject>, ProviderError> {
        // Secrets are rows of their stack and go with it, in the transaction that ends its destroy: none can be left behind.
        Ok(Vec::new())
    }
}

/// How a secret is to be generated. What this release can't read is refused: a value that was made once stays.
fn generate(resource: &Resource) -> Result<Generate, ProviderError> {
    let name = &resource.identity;
    let Some(generate) = resource.body.get("generate") else {
        let message = format!("secret {name} has no value, and is not generated");
        return Err(ProviderError::rejected(Code::SecretNotSet, message));
    };
    let bytes = generate.get("bytes").and_then(Value::as_integer).and_then(|bytes| u32::try_from(bytes).ok());
    let encoding = generate.get("encoding").and_then(Value::as_text).and_then(Encoding::of);
    match (bytes, encoding) {
        (Some(bytes), Some(encoding)) => Ok(Generate { bytes, encoding }),
        (_, _) => {
            let message = format!("how secret {name} is generated can't be read: a newer release may have written it");
            Err(ProviderError::rejected(Code::StoreUnreadable, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use freehold_graph::{ResourceId, ResourceKind};
    use std::collections::BTreeSet;

    #[test]
    fn a_secret_is_generated_as_asked_or_not_at_all() {
        let secret = |body: Value| Resource {
            id: ResourceId::new("secret", "key"),
            kind: ResourceKind::StoreSecret,
            identity: "key".to_owned(),
            body,
            depends_on: BTreeSet::new(),
        };
        let generated = |encoding: &str| {
            let fields = [("bytes", Value::from(16u32)), ("encoding", Value::from(encoding))];
            generate(&secret(Value::map([("generate", Value::map(fields))])))
        };
        let code = |error: ProviderError| error.problem().code;
        assert_eq!(generated("hex").unwrap(), Generate { bytes: 16, encoding: Encoding::Hex });
        assert_eq!(generated("base64url").unwrap(), Generate { bytes: 16, encoding: Encoding::Base64Url });
        assert_eq!(code(generated("base32").unwrap_err()), Code::StoreUnreadable);
        let required = secret(Value::map([("required", Value::Bool(true))]));
        assert_eq!(code(generate(&required).unwrap_err()), Code::SecretNotSet);
    }
}
