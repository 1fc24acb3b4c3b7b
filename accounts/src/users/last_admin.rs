//! Which users can administer, and the rule that the last such user cannot be removed.

use std::fmt;

use paddock_store::{Conn, Tx, ids::UserId, statements, with_conn};

use super::user::User;
use crate::{
    error::Error,
    types::{Limits, Role},
};

statements! {
    OTHER_ADMINS = "SELECT count(*) FROM users WHERE is_active AND deleted_at IS NULL AND id <> $1 \
                    AND ' ' || roles || ' ' LIKE '% admin %' AND requests_per_minute IS DISTINCT FROM 0";
    /// Serializes changes that could remove the last admin. The audit event needs this lock too, so
    /// a transaction that takes it here must not wait for a row afterwards.
    LOCK_ADMINS = "UPDATE audit_head SET position = position";
}

/// Whether an admin exists that can administer.
pub(crate) async fn has_admin(conn: Conn<'_>) -> Result<bool, Error> {
    let no_user = UserId(0);
    let admins: i64 = with_conn!(conn, |c| sqlx::query_scalar(OTHER_ADMINS).bind(no_user).fetch_one(c).await?);
    Ok(admins > 0)
}

/// Whether another admin exists that can administer. Locks `audit_head`, so that the result stays
/// valid until the transaction ends.
pub(crate) async fn has_other_admin(tx: &mut Tx, than: UserId) -> Result<bool, Error> {
    with_conn!(tx.conn(), |c| sqlx::query(LOCK_ADMINS).execute(c).await.map(|_| ()))?;
    let others: i64 = with_conn!(tx.conn(), |c| sqlx::query_scalar(OTHER_ADMINS).bind(than).fetch_one(c).await?);
    Ok(others > 0)
}

/// The reason why a user cannot administer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminBlocker {
    /// The user is disabled.
    Disabled,
    /// The user does not have the role `admin`.
    NoRole,
    /// The user is limited to 0 requests.
    NoRequests,
}

impl fmt::Display for AdminBlocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "is disabled",
            Self::NoRole => "does not have the role `admin`",
            Self::NoRequests => "is limited to 0 requests",
        })
    }
}

impl User {
    /// The first reason why the user cannot administer; `None` if it can.
    pub(crate) fn admin_blocker(&self) -> Option<AdminBlocker> {
        if !self.is_active {
            Some(AdminBlocker::Disabled)
        } else if !self.roles.has(Role::Admin) {
            Some(AdminBlocker::NoRole)
        } else if self.limits.requests_per_minute == Some(0) {
            Some(AdminBlocker::NoRequests)
        } else {
            None
        }
    }

    /// Returns the user, changed so that it can administer.
    pub(crate) fn with_admin_restored(self) -> Self {
        let requests_per_minute = self.limits.requests_per_minute.filter(|limit| *limit != 0);
        Self {
            is_active: true,
            roles: self.roles.iter().chain([Role::Admin]).collect(),
            limits: Limits { requests_per_minute, ..self.limits },
            ..self
        }
    }
}

fn can_administer(user: &User) -> bool {
    user.admin_blocker().is_none()
}

/// Checks that a change leaves an admin that can administer; fails with [`Error::LastAdmin`]
/// otherwise. `after` is `None` for a deletion.
pub(crate) async fn check_last_admin(tx: &mut Tx, before: &User, after: Option<&User>) -> Result<(), Error> {
    if can_administer(before) && !after.is_some_and(can_administer) && !has_other_admin(tx, before.id).await? {
        return Err(Error::LastAdmin);
    }
    Ok(())
}
