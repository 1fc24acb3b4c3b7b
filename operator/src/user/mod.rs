//! Reconciles an `ApiUser` into a user.

mod apply;
mod status;
pub(crate) mod validate;

use std::sync::Arc;

use kube::{Resource, ResourceExt};
use paddock_accounts::{Error as AccountsError, managed_resources::DeletionAction};
use paddock_crds::{ApiKey, ApiUser, ApiUserStatus, UserDeletionPolicy};

use crate::{
    context::{Context, audit_context},
    error::ReconcileError,
    object::namespace_of,
    reconciler::{
        Cleanup, Reconciler, Requeue, WriteCache,
        finalizer::{has_finalizer, skips_cleanup},
        report_status,
    },
    status::conditions::{Blocked, Reason},
    user::apply::Applied,
};

pub(crate) struct UserReconciler {
    context: Arc<Context>,
    write_cache: WriteCache<ApiUser>,
}

impl UserReconciler {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, write_cache: WriteCache::default() }
    }

    /// Reports the status, and reconciles the user's keys if it affects them.
    async fn report(&self, object: &ApiUser, status: ApiUserStatus) -> Result<(), ReconcileError> {
        let affects_keys = object.status.as_ref().is_none_or(|before| status::affects_keys(before, &status));
        if report_status(self, object, status).await? && affects_keys {
            self.enqueue_keys(object);
        }
        Ok(())
    }

    fn enqueue_keys(&self, object: &ApiUser) {
        for key in self.context.keys.filter(|key| is_key_of(key, object)) {
            self.context.keys.enqueue(&namespace_of(key.as_ref()), &key.name_any());
        }
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

    /// Whether any of the user's keys is still being cleaned up. Keys go before their user, so that
    /// each key's own object revokes it.
    fn has_keys_to_clean_up(&self, object: &ApiUser) -> bool {
        let needs_cleanup = |key: &ApiKey| {
            key.meta().deletion_timestamp.is_some()
                && has_finalizer(key)
                && !skips_cleanup(key)
                // A key in a namespace that the user does not allow must not delay the user's
                // deletion.
                && validate::check_key_namespace(object, &namespace_of(key)).is_ok()
        };
        !self.context.keys.filter(|key| is_key_of(key, object) && needs_cleanup(key)).is_empty()
    }
}

impl Reconciler for UserReconciler {
    type Object = ApiUser;

    fn context(&self) -> &Context {
        &self.context
    }

    fn write_cache(&self) -> &WriteCache<ApiUser> {
        &self.write_cache
    }

    async fn reconcile(self: Arc<Self>, object: Arc<ApiUser>) -> Result<Requeue, ReconcileError> {
        let object = object.as_ref();
        self.context.users.wait_until_synced().await;
        let applied = match validate::desired_user(object, &self.context.settings.admin_namespaces) {
            Ok(desired) => apply::apply_user(&self.context, object, &desired).await?,
            Err(blocked) => Applied::Blocked(blocked),
        };
        let requeue = match &applied {
            Applied::User(_) => Requeue::Settled,
            Applied::Blocked(_) => Requeue::Backoff,
        };
        self.report(object, status::build(object, &applied, self.context.now())).await?;
        Ok(requeue)
    }

    async fn clean_up(self: Arc<Self>, object: Arc<ApiUser>) -> Result<Cleanup, ReconcileError> {
        let object = object.as_ref();
        self.context.keys.wait_until_synced().await;
        if self.has_keys_to_clean_up(object) {
            return Ok(Cleanup::Waiting);
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
                let applied = Applied::Blocked(Blocked::new(Reason::LastAdmin, error.to_string()));
                self.report(object, status::build(object, &applied, self.context.now())).await?;
                return Ok(Cleanup::Waiting);
            }
            Err(error) => return Err(error.into()),
        }
        self.enqueue_keys(object);
        self.enqueue_rivals(object);
        Ok(Cleanup::Done)
    }
}

/// Whether the key's `userRef` names the user.
fn is_key_of(key: &ApiKey, user: &ApiUser) -> bool {
    let reference = &key.spec.user_ref;
    let namespace = reference.namespace.as_ref().or(key.meta().namespace.as_ref());
    user.meta().name.as_ref() == Some(&reference.name) && user.meta().namespace.as_ref() == namespace
}
