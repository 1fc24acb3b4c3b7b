//! Cleans up after a deleted `ApiUser`.

use kube::{Resource, ResourceExt};
use paddock_accounts::{Error as AccountsError, managed_resources::DeletionAction};
use paddock_crds::{ApiKey, ApiUser, UserDeletionPolicy};

use crate::{
    context::audit_context,
    error::ReconcileError,
    object::namespace_of,
    reconciler::{
        Cleanup,
        finalizer::{has_finalizer, skips_cleanup},
    },
    status::conditions::{Blocked, Reason},
    user::{UserReconciler, apply::Applied, is_key_of, password, status, validate},
};

impl UserReconciler {
    /// Ends the user as the deletion policy says, after its keys are cleaned up. The last admin
    /// stays, and its status reports that.
    pub(super) async fn clean_up_user(&self, object: &ApiUser) -> Result<Cleanup, ReconcileError> {
        self.context.keys.wait_until_synced().await;
        if let Some(key) = self.key_to_clean_up(object) {
            let message = format!("the user's ApiKey {key} is being deleted, and goes first");
            return Ok(Cleanup::Waiting(Blocked::new(Reason::CleanupPending, message)));
        }
        let end = match object.spec.deletion_policy {
            UserDeletionPolicy::Delete => DeletionAction::Delete,
            UserDeletionPolicy::Disable => DeletionAction::Disable,
            UserDeletionPolicy::Retain => DeletionAction::Retain,
        };
        let owner = self.context.owner(object);
        match self.context.accounts.managed().release_user(&audit_context(object), &owner, end).await {
            Ok(()) => {}
            Err(error @ AccountsError::LastAdmin) => {
                let blocked = Blocked::new(Reason::LastAdmin, error.to_string());
                let applied = Applied::from(blocked.clone());
                self.report(object, status::build(object, &applied, self.context.now())).await?;
                return Ok(Cleanup::Waiting(blocked));
            }
            Err(error) => return Err(error.into()),
        }
        if end == DeletionAction::Delete {
            password::delete_generated(&self.context, object).await?;
        }
        self.enqueue_keys(object);
        self.enqueue_rivals(object);
        Ok(Cleanup::Done)
    }

    /// Returns a key of the user that is still being cleaned up. Keys go before their user, so that
    /// each key's own object revokes it.
    fn key_to_clean_up(&self, object: &ApiUser) -> Option<String> {
        let needs_cleanup = |key: &ApiKey| {
            key.meta().deletion_timestamp.is_some()
                && has_finalizer(key)
                && !skips_cleanup(key)
                // A key in a namespace that the user does not allow must not delay the user's
                // deletion.
                && validate::check_key_namespace(object, &namespace_of(key)).is_ok()
        };
        let keys = self.context.keys.filter(|key| is_key_of(key, object) && needs_cleanup(key));
        keys.iter().map(|key| format!("{}/{}", namespace_of(key.as_ref()), key.name_any())).min()
    }

    /// Reconciles the other objects with the same e-mail: the address may be free now.
    fn enqueue_rivals(&self, object: &ApiUser) {
        let Some(email) = validate::desired_email(object) else { return };
        let rivals = self.context.users.filter(|other| {
            other.uid() != object.uid() && validate::desired_email(other).is_some_and(|address| address == email)
        });
        for rival in rivals {
            self.context.users.enqueue(&namespace_of(rival.as_ref()), &rival.name_any());
        }
    }
}
