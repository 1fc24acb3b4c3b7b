//! Clearing an admin's override of a key that an object owns.

use paddock_store::{
    audit::{Change, Event, EventType},
    context::AuditContext,
    ids::CredentialId,
    retry_lost_race, statements, with_conn,
};

use super::{Credentials, credential::locked};
use crate::error::Error;

statements! {
    CLEAR_OVERRIDE_AND_OWNER = "UPDATE credentials SET overridden_at = NULL, managed_cluster = NULL, managed_namespace = NULL, \
                  managed_name = NULL, managed_uid = NULL, updated_at = $2 WHERE id = $1";
}

impl Credentials<'_> {
    /// Clears an admin's override of a key that an object owns. The key stays revoked and loses its
    /// owner, so that the object gets a new key at its next reconcile. Does nothing without an
    /// override.
    pub async fn clear_override(self, context: &AuditContext, id: CredentialId) -> Result<(), Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let credential = locked(&mut tx, id).await?;
            if credential.overridden_at.is_none() {
                return Ok(tx.end_unchanged().await?);
            }
            with_conn!(tx.conn(), |c| sqlx::query(CLEAR_OVERRIDE_AND_OWNER)
                .bind(id)
                .bind(self.accounts.now())
                .execute(c)
                .await
                .map(|_| ()))?;
            let mut change = Change::default();
            change.field("overridden_at", credential.overridden_at.as_ref(), None);
            change.field("managed_by", credential.managed_by.as_ref(), None);
            let event = Event::new(EventType::OverrideCleared).user(credential.user_id).credential(id).change(change);
            Ok(tx.commit(event).await?)
        })
        .await
    }
}
