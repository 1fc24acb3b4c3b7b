//! Reconciles an `ApiKey` into a credential, and a Secret that holds its plaintext.

mod apply;
mod clean_up;
pub(crate) mod expiry;
mod issue;
mod pending_secrets;
mod plan;
mod restrict;
mod secret_content;
mod secret_writer;
mod status;
mod usability;
mod user;
mod validate;

use std::{collections::HashSet, sync::Arc, time::Duration};

use paddock_crds::{ApiKey, HasConditions};
use paddock_store::clock::Timestamp;
use parking_lot::Mutex;

use crate::{
    context::{Context, audit_context},
    error::ReconcileError,
    key::{
        apply::{Applied, Delivered, KeyState},
        expiry::RetiringNotice,
        pending_secrets::PendingSecrets,
        secret_writer::SecretWriter,
        user::UserLookup,
    },
    object::{namespace_of, takeover::with_uid_check},
    reconciler::{Cleanup, Reconciler, Requeue, WriteCache, report_status},
    status::conditions::{Blocked, Reason, condition_type, is_ready},
};

/// Added to the due time of a rotation or expiry, so that the time has passed for the clock of the
/// database too.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

pub(crate) struct KeyReconciler {
    context: Arc<Context>,
    write_cache: WriteCache<ApiKey>,
    pending_secrets: PendingSecrets,
    /// The notices about replaced versions that were published.
    retiring_notices: Mutex<HashSet<RetiringNotice>>,
}

impl KeyReconciler {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            write_cache: WriteCache::default(),
            pending_secrets: PendingSecrets::default(),
            retiring_notices: Mutex::default(),
        }
    }

    /// Applies the spec. Returns `None` if the user of the key may still appear.
    async fn apply(&self, object: &ApiKey) -> Result<Option<Applied>, ReconcileError> {
        if object.spec.revoked {
            return self.apply_revoked(object).await.map(Some);
        }
        let spec = match validate::key_spec(object) {
            Ok(spec) => spec,
            Err(blocked) => return restrict::restrict_key(&self.context, object, blocked).await.map(Some),
        };
        let applied = match user::find_user(&self.context, object).await? {
            UserLookup::Found(user) => {
                apply::deliver(&self.context, &self.pending_secrets, object, &spec, &user).await?
            }
            UserLookup::Blocked(blocked) => blocked.into(),
            UserLookup::Pending => return Ok(None),
        };
        match applied {
            // The state of the key is not known yet.
            Applied::Blocked { blocked, key: None } => {
                restrict::restrict_key(&self.context, object, blocked).await.map(Some)
            }
            applied => Ok(Some(applied)),
        }
    }

    /// Whether the database does not have the key that the status reports as ready.
    async fn is_lost(&self, object: &ApiKey) -> Result<bool, ReconcileError> {
        let is_issued = object.status.as_ref().is_some_and(|status| status.credential_id.is_some() && is_ready(status));
        Ok(is_issued && self.context.accounts.managed().find_key(&self.context.owner(object)).await?.is_none())
    }

    /// Applies `spec.revoked`: revokes the credential and deletes the Secret.
    async fn apply_revoked(&self, object: &ApiKey) -> Result<Applied, ReconcileError> {
        self.revoke(object).await?;
        self.secret_writer(object).delete().await?;
        let credential = self.context.accounts.managed().find_key(&self.context.owner(object)).await?;
        let key = credential.map(|credential| Box::new(KeyState { credential, versions: Vec::new() }));
        Ok(Applied::Blocked { blocked: apply::revoked(None), key })
    }

    /// Revokes the credential of the object, even if a deleted object of the same name created it.
    async fn revoke(&self, object: &ApiKey) -> Result<(), ReconcileError> {
        let (owner, audit) = (self.context.owner(object), audit_context(object));
        let accounts = &self.context.accounts;
        let revoked = with_uid_check(&self.context.client, object, |on_uid_mismatch| {
            accounts.managed().revoke_key(&audit, &owner, on_uid_mismatch)
        })
        .await?;
        if let Some(id) = revoked {
            self.pending_secrets.remove(id);
        }
        Ok(())
    }

    /// Publishes an event when the key in the Secret, or a replaced version that is in use, ends soon.
    async fn publish_notices(&self, object: &ApiKey, delivered: &Delivered, now: Timestamp) {
        let events = &self.context.events;
        let before = object.status.as_ref().and_then(|status| status.condition(condition_type::EXPIRING));
        if let Some(reason) = status::expiry_notice(delivered, now)
            && before.is_none_or(|before| before.reason != reason.as_str())
        {
            events.publish_warning(object, "Expiring", status::EXPIRING).await;
        }
        for (version, number) in expiry::retiring_in_use(&delivered.versions, now) {
            if self.retiring_notices.lock().insert((version.id, number)) {
                let note = format!(
                    "the replaced version {} is still in use and ends soon; restart what uses it, so that it reads Secret {}",
                    version.prefix(),
                    delivered.spec.secret_name
                );
                events.publish_warning(object, "ReplacedVersionInUse", &note).await;
            }
        }
    }

    fn secret_writer<'a>(&self, object: &'a ApiKey) -> SecretWriter<'a> {
        SecretWriter::new(&self.context.client, object, validate::secret_name(object))
    }

    /// Reports a change of the user's keys, whose number the status of the user shows.
    fn report_key_change(&self, object: &ApiKey) {
        let reference = &object.spec.user_ref;
        let namespace = reference.namespace.clone().unwrap_or_else(|| namespace_of(object));
        // Fails only if the operator is shutting down.
        let _ = self.context.key_count_changes.send((namespace, reference.name.clone()));
    }
}

