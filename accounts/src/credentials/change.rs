//! Changes of a key that no Kubernetes object owns.

use paddock_store::{clock::Timestamp, context::AuditContext, ids::CredentialId, retry_lost_race};

use super::{
    Credentials,
    credential::{self, Credential, locked},
    issue::{check, within_role},
    secrets,
    update::{difference, update},
};
use crate::{
    access::delegation::DelegationLimits,
    error::Error,
    types::{Limits, LimitsPatch, ModelPatterns, Priority, Scopes},
    users::user,
};

/// A merge patch of a key: `None` leaves a field as it is, `Some(None)` clears it.
#[derive(Clone, Debug, Default)]
pub struct KeyPatch {
    /// The label.
    pub label: Option<String>,
    /// The scopes.
    pub scopes: Option<Scopes>,
    /// The models that the key may use, within the owner's.
    pub models: Option<Option<ModelPatterns>>,
    /// The limits.
    pub limits: LimitsPatch,
    /// The band of its requests in the queue.
    pub priority: Option<Priority>,
    /// When the key expires.
    pub expires_at: Option<Option<Timestamp>>,
}

impl KeyPatch {
    fn over(&self, key: Credential) -> Credential {
        Credential {
            label: self.label.clone().unwrap_or(key.label),
            scopes: self.scopes.clone().unwrap_or(key.scopes),
            models: self.models.clone().unwrap_or(key.models),
            limits: self.limits.over(key.limits),
            priority: self.priority.unwrap_or(key.priority),
            expires_at: self.expires_at.unwrap_or(key.expires_at),
            ..key
        }
    }
}

impl Credentials<'_> {
    /// Changes a key. Its secrets stay the same, and get its new expiry. A caller with the limits
    /// `within` may neither change a key that exceeds them nor make a key exceed them.
    ///
    /// Fails with [`Error::Managed`] if an object owns the key, and with [`Error::Revoked`] or
    /// [`Error::Expired`] if the key has ended: no change revives a key.
    pub async fn change(
        self,
        context: &AuditContext,
        id: CredentialId,
        patch: KeyPatch,
        within: Option<DelegationLimits<'_>>,
    ) -> Result<(), Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            // The owner of a key never changes. Its row is locked first, as for every other change.
            let found = credential::by_id(tx.conn(), id).await?.ok_or(Error::NoCredential(id))?;
            if found.revoked_at.is_some() {
                return Err(Error::Revoked(id));
            }
            let owner = user::locked(&mut tx, found.user_id).await?;
            let before = locked(&mut tx, id).await?;
            let now = self.accounts.now();
            check_changeable(&before, now)?;
            let after = patch.over(before.clone());
            // Limits of an earlier release may contradict each other. They may stay.
            let limits = if after.limits == before.limits { Limits::default() } else { after.limits };
            check(&after.label, &limits, patch.expires_at.flatten(), now)?;
            if let Some(scopes) = &patch.scopes {
                within_role(&owner, scopes)?;
            }
            if let Some(limits) = &within {
                before.check_within(limits)?;
                after.check_within(limits)?;
            }
            let Some(event) = difference(&before, &after) else { return Ok(tx.end_unchanged().await?) };
            update(&mut tx, &after, now).await?;
            if before.expires_at != after.expires_at {
                secrets::set_expiry(&mut tx, id, after.expires_at).await?;
            }
            tx.commit(event).await?;
            Ok(())
        })
        .await
    }
}

fn check_changeable(key: &Credential, now: Timestamp) -> Result<(), Error> {
    if let Some(owner) = &key.managed_by {
        return Err(Error::Managed { kind: "ApiKey", owner: owner.clone() });
    }
    if key.revoked_at.is_some() {
        return Err(Error::Revoked(key.id));
    }
    if key.expires_at.is_some_and(|end| end <= now) {
        return Err(Error::Expired(key.id));
    }
    Ok(())
}
