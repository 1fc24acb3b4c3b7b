//! The keys of Kubernetes objects.

use paddock_store::{
    Tx,
    audit::{Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::{CredentialId, UserId},
    retry_lost_race,
};

use super::{ManagedResources, OnUidMismatch, uid_check::check_uid};
use crate::{
    credentials::{
        credential::{self, Credential},
        issue::{Draft, check, insert, issued_event, within_role},
        revoke, secrets,
        update::{difference, update},
    },
    error::Error,
    types::{Limits, ManagedBy, ModelPatterns, Priority, Scopes},
    users::user,
};

/// The desired key of an object.
#[derive(Clone, Debug)]
pub struct DesiredKey {
    /// The owner.
    pub user_id: UserId,
    /// The label.
    pub label: String,
    /// The scopes.
    pub scopes: Scopes,
    /// The models that the key may use; `None` means all models that the owner may use.
    pub models: Option<ModelPatterns>,
    /// The limits of the key. The limits of the owner apply too.
    pub limits: Limits,
    /// The band of its requests in the queue.
    pub priority: Priority,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

impl ManagedResources<'_> {
    /// Finds the credential of an object of this name. The UID of the object may differ.
    pub async fn find_key(self, owner: &ManagedBy) -> Result<Option<Credential>, Error> {
        credential::by_owner(self.accounts.reader().await?.conn(), owner).await
    }

    /// Creates or changes the credential of an object. [`ManagedResources::stage_secret`] and
    /// [`ManagedResources::activate_secret`] give it a secret. A revoked credential is returned
    /// unchanged. An expiry in the past is refused only for a new credential.
    pub async fn apply_key(
        self,
        context: &AuditContext,
        owner: &ManagedBy,
        desired: &DesiredKey,
        on_mismatch: OnUidMismatch,
    ) -> Result<Credential, Error> {
        check(&desired.label, &desired.limits, None, self.accounts.now())?;
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let now = self.accounts.now();
            let user = user::locked(&mut tx, desired.user_id).await?;
            within_role(&user, &desired.scopes)?;
            let Some(before) = credential::by_owner(tx.conn(), owner).await? else {
                check(&desired.label, &desired.limits, desired.expires_at, now)?;
                let credential = insert(&mut tx, &draft(owner, desired), now).await?;
                tx.commit(issued_event(EventType::ApiKeyCreated, &credential)).await?;
                return Ok(credential);
            };
            let before = credential::locked(&mut tx, before.id).await?;
            check_uid(before.managed_by.as_ref(), owner, on_mismatch)?;
            // A revoked key stays revoked for an object with the same UID and user. A key that an
            // admin revoked stays revoked for the next UIDs too.
            let is_same_owner = before.managed_by.as_ref() == Some(owner) && before.user_id == desired.user_id;
            if before.revoked_at.is_some() && (is_same_owner || before.overridden_at.is_some()) {
                tx.end_unchanged().await?;
                return Ok(before);
            }
            if before.user_id != desired.user_id || before.revoked_at.is_some() {
                let (credential, event) = replace_credential(&mut tx, before, owner, desired, now).await?;
                tx.commit(event).await?;
                return Ok(credential);
            }
            let mut after = before.clone();
            after.label.clone_from(&desired.label);
            after.scopes = desired.scopes.clone();
            after.models.clone_from(&desired.models);
            after.limits = desired.limits;
            after.priority = desired.priority;
            after.expires_at = desired.expires_at;
            after.managed_by = Some(owner.clone());
            let Some(event) = difference(&before, &after) else {
                tx.end_unchanged().await?;
                return Ok(before);
            };
            update(&mut tx, &after, now).await?;
            tx.commit(event).await?;
            Ok(after)
        })
        .await
    }

    /// Revokes the credential of an object that is deleted or has `revoked: true`. Returns the id
    /// of the credential, also if it was revoked already; `None` if there is no credential.
    pub async fn revoke_key(
        self,
        context: &AuditContext,
        owner: &ManagedBy,
        on_mismatch: OnUidMismatch,
    ) -> Result<Option<CredentialId>, Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let Some(key) = credential::by_owner(tx.conn(), owner).await? else {
                tx.end_unchanged().await?;
                return Ok(None);
            };
            let key = credential::locked(&mut tx, key.id).await?;
            check_uid(key.managed_by.as_ref(), owner, on_mismatch)?;
            let id = key.id;
            if key.revoked_at.is_none() {
                let event = revoke::revoke(&mut tx, key, false, self.accounts.now()).await?;
                tx.commit(event).await?;
            } else {
                tx.end_unchanged().await?;
            }
            Ok(Some(id))
        })
        .await
    }
}

/// Replaces a credential that is revoked or belongs to another user. Returns the new credential and
/// the event.
async fn replace_credential(
    tx: &mut Tx,
    before: Credential,
    owner: &ManagedBy,
    desired: &DesiredKey,
    now: Timestamp,
) -> Result<(Credential, Event), Error> {
    let aside = Credential { managed_by: None, revoked_at: before.revoked_at.or(Some(now)), ..before };
    update(tx, &aside, now).await?;
    secrets::revoke_all(tx, aside.id).await?;
    let credential = insert(tx, &draft(owner, desired), now).await?;
    let event = issued_event(EventType::ApiKeyCreated, &credential)
        .detail(format!("takes the place of credential {}", aside.id))
        .also_about(aside.user_id);
    Ok((credential, event))
}

fn draft(owner: &ManagedBy, desired: &DesiredKey) -> Draft {
    Draft {
        user_id: desired.user_id,
        label: desired.label.clone(),
        scopes: desired.scopes.clone(),
        models: desired.models.clone(),
        limits: desired.limits,
        priority: desired.priority,
        expires_at: desired.expires_at,
        managed_by: Some(owner.clone()),
    }
}
