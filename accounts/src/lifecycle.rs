//! The deletion of users, which ends their credentials and sessions too.

use paddock_store::{
    Mutation, Tx,
    audit::{Change, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::UserId,
    statements, with_conn,
};
use scoped_futures::ScopedFutureExt;

use crate::{
    credentials::revoke::revoke_all_of,
    error::{AccessDenied, Error},
    types::Role,
    users::{
        Users, admins,
        user::{User, locked},
    },
};

statements! {
    TOMBSTONE = "UPDATE users SET email = NULL, display_name = NULL, external_id = NULL, is_active = FALSE, roles = '', \
            models = NULL, requests_per_minute = NULL, tokens_per_minute = NULL, tokens_per_day = NULL, \
            tokens_per_month = NULL, max_concurrent = NULL, managed_cluster = NULL, managed_namespace = NULL, \
            managed_name = NULL, managed_uid = NULL, overridden_at = NULL, token_version = token_version + 1, \
            updated_at = $2, deleted_at = $2 WHERE id = $1";
    DELETE_PASSWORD = "DELETE FROM passwords WHERE user_id = $1";
    DELETE_SESSIONS = "DELETE FROM sessions WHERE user_id = $1";
}

impl Users<'_> {
    /// Deletes a user. Its address, names, password and sessions go, its keys are revoked; the identity stays for audit and
    /// usage, and address and external id are free again. One event says it all, the keys too. What Kubernetes owns its
    /// object deletes; the last admin who can act stays.
    /// `admins`: whether admins may be deleted.
    pub async fn delete(
        self,
        context: &AuditContext,
        id: UserId,
        admins: Result<(), AccessDenied>,
    ) -> Result<(), Error> {
        self.accounts
            .write(context, |tx| {
                let admins = &admins;
                async move {
                    let user = locked(tx, id).await?;
                    if user.roles.has(Role::Admin) {
                        admins.clone()?;
                    }
                    if let Some(owner) = user.managed_by {
                        return Err(Error::Managed { kind: "ApiUser", owner });
                    }
                    let event = tombstone(tx, &user, self.accounts.now()).await?;
                    Ok(Mutation::changed((), event))
                }
                .scope_boxed()
            })
            .await
    }
}

/// Makes a tombstone of a user that is locked. The keys come first: who holds one waits for the lock of the last admin, and
/// not the other way round.
pub(crate) async fn tombstone(tx: &mut Tx, user: &User, now: Timestamp) -> Result<Event, Error> {
    let revoked = revoke_all_of(tx, user.id, now).await?;
    with_conn!(tx.conn(), |c| sqlx::query(DELETE_PASSWORD).bind(user.id).execute(c).await.map(|_| ()))?;
    with_conn!(tx.conn(), |c| sqlx::query(DELETE_SESSIONS).bind(user.id).execute(c).await.map(|_| ()))?;
    admins::check_last_admin(tx, user, None).await?;
    with_conn!(tx.conn(), |c| sqlx::query(TOMBSTONE).bind(user.id).bind(now).execute(c).await.map(|_| ()))?;
    let mut change = Change::default();
    change.field("roles", Some(&user.roles), None);
    change.field("managed_by", user.managed_by.as_ref(), None);
    change.field("deleted_at", None, Some(&now));
    change.field("revoked_credentials", None, (!revoked.is_empty()).then_some(&revoked));
    Ok(Event::new(EventType::UserDeleted).user(user.id).change(change))
}
