//! `ApiUser` -> a user.

mod apply;
mod status;
pub(crate) mod validate;

use std::sync::Arc;

use kube::{Resource, ResourceExt};
use paddock_accounts::{Error as AccountsError, managed_resources::DeletionAction};
use paddock_crds::{ApiKey, ApiUser, UserDeletionPolicy};

use crate::conditions::{Reason, Refusal};
use crate::error::Failure;
use crate::frame::{self, Cleanup, Controller, Next};
use crate::object::{self, Object, Written};
use crate::shared::{Shared, context};

pub(crate) struct UserController {
    shared: Arc<Shared>,
    written: Written<ApiUser>,
}

impl UserController {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, written: Written::default() }
    }

    /// Writes the status; what the keys depend on wakes them.
    async fn report(&self, object: &ApiUser, status: paddock_crds::ApiUserStatus) -> Result<(), Failure> {
        let concerns_keys = object.status.as_ref().is_none_or(|before| status::concerns_keys(before, &status));
        if frame::report(self, object, status).await? && concerns_keys {
            self.wake_keys(object);
        }
        Ok(())
    }

    fn wake_keys(&self, object: &ApiUser) {
        for key in self.shared.keys.filter(|key| names(key, object)) {
            self.shared.keys.wake(&object::namespace_of(key.as_ref()), &key.name_any());
        }
    }

    /// Other objects with the same address may have their turn now.
    fn wake_rivals(&self, object: &ApiUser) {
        let Some(email) = validate::email(object) else { return };
        let rivals = self.shared.users.filter(|other| {
            other.uid() != object.uid() && validate::email(other).is_some_and(|address| address == email)
        });
        for rival in rivals {
            self.shared.users.wake(&object::namespace_of(rival.as_ref()), &rival.name_any());
        }
    }

    /// Keys that are being deleted too: they go first, so that each is revoked by its own object.
    fn keys_are_going(&self, object: &ApiUser) -> bool {
        let going = |key: &ApiKey| {
            key.meta().deletion_timestamp.is_some()
                && object::is_held(key)
                && !object::skips_cleanup(key)
                // Others may name the user, but have no say in when it goes.
                && validate::allows(object, &object::namespace_of(key)).is_ok()
        };
        !self.shared.keys.filter(|key| names(key, object) && going(key)).is_empty()
    }
}

impl Controller for UserController {
    type Object = ApiUser;

    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn written(&self) -> &Written<ApiUser> {
        &self.written
    }

    async fn reconcile(self: Arc<Self>, object: Arc<ApiUser>) -> Result<Next, Failure> {
        let object = object.as_ref();
        self.shared.users.synced().await;
        let outcome = match validate::desired(object, &self.shared.settings.admin_namespaces) {
            Ok(desired) => apply::user(&self.shared, object, &desired).await?,
            Err(refusal) => apply::Outcome::Refused(refusal),
        };
        let next = match &outcome {
            apply::Outcome::Applied(_) => Next::Settled,
            apply::Outcome::Refused(_) => Next::Waiting,
        };
        self.report(object, status::of(object, &outcome, self.shared.now())).await?;
        Ok(next)
    }

    async fn clean_up(self: Arc<Self>, object: Arc<ApiUser>) -> Result<Cleanup, Failure> {
        let object = object.as_ref();
        self.shared.keys.synced().await;
        if self.keys_are_going(object) {
            return Ok(Cleanup::Waiting);
        }
        let end = match object.spec.deletion_policy {
            UserDeletionPolicy::Delete => DeletionAction::Delete,
            UserDeletionPolicy::Disable => DeletionAction::Disable,
            UserDeletionPolicy::Retain => DeletionAction::Retain,
        };
        let owner = self.shared.owner(object.meta());
        match self.shared.accounts.managed().release_user(&context(ApiUser::KIND, object), &owner, end).await {
            Ok(()) => {}
            Err(error @ AccountsError::LastAdmin) => {
                let refusal = Refusal::new(Reason::LastAdmin, error.to_string());
                let outcome = apply::Outcome::Refused(refusal);
                self.report(object, status::of(object, &outcome, self.shared.now())).await?;
                return Ok(Cleanup::Waiting);
            }
            Err(error) => return Err(error.into()),
        }
        self.wake_keys(object);
        self.wake_rivals(object);
        Ok(Cleanup::Done)
    }
}

/// Whether the key is the user's.
fn names(key: &ApiKey, user: &ApiUser) -> bool {
    let reference = &key.spec.user_ref;
    let namespace = reference.namespace.as_ref().or(key.meta().namespace.as_ref());
    user.meta().name.as_ref() == Some(&reference.name) && user.meta().namespace.as_ref() == namespace
}
