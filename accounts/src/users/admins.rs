//! Who can administer; and that the last one who can stays.

use std::fmt;

use super::{User, UserId};
use crate::{
    error::Error,
    limits::Limits,
    sets::Role,
    store::{Conn, Tx, on, statements},
};

statements! {
    OTHER_ADMINS = "SELECT count(*) FROM users WHERE is_active AND deleted_at IS NULL AND id <> $1 \
                    AND ' ' || roles || ' ' LIKE '% admin %' AND requests_per_minute IS DISTINCT FROM 0";
    /// Makes changes that could take the last admin away wait for each other. SQLite has one writer anyhow. The audit event
    /// needs this lock too: who takes it earlier must not wait for a row after it.
    ONE_AT_A_TIME = "UPDATE audit_head SET position = position";
}

/// Whether anybody is an admin who may act.
pub(crate) async fn has_admin(conn: Conn<'_>) -> Result<bool, Error> {
    let nobody = UserId(0);
    let admins: i64 = on!(conn, |c| sqlx::query_scalar(OTHER_ADMINS).bind(nobody).fetch_one(c).await?);
    Ok(admins > 0)
}

/// Whether anybody but this one is an admin who may act, also when two changes race.
pub(crate) async fn has_other_admin(tx: &mut Tx, than: UserId) -> Result<bool, Error> {
    on!(tx.conn(), |c| sqlx::query(ONE_AT_A_TIME).execute(c).await.map(|_| ()))?;
    let others: i64 = on!(tx.conn(), |c| sqlx::query_scalar(OTHER_ADMINS).bind(than).fetch_one(c).await?);
    Ok(others > 0)
}

/// What keeps a user from administering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// It may not act at all.
    Disabled,
    /// It is no admin.
    NoRole,
    /// It may make no requests, not even to be given some again.
    NoRequests,
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "is disabled",
            Self::NoRole => "does not have the role `admin`",
            Self::NoRequests => "is limited to 0 requests",
        })
    }
}

impl User {
    /// What keeps it from administering first of all, if anything does.
    pub(crate) fn hindrance(&self) -> Option<Hindrance> {
        if !self.is_active {
            Some(Hindrance::Disabled)
        } else if !self.roles.has(Role::Admin) {
            Some(Hindrance::NoRole)
        } else if self.limits.requests_per_minute == Some(0) {
            Some(Hindrance::NoRequests)
        } else {
            None
        }
    }

    /// The same with nothing that keeps it from administering.
    pub(crate) fn unhindered(self) -> Self {
        let requests_per_minute = self.limits.requests_per_minute.filter(|limit| *limit != 0);
        Self {
            is_active: true,
            roles: self.roles.iter().chain([Role::Admin]).collect(),
            limits: Limits { requests_per_minute, ..self.limits },
            ..self
        }
    }
}

fn can_act(user: &User) -> bool {
    user.hindrance().is_none()
}

/// Whether a user may become another, or with `None` go.
pub(super) async fn may_become(tx: &mut Tx, before: &User, after: Option<&User>) -> Result<(), Error> {
    if can_act(before) && !after.is_some_and(can_act) && !has_other_admin(tx, before.id).await? {
        return Err(Error::LastAdmin);
    }
    Ok(())
}
