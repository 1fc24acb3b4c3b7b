//! Cleans up after a deleted `ApiKey`.

use paddock_crds::{ApiKey, KeyDeletionPolicy};

use crate::{error::ReconcileError, key::KeyReconciler, reconciler::Cleanup};

impl KeyReconciler {
    /// Revokes the credential and deletes the Secret, or keeps both, as the deletion policy says.
    pub(super) async fn clean_up_key(&self, object: &ApiKey) -> Result<Cleanup, ReconcileError> {
        let secret = self.secret_writer(object);
        match object.spec.deletion_policy {
            KeyDeletionPolicy::Retain => secret.orphan().await?,
            KeyDeletionPolicy::Revoke => {
                self.revoke(object).await?;
                secret.delete().await?;
            }
        }
        self.report_key_change(object);
        Ok(Cleanup::Done)
    }
}
