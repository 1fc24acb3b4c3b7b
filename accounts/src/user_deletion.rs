//! The deletion of users, which also ends their credentials and sessions.

use paddock_store::{
    Tx,
    audit::{Change, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::UserId,
    retry_lost_race, statements, with_conn,
};

use crate::{
    credentials::revoke::revoke_all_of,
    error::{AccessDenied, Error},
    types::Role,
    users::{
        Users, last_admin,
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
    /// Deletes a user. The address, the names, the password and the sessions are deleted, and the
    /// keys are revoked. The id remains for audit and usage; the address and the external id become
    /// free. One event records the deletion and lists the keys.
    ///
    /// `can_manage_admins` says whether the caller may delete admins. Fails for a user that a
    /// Kubernetes object owns, and with [`Error::LastAdmin`] for the last admin who can act.
    pub async fn delete(
        self,
        context: &AuditContext,
        id: UserId,
        can_manage_admins: Result<(), AccessDenied>,
    ) -> Result<(), Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let user = locked(&mut tx, id).await?;
            if user.roles.has(Role::Admin) {
                can_manage_admins.clone()?;
            }
            if let Some(owner) = user.managed_by {
                return Err(Error::Managed { kind: "ApiUser", owner });
            }
            let event = tombstone(&mut tx, &user, self.accounts.now()).await?;
            Ok(tx.commit(event).await?)
        })
        .await
    }
}

/// Turns a locked user into a tombstone. Returns the event of the deletion.
///
/// The keys are revoked first. The check for the last admin locks `audit_head`, and a transaction
/// that holds this lock must not wait for the row of a key.
pub(crate) async fn tombstone(tx: &mut Tx, user: &User, now: Timestamp) -> Result<Event, Error> {
    let revoked = revoke_all_of(tx, user.id, now).await?;
    with_conn!(tx.conn(), |c| sqlx::query(DELETE_PASSWORD).bind(user.id).execute(c).await.map(|_| ()))?;
    with_conn!(tx.conn(), |c| sqlx::query(DELETE_SESSIONS).bind(user.id).execute(c).await.map(|_| ()))?;
    last_admin::check_last_admin(tx, user, None).await?;
    with_conn!(tx.conn(), |c| sqlx::query(TOMBSTONE).bind(user.id).bind(now).execute(c).await.map(|_| ()))?;
    let mut change = Change::default();
    change.field("roles", Some(&user.roles), None);
    change.field("managed_by", user.managed_by.as_ref(), None);
    change.field("deleted_at", None, Some(&now));
    change.field("revoked_credentials", None, (!revoked.is_empty()).then_some(&revoked));
    Ok(Event::new(EventType::UserDeleted).user(user.id).change(change))
}
