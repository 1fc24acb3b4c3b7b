//! Clearing an admin's override of a key that an object owns.

use paddock_store::{
    Mutation,
    audit::{Change, Event, EventType},
    context::AuditContext,
    ids::CredentialId,
    statements, with_conn,
};
use scoped_futures::ScopedFutureExt;

use super::{Credentials, credential::locked};
use crate::error::Error;

statements! {
    STEP_ASIDE = "UPDATE credentials SET overridden_at = NULL, managed_cluster = NULL, managed_namespace = NULL, \
                  managed_name = NULL, managed_uid = NULL, updated_at = $2 WHERE id = $1";
}

impl Credentials<'_> {
    /// Takes back an admin's revocation against an object: the key stays revoked, for what ended does not come back, and
    /// steps aside, so that the object is given another one when it is next looked at. None there: nothing changes.
    pub async fn clear_override(self, context: &AuditContext, id: CredentialId) -> Result<(), Error> {
        self.accounts
            .write(context, |tx| {
                async move {
                    let credential = locked(tx, id).await?;
                    if credential.overridden_at.is_none() {
                        return Ok(Mutation::Unchanged(()));
                    }
                    with_conn!(tx.conn(), |c| sqlx::query(STEP_ASIDE)
                        .bind(id)
                        .bind(self.accounts.now())
                        .execute(c)
                        .await
                        .map(|_| ()))?;
                    let mut change = Change::default();
                    change.field("overridden_at", credential.overridden_at.as_ref(), None);
                    change.field("managed_by", credential.managed_by.as_ref(), None);
                    let event =
                        Event::new(EventType::OverrideCleared).user(credential.user_id).credential(id).change(change);
                    Ok(Mutation::changed((), event))
                }
                .scope_boxed()
            })
            .await
    }
}
