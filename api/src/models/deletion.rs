//! Deletes a model from every backend.

use std::sync::Arc;

use futures_util::future::join_all;
use paddock_ollama::{ClientError, ModelName};
use paddock_store::{context::AuditContext, error_chain};

use super::{Models, backend::BackendClient};
use crate::http::deadline::{DbError, with_db_timeout};

/// Why a model was not deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeletionError {
    /// No backend has the model.
    #[error("no Ollama has the model")]
    NotFound,
    /// A backend did not respond, and no other backend has the model.
    #[error("Ollama is not available")]
    Unavailable,
    /// The deletion is recorded, but a backend failed to delete the model.
    #[error("Ollama failed to delete the model: {0}")]
    Failed(ClientError),
    /// An object owns the model, or the deletion could not be recorded.
    #[error(transparent)]
    Database(#[from] DbError),
}

impl Models {
    /// Deletes a model from every backend that has it. Continues if the caller is dropped, because
    /// the deletion is already recorded.
    pub(crate) async fn delete(&self, context: &AuditContext, model: ModelName) -> Result<(), DeletionError> {
        with_db_timeout(self.0.accounts.models().check_unmanaged(model.as_str())).await?;
        let present = self.backends_with(&model).await?;
        let (models, context) = (self.clone(), context.clone());
        let deleting = tokio::spawn(async move { models.delete_from(&context, &model, present).await });
        deleting.await.unwrap_or_else(|_| Err(DbError::Failed(paddock_store::Error::Stopping.into()).into()))
    }

    /// Returns the backends that have the model.
    async fn backends_with(&self, model: &ModelName) -> Result<Vec<Arc<BackendClient>>, DeletionError> {
        let backends = self.0.backends.current();
        let results = join_all(backends.iter().map(|backend| backend.has(model))).await;
        // Without any backend, nothing is known.
        let is_complete = !backends.is_empty() && results.iter().all(Result::is_ok);
        let present = backends.iter().zip(results).filter(|(_, result)| matches!(result, Ok(true)));
        let present: Vec<_> = present.map(|(backend, _)| Arc::clone(backend)).collect();
        match (present.is_empty(), is_complete) {
            (false, _) => Ok(present),
            (true, true) => Err(DeletionError::NotFound),
            (true, false) => Err(DeletionError::Unavailable),
        }
    }

    async fn delete_from(
        &self,
        context: &AuditContext,
        model: &ModelName,
        backends: Vec<Arc<BackendClient>>,
    ) -> Result<(), DeletionError> {
        with_db_timeout(self.0.accounts.models().record_deletion(context, model.as_str())).await?;
        let mut result = Ok(());
        for backend in backends {
            // If the backend no longer has the model, the deletion has succeeded.
            let Err(error) = backend.client.delete(model).await else { continue };
            tracing::error!(%model, backend = backend.url, error = error_chain(&error), "cannot delete a model");
            let reason = format!("{}: {error}", backend.url);
            let recorded = self.0.accounts.models().record_failed_deletion(context, model.as_str(), &reason);
            if let Err(error) = with_db_timeout(recorded).await {
                tracing::error!(%model, error = error_chain(&error), "cannot record the failed deletion of a model");
            }
            result = Err(DeletionError::Failed(error));
        }
        result
    }
}
