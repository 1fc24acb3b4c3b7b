//! Updates of a key. Only the Kubernetes object that owns a key changes it.

use paddock_store::{
    Tx,
    audit::{Change, Event, EventType},
    clock::Timestamp,
    statements, with_conn,
};

use super::credential::Credential;
use crate::{error::Error, types::bind_limits};

statements! {
    /// A changed expiry clears `expired_at`, so that the expiry is recorded again.
    UPDATE = "UPDATE credentials SET label = $2, scopes = $3, models = $4, requests_per_minute = $5, tokens_per_minute = $6, \
              tokens_per_day = $7, tokens_per_month = $8, max_concurrent = $9, priority = $10, expires_at = $11, managed_cluster = $12, \
              managed_namespace = $13, managed_name = $14, managed_uid = $15, overridden_at = $16, revoked_at = $17, \
              updated_at = $18, expired_at = CASE WHEN expires_at IS NOT DISTINCT FROM $11 THEN expired_at END WHERE id = $1";
}

/// Builds the event of an update; `None` if no field differs.
pub(crate) fn difference(before: &Credential, after: &Credential) -> Option<Event> {
    let mut change = Change::default();
    change.field("label", Some(&before.label), Some(&after.label));
    change.field("scopes", Some(&before.scopes), Some(&after.scopes));
    change.field("models", before.models.as_ref(), after.models.as_ref());
    change.field("limits", Some(&before.limits), Some(&after.limits));
    change.field("priority", Some(&before.priority), Some(&after.priority));
    change.field("expires_at", before.expires_at.as_ref(), after.expires_at.as_ref());
    change.field("managed_by", before.managed_by.as_ref(), after.managed_by.as_ref());
    (!change.is_empty())
        .then(|| Event::new(EventType::ApiKeyUpdated).user(after.user_id).credential(after.id).change(change))
}

pub(crate) async fn update(tx: &mut Tx, credential: &Credential, now: Timestamp) -> Result<(), Error> {
    let managed = credential.managed_by.as_ref();
    with_conn!(tx.conn(), |c| bind_limits!(
        sqlx::query(UPDATE)
            .bind(credential.id)
            .bind(&credential.label)
            .bind(&credential.scopes)
            .bind(&credential.models),
        credential.limits
    )
    .bind(credential.priority)
    .bind(credential.expires_at)
    .bind(managed.map(|m| &m.cluster))
    .bind(managed.map(|m| &m.namespace))
    .bind(managed.map(|m| &m.name))
    .bind(managed.map(|m| &m.uid))
    .bind(credential.overridden_at)
    .bind(credential.revoked_at)
    .bind(now)
    .execute(c)
    .await
    .map(|_| ()))?;
    Ok(())
}
