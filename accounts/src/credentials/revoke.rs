//! Revoking a key, or every key of a deleted user.

use paddock_store::{
    Tx,
    audit::{Change, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::{CredentialId, UserId},
    retry_lost_race, statements, with_conn,
};

use super::{
    Credentials,
    credential::{Credential, locked},
    secrets,
    update::update,
};
use crate::error::Error;

statements! {
    REVOKE_OF_USER = "UPDATE credentials SET revoked_at = $2, updated_at = $2 WHERE user_id = $1 AND revoked_at IS NULL RETURNING id";
    REVOKE_SECRETS_OF_USER = "UPDATE credential_secrets SET state = 'revoked' WHERE state <> 'revoked' \
                              AND credential_id IN (SELECT id FROM credentials WHERE user_id = $1)";
}

impl Credentials<'_> {
    /// Revokes a key with all its secrets. Returns whether anything changed. On a key that an
    /// object owns, this sets an override, even if the object has revoked the key already.
    pub async fn revoke(self, context: &AuditContext, id: CredentialId) -> Result<bool, Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let credential = locked(&mut tx, id).await?;
            let now = self.accounts.now();
            let overriding = credential.managed_by.is_some();
            let event = if credential.revoked_at.is_none() {
                revoke(&mut tx, credential, overriding, now).await?
            } else if overriding && credential.overridden_at.is_none() {
                let after = Credential { overridden_at: Some(now), ..credential.clone() };
                update(&mut tx, &after, now).await?;
                let mut change = Change::default();
                change.field("overridden_at", None, Some(&now));
                Event::new(EventType::OverrideSet).user(credential.user_id).credential(id).change(change)
            } else {
                tx.end_unchanged().await?;
                return Ok(false);
            };
            tx.commit(event).await?;
            Ok(true)
        })
        .await
    }
}

/// Revokes a locked credential and its secrets. Returns the event. With `overriding`, sets an
/// override.
pub(crate) async fn revoke(
    tx: &mut Tx,
    credential: Credential,
    overriding: bool,
    now: Timestamp,
) -> Result<Event, Error> {
    let mut after = credential.clone();
    after.revoked_at = Some(now);
    if overriding {
        after.overridden_at = Some(now);
    }
    update(tx, &after, now).await?;
    secrets::revoke_all(tx, credential.id).await?;
    let mut change = Change::default();
    change.field("revoked_at", None, Some(&now));
    change.field("overridden_at", credential.overridden_at.as_ref(), after.overridden_at.as_ref());
    Ok(Event::new(EventType::ApiKeyRevoked).user(credential.user_id).credential(credential.id).change(change))
}

/// Revokes every key of a locked user that is deleted. The event of the deletion lists the keys.
pub(crate) async fn revoke_all_of(tx: &mut Tx, user: UserId, now: Timestamp) -> Result<Vec<CredentialId>, Error> {
    let mut revoked: Vec<CredentialId> =
        with_conn!(tx.conn(), |c| sqlx::query_scalar(REVOKE_OF_USER).bind(user).bind(now).fetch_all(c).await?);
    with_conn!(tx.conn(), |c| sqlx::query(REVOKE_SECRETS_OF_USER).bind(user).execute(c).await.map(|_| ()))?;
    revoked.sort_unstable();
    Ok(revoked)
}
