//! Cleans up after a deleted `ApiKey`.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use paddock_crds::{ApiKey, KeyDeletionPolicy};

use crate::{access::forbidden, error::ReconcileError, key::KeyReconciler, object::namespace_of, reconciler::Cleanup};

impl KeyReconciler {
    /// Revokes the credential and deletes the Secret, or keeps both, as the deletion policy says.
    pub(super) async fn clean_up_key(&self, object: &ApiKey) -> Result<Cleanup, ReconcileError> {
        let secret = self.secret_writer(object);
        let result = match object.spec.deletion_policy {
            KeyDeletionPolicy::Retain => secret.orphan().await,
            KeyDeletionPolicy::Revoke => {
                self.revoke(object).await?;
                secret.delete().await
            }
        };
        match result {
            // The deletion of a namespace takes the operator's rights in it, and all Secrets.
            Err(ReconcileError::Kube(error)) if forbidden(&error).is_some() => {
                if !self.is_namespace_terminating(object).await {
                    return Err(error.into());
                }
            }
            result => result?,
        }
        self.report_key_change(object);
        Ok(Cleanup::Done)
    }

    /// Whether the object's namespace is being deleted. False if the operator may not know.
    async fn is_namespace_terminating(&self, object: &ApiKey) -> bool {
        let namespaces: Api<Namespace> = Api::all(self.context.client.clone());
        let namespace = namespaces.get_metadata_opt(&namespace_of(object)).await;
        namespace.is_ok_and(|namespace| namespace.is_none_or(|found| found.metadata.deletion_timestamp.is_some()))
    }
}
