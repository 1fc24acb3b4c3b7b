//! The keys of Kubernetes objects.

use paddock_store::{
    Mutation, Tx,
    audit::EventType,
    clock::Timestamp,
    context::AuditContext,
    ids::{CredentialId, UserId},
};
use scoped_futures::ScopedFutureExt;

use super::{ManagedResources, OnUidMismatch, owner::check_uid};
use crate::{
    credentials::{
        credential::{self, Credential},
        issue::{Draft, check, insert, issued_event, within_role},
        revoke, secrets,
        update::{difference, update},
    },
    error::Error,
    types::{Limits, ManagedBy, ModelPatterns, Scopes},
    users::user,
};

/// The desired key of an object.
#[derive(Clone, Debug)]
pub struct DesiredKey {
    /// Whose it is.
    pub user_id: UserId,
    /// What people call it.
    pub label: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// The models it is narrowed to.
    pub models: Option<ModelPatterns>,
    /// Its own limits.
    pub limits: Limits,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

impl ManagedResources<'_> {
    /// Finds the credential of an object of this name, whatever its UID.
    pub async fn find_key(self, owner: &ManagedBy) -> Result<Option<Credential>, Error> {
        credential::by_owner(self.accounts.reader().await?.conn(), owner).await
    }

    /// Creates or changes the credential of an object. Its secrets come by
    /// [`ManagedResources::stage_secret`] and [`ManagedResources::activate_secret`]. A revoked credential is
    /// returned as it is. An expiry in the past is refused only for a new credential.
    pub async fn apply_key(
        self,
        context: &AuditContext,
        owner: &ManagedBy,
        desired: &DesiredKey,
        on_mismatch: OnUidMismatch,
    ) -> Result<Credential, Error> {
        check(&desired.label, &desired.limits, None, self.accounts.now())?;
        self.accounts
            .write(context, |tx| {
                async move {
                    let now = self.accounts.now();
                    let user = user::locked(tx, desired.user_id).await?;
                    within_role(&user, &desired.scopes)?;
                    let Some(before) = credential::by_owner(tx.conn(), owner).await? else {
                        check(&desired.label, &desired.limits, desired.expires_at, now)?;
                        let credential = insert(tx.conn(), &draft(owner, desired), now).await?;
                        let event = issued_event(EventType::ApiKeyCreated, &credential);
                        return Ok(Mutation::changed(credential, event));
                    };
                    let before = credential::locked(tx, before.id).await?;
                    check_uid(before.managed_by.as_ref(), owner, on_mismatch)?;
                    // A revoked key stays revoked: for the same UID and user; and if an admin revoked it, also for
                    // the next UIDs.
                    let is_same_owner = before.managed_by.as_ref() == Some(owner) && before.user_id == desired.user_id;
                    if before.revoked_at.is_some() && (is_same_owner || before.overridden_at.is_some()) {
                        return Ok(Mutation::Unchanged(before));
                    }
                    if before.user_id != desired.user_id || before.revoked_at.is_some() {
                        return replace_credential(tx, before, owner, desired, now).await;
                    }
                    let mut after = before.clone();
                    after.label.clone_from(&desired.label);
                    after.scopes = desired.scopes.clone();
                    after.models.clone_from(&desired.models);
                    after.limits = desired.limits;
                    after.expires_at = desired.expires_at;
                    after.managed_by = Some(owner.clone());
                    let Some(event) = difference(&before, &after) else {
                        return Ok(Mutation::Unchanged(before));
                    };
                    update(tx.conn(), &after, now).await?;
                    Ok(Mutation::changed(after, event))
                }
                .scope_boxed()
            })
            .await
    }

    /// Revokes the credential of an object that is deleted or has `revoked: true`. Does nothing if there is
    /// none, or if it is revoked.
    pub async fn revoke_key(
        self,
        context: &AuditContext,
        owner: &ManagedBy,
        on_mismatch: OnUidMismatch,
    ) -> Result<Option<CredentialId>, Error> {
        self.accounts
            .write(context, |tx| {
                async move {
                    let Some(key) = credential::by_owner(tx.conn(), owner).await? else {
                        return Ok(Mutation::Unchanged(None));
                    };
                    let key = credential::locked(tx, key.id).await?;
                    check_uid(key.managed_by.as_ref(), owner, on_mismatch)?;
                    let id = Some(key.id);
                    if key.revoked_at.is_some() {
                        return Ok(Mutation::Unchanged(id));
                    }
                    let event = revoke::revoke(tx, key, false, self.accounts.now()).await?;
                    Ok(Mutation::changed(id, event))
                }
                .scope_boxed()
            })
            .await
    }
}

/// Replaces a credential that is revoked or belongs to another user by a new one.
async fn replace_credential(
    tx: &mut Tx,
    before: Credential,
    owner: &ManagedBy,
    desired: &DesiredKey,
    now: Timestamp,
) -> Result<Mutation<Credential>, Error> {
    let aside = Credential { managed_by: None, revoked_at: before.revoked_at.or(Some(now)), ..before };
    update(tx.conn(), &aside, now).await?;
    secrets::revoke_all(tx, aside.id).await?;
    let credential = insert(tx.conn(), &draft(owner, desired), now).await?;
    let event = issued_event(EventType::ApiKeyCreated, &credential)
        .detail(format!("takes the place of credential {}", aside.id))
        .also_about(aside.user_id);
    Ok(Mutation::changed(credential, event))
}

fn draft(owner: &ManagedBy, desired: &DesiredKey) -> Draft {
    Draft {
        user_id: desired.user_id,
        label: desired.label.clone(),
        scopes: desired.scopes.clone(),
        models: desired.models.clone(),
        limits: desired.limits,
        expires_at: desired.expires_at,
        managed_by: Some(owner.clone()),
    }
}
