//! Reconciles an `ApiUser` into a user.

mod apply;
mod clean_up;
mod status;
pub(crate) mod validate;

use std::sync::Arc;

use kube::{Resource, ResourceExt};
use paddock_crds::{ApiKey, ApiUser, ApiUserStatus};

use crate::{
    context::Context,
    error::ReconcileError,
    object::namespace_of,
    reconciler::{Cleanup, Reconciler, Requeue, WriteCache, report_status},
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
            Applied::Blocked(blocked) if blocked.reason.needs_edit() => Requeue::Settled,
            Applied::Blocked(_) => Requeue::Backoff,
        };
        self.report(object, status::build(object, &applied, self.context.now())).await?;
        Ok(requeue)
    }

    async fn clean_up(self: Arc<Self>, object: Arc<ApiUser>) -> Result<Cleanup, ReconcileError> {
        self.clean_up_user(&object).await
    }
}

/// Whether the key's `userRef` names the user.
fn is_key_of(key: &ApiKey, user: &ApiUser) -> bool {
    let reference = &key.spec.user_ref;
    let namespace = reference.namespace.as_ref().or(key.meta().namespace.as_ref());
    user.meta().name.as_ref() == Some(&reference.name) && user.meta().namespace.as_ref() == namespace
}
