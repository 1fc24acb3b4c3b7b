//! `ApiKey` -> a credential, and a Secret that holds it.

mod apply;
mod plan;
mod secret;
mod status;
mod user;
mod validate;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Resource;
use paddock_accounts::{
    CredentialId, Error as AccountsError,
    managed_resources::{OnUidMismatch, Staged},
};
use paddock_crds::{ApiKey, KeyDeletionPolicy};
use paddock_store::clock::Timestamp;

use crate::conditions::Reason;
use crate::error::Failure;
use crate::fence;
use crate::frame::{self, Cleanup, Controller, Next};
use crate::key::apply::Outcome;
use crate::key::user::Found;
use crate::object::{Object, Written, namespace_of};
use crate::shared::{Shared, context};

/// Past a time by so much, so that it is past for the database too.
const A_LITTLE: Duration = Duration::from_secs(1);

pub(crate) struct KeyController {
    shared: Arc<Shared>,
    written: Written<ApiKey>,
    /// Staged versions whose Secret could not be written.
    undelivered: Mutex<HashMap<CredentialId, Staged>>,
}

impl KeyController {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, written: Written::default(), undelivered: Mutex::default() }
    }

    fn undelivered<T>(&self, f: impl FnOnce(&mut HashMap<CredentialId, Staged>) -> T) -> T {
        f(&mut self.undelivered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What comes of the object; `None`: it is too soon to tell.
    async fn outcome(&self, object: &ApiKey) -> Result<Option<Outcome>, Failure> {
        if object.spec.revoked {
            return self.revoke(object).await.map(Some);
        }
        let wanted = match validate::wanted(object) {
            Ok(wanted) => wanted,
            Err(refusal) => return Ok(Some(refusal.into())),
        };
        match user::find(&self.shared, object).await? {
            Found::User(user) => apply::deliver(self, object, &wanted, user).await.map(Some),
            Found::Refused(refusal) => Ok(Some(refusal.into())),
            Found::TooSoon => Ok(None),
        }
    }

    async fn revoke(&self, object: &ApiKey) -> Result<Outcome, Failure> {
        self.end(object).await?;
        apply::remove_secret(&self.shared, object, &validate::secret_name(object)).await?;
        let credential = self.shared.accounts.managed().find_key(&self.shared.owner(object.meta())).await?;
        Ok(Outcome::Refused { refusal: apply::revoked(None), credential: credential.map(Box::new) })
    }

    /// Ends the credential of the object, also the one that an earlier life of its name left behind.
    async fn end(&self, object: &ApiKey) -> Result<(), Failure> {
        let (owner, context) = (self.shared.owner(object.meta()), context(ApiKey::KIND, object));
        let accounts = &self.shared.accounts;
        let ended = match accounts.managed().revoke_key(&context, &owner, OnUidMismatch::Reject).await {
            Err(AccountsError::UidMismatch(_)) if fence::is_present(&self.shared.client, object).await? => {
                accounts.managed().revoke_key(&context, &owner, OnUidMismatch::TakeOver).await?
            }
            Err(AccountsError::UidMismatch(_)) => return Err(Failure::Overtaken("a younger object of the same name")),
            other => other?,
        };
        if let Some(id) = ended {
            self.undelivered(|undelivered| undelivered.remove(&id));
        }
        Ok(())
    }

    /// The user shows how many keys it has.
    fn wake_user(&self, object: &ApiKey) {
        let reference = &object.spec.user_ref;
        let namespace = reference.namespace.clone().unwrap_or_else(|| namespace_of(object));
        // Nobody listens any more during a shutdown.
        let _ = self.shared.key_counts.send((namespace, reference.name.clone()));
    }
}

impl Controller for KeyController {
    type Object = ApiKey;

    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn written(&self) -> &Written<ApiKey> {
        &self.written
    }

    async fn reconcile(self: Arc<Self>, object: Arc<ApiKey>) -> Result<Next, Failure> {
        let object = object.as_ref();
        self.shared.users.synced().await;
        let Some(outcome) = self.outcome(object).await? else { return Ok(Next::Waiting) };
        let now = self.shared.now();
        let status = status::of(object, &outcome, now);
        if frame::report(self.as_ref(), object, status).await? {
            self.wake_user(object);
        }
        Ok(match &outcome {
            Outcome::Delivered(delivered) => within(now, &ends(delivered)),
            Outcome::Refused { refusal, .. } if refusal.reason == Reason::Revoked => Next::Settled,
            Outcome::Refused { .. } => Next::Waiting,
        })
    }

    async fn clean_up(self: Arc<Self>, object: Arc<ApiKey>) -> Result<Cleanup, Failure> {
        let object = object.as_ref();
        let name = validate::secret_name(object);
        match object.spec.deletion_policy {
            KeyDeletionPolicy::Retain => apply::orphan_secret(&self.shared, object, &name).await?,
            KeyDeletionPolicy::Revoke => {
                self.end(object).await?;
                apply::remove_secret(&self.shared, object, &name).await?;
            }
        }
        self.wake_user(object);
        Ok(Cleanup::Done)
    }
}

/// The times at which something is due.
fn ends(delivered: &apply::Delivered) -> [Option<Timestamp>; 3] {
    let active = plan::active(&delivered.versions);
    [
        plan::next_rotation(&delivered.wanted, &delivered.versions),
        active.and_then(|version| version.expires_at),
        delivered.credential.expires_at,
    ]
}

/// The soonest of the times; none: the usual.
fn within(now: Timestamp, times: &[Option<Timestamp>]) -> Next {
    times.iter().flatten().min().map_or(Next::Settled, |first| Next::Within(first.since(now) + A_LITTLE))
}