impl Reconciler for KeyReconciler {
    type Object = ApiKey;

    fn context(&self) -> &Context {
        &self.context
    }

    fn write_cache(&self) -> &WriteCache<ApiKey> {
        &self.write_cache
    }

    async fn reconcile(self: Arc<Self>, object: Arc<ApiKey>) -> Result<Requeue, ReconcileError> {
        let object = object.as_ref();
        self.context.users.wait_until_synced().await;
        if self.is_lost(object).await? {
            let why = "the database does not have the key, so the gateway refuses it; a new one is issued";
            let lost = Blocked::new(Reason::DatabaseReplaced, why).into();
            report_status(self.as_ref(), object, status::build(object, &lost, self.context.now())).await?;
            return Ok(Requeue::Within(Duration::ZERO));
        }
        let Some(applied) = self.apply(object).await? else {
            let message = "the ApiUser of this key is not there or not applied yet";
            return Ok(Requeue::Waiting(Blocked::new(Reason::UserNotReady, message)));
        };
        let now = self.context.now();
        if report_status(self.as_ref(), object, status::build(object, &applied, now)).await? {
            self.report_key_change(object);
        }
        if let Applied::Delivered(delivered) = &applied {
            self.publish_notices(object, delivered, now).await;
        }
        Ok(match &applied {
            Applied::Delivered(delivered) => requeue_when_due(delivered, now),
            Applied::Blocked { blocked, .. } if blocked.reason.needs_edit() => Requeue::Settled,
            Applied::Blocked { .. } => Requeue::Backoff,
        })
    }

    async fn clean_up(self: Arc<Self>, object: Arc<ApiKey>) -> Result<Cleanup, ReconcileError> {
        self.clean_up_key(&object).await
    }
}

/// Requeues the object for the next rotation, expiry or warning.
fn requeue_when_due(delivered: &Delivered, now: Timestamp) -> Requeue {
    let due = [
        plan::next_rotation(&delivered.spec, &delivered.versions),
        plan::active_version(&delivered.versions).and_then(|version| version.expires_at),
        delivered.credential.expires_at,
        status::unreplaced_end(delivered).and_then(|end| expiry::next_notice(end, now)),
        expiry::next_retiring_notice(&delivered.versions, now),
    ];
    let first = due.into_iter().flatten().min();
    first.map_or(Requeue::Settled, |first| Requeue::Within(first.since(now) + CLOCK_SLACK))
}
