//! Reconciles an `ApiUser` into a user.

mod apply;
mod clean_up;
pub(crate) mod password;
mod restrict;
mod status;
pub(crate) mod validate;

use std::{sync::Arc, time::Duration};

use kube::{Resource, ResourceExt};
use paddock_crds::{ApiKey, ApiUser, ApiUserStatus};

use crate::{
    context::Context,
    error::ReconcileError,
    object::namespace_of,
    reconciler::{Cleanup, Reconciler, Requeue, WriteCache, report_status},
    status::conditions::{Blocked, Reason, is_ready},
    user::{apply::Applied, password::ComparedPasswords},
};

pub(crate) struct UserReconciler {
    context: Arc<Context>,
    write_cache: WriteCache<ApiUser>,
    compared_passwords: ComparedPasswords,
}

impl UserReconciler {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, write_cache: WriteCache::default(), compared_passwords: ComparedPasswords::default() }
    }

    /// Reports the status, and reconciles the user's keys if it affects them.
    async fn report(&self, object: &ApiUser, status: ApiUserStatus) -> Result<(), ReconcileError> {
        let affects_keys = object.status.as_ref().is_none_or(|before| status::affects_keys(before, &status));
        if report_status(self, object, status).await? && affects_keys {
            self.enqueue_keys(object);
        }
        Ok(())
    }

    /// Whether the database does not have the user that the status reports as applied.
    async fn is_lost(&self, object: &ApiUser) -> Result<bool, ReconcileError> {
        let is_applied = object.status.as_ref().is_some_and(|status| status.user_id.is_some() && is_ready(status));
        Ok(is_applied && self.context.accounts.managed().find_user(&self.context.owner(object)).await?.is_none())
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
        if self.is_lost(object).await? {
            let lost =
                Blocked::new(Reason::DatabaseReplaced, "the database does not have the user; it is created again");
            self.report(object, status::build(object, &lost.into(), self.context.now())).await?;
            return Ok(Requeue::Within(Duration::ZERO));
        }
        let applied = match validate::desired_user(object, &self.context.settings.admin_namespaces) {
            Ok(desired) => apply::apply_user(&self.context, object, &desired).await?,
            Err(blocked) => blocked.into(),
        };
        let applied = match applied {
            Applied::Blocked { blocked, .. } => restrict::restrict_user(&self.context, object, blocked).await?,
            Applied::User(mut applied) => {
                let compared = &self.compared_passwords;
                applied.password = password::apply_password(&self.context, compared, object, &applied.user).await?;
                Applied::User(applied)
            }
        };
        let requeue = match &applied {
            Applied::User(applied) if !matches!(applied.password, Some(Err(_))) => Requeue::Settled,
            Applied::Blocked { blocked, .. } if blocked.reason.needs_edit() => Requeue::Settled,
            Applied::User(_) | Applied::Blocked { .. } => Requeue::Backoff,
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
