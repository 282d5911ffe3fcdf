//! Where providers get the texts of secrets from.

use async_trait::async_trait;
use freehold_graph::{SecretRef, SecretText, StackId, Value};

use crate::provider_error::ProviderError;

/// Where secrets are revealed, inside a provider call only.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The text of a secret of a stack.
    async fn reveal(&self, stack: StackId, secret: &SecretRef) -> Result<SecretText, ProviderError>;

    /// A desired body in comparable form as of now. Asked where the plan had to leave a digest open, because the secret is made by
    /// the same operation. `None` leaves it open.
    async fn comparable(&self, _stack: StackId, _body: &Value) -> Result<Option<Value>, ProviderError> {
        Ok(None)
    }
}
