//! Cleans up after a deleted `OllamaModel`: deletes the model with the last object that names it.

use std::sync::Arc;

use kube::{Resource, ResourceExt};
use paddock_accounts::managed_resources::Removal;
use paddock_crds::{ModelDeletionPolicy, OllamaModel};
use paddock_ollama::ModelName;

use crate::{
    context::{Context, audit_context},
    error::ReconcileError,
    model::{ModelReconciler, backend::Backend},
    object::namespace_of,
    reconciler::Cleanup,
};

impl ModelReconciler {
    /// Stops waiting for a pull. Deletes the model if the deletion policy says so.
    pub(super) async fn clean_up_model(&self, object: &OllamaModel) -> Result<Cleanup, ReconcileError> {
        self.pulls.unsubscribe(&(namespace_of(object), object.name_any()));
        if object.spec.deletion_policy == ModelDeletionPolicy::Delete {
            self.context.models.wait_until_synced().await;
            let _guard = self.deletion_lock.lock().await;
            delete(&self.context, &self.backends.current(), object).await?;
        }
        Ok(Cleanup::Done)
    }
}

/// Deletes the record of the model. Deletes the model from every backend if the operator pulled it
/// and no other object names it.
async fn delete(context: &Context, backends: &[Arc<Backend>], object: &OllamaModel) -> Result<(), ReconcileError> {
    let accounts = &context.accounts;
    let owner = context.owner(object);
    let Ok(model) = ModelName::parse(&object.spec.model) else { return Ok(()) };
    let removal = match accounts.managed().plan_model_removal(&owner, model.as_str()).await? {
        Removal::Delete if is_named_by_other(context, object) => Removal::Keep,
        other => other,
    };
    let detail = match removal {
        Removal::Gone => return Ok(()),
        Removal::Keep => "left in Ollama: it was there before, or another object names it",
        Removal::Delete => {
            if backends.is_empty() {
                return Err(ReconcileError::NoBackend);
            }
            for backend in backends {
                backend.delete_model(&model).await?;
            }
            "removed from Ollama"
        }
    };
    accounts.managed().forget_model(&audit_context(object), &owner, detail).await?;
    Ok(())
}

/// Whether another object, which is not being deleted, names the same model.
fn is_named_by_other(context: &Context, object: &OllamaModel) -> bool {
    let model = ModelName::parse(&object.spec.model).ok();
    let names_it = |other: &OllamaModel| {
        other.uid() != object.uid()
            && other.meta().deletion_timestamp.is_none()
            && ModelName::parse(&other.spec.model).ok() == model
    };
    !context.models.filter(names_it).is_empty()
}
