//! The last admin who can act stays.

use super::{User, UserId};
use crate::{
    error::Error,
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

/// Whether this user can administer. Who may make no requests cannot, not even to be given some again.
fn can_act(user: &User) -> bool {
    user.is_active && user.roles.has(Role::Admin) && user.limits.requests_per_minute != Some(0)
}

/// Whether a user may become another, or with `None` go.
pub(super) async fn may_become(tx: &mut Tx, before: &User, after: Option<&User>) -> Result<(), Error> {
    if can_act(before) && !after.is_some_and(can_act) { keep_one(tx, before.id).await } else { Ok(()) }
}

/// One of those who can administer stays, also when two changes race.
async fn keep_one(tx: &mut Tx, leaving: UserId) -> Result<(), Error> {
    on!(tx.conn(), |c| sqlx::query(ONE_AT_A_TIME).execute(c).await.map(|_| ()))?;
    let others: i64 = on!(tx.conn(), |c| sqlx::query_scalar(OTHER_ADMINS).bind(leaving).fetch_one(c).await?);
    if others == 0 { Err(Error::LastAdmin) } else { Ok(()) }
}
