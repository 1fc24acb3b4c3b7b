//! The rows of users.

use paddock_store::{Conn, Tx, clock::Timestamp, db::Lockable, ids::UserId, statements, with_conn};
use serde::Serialize;

use crate::{
    error::Error,
    types::{Email, Limits, ManagedBy, ManagedColumns, ModelPatterns, Roles},
};

statements! {
    BY_ID = "SELECT * FROM users WHERE id = $1 AND deleted_at IS NULL";
    BY_EMAIL = "SELECT * FROM users WHERE email = $1";
    WITH_HASH = "SELECT u.*, p.hash FROM users u LEFT JOIN passwords p ON p.user_id = u.id WHERE u.email = $1";
    BY_EXTERNAL_ID = "SELECT * FROM users WHERE external_id = $1";
    BY_OWNER = "SELECT * FROM users WHERE managed_cluster = $1 AND managed_namespace = $2 AND managed_name = $3";
    CLEAR_OWNER = "UPDATE users SET managed_cluster = NULL, managed_namespace = NULL, managed_name = NULL, managed_uid = NULL \
              WHERE id = $1";
    END_SESSIONS = "UPDATE users SET token_version = token_version + 1 WHERE id = $1";
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct User {
    /// The identity.
    pub id: UserId,
    /// The address, canonical.
    pub email: Email,
    /// The display name.
    pub display_name: Option<String>,
    /// The identity in another system. It makes creation idempotent.
    pub external_id: Option<String>,
    /// Whether the user is enabled.
    pub is_active: bool,
    /// The roles.
    pub roles: Roles,
    /// The models that the user may use; `None` means all.
    pub models: Option<ModelPatterns>,
    /// The limits.
    #[sqlx(flatten)]
    pub limits: Limits,
    /// The Kubernetes object that owns it.
    #[sqlx(flatten, try_from = "ManagedColumns")]
    pub managed_by: Option<ManagedBy>,
    /// When an admin overrode `is_active` of a user that an object owns.
    pub overridden_at: Option<Timestamp>,
    /// When the user was created.
    pub created_at: Timestamp,
    /// When the user last changed.
    pub updated_at: Timestamp,
    /// Incremented to end every session.
    #[serde(skip)]
    pub(crate) token_version: i64,
}

/// A user, and the hash of its password if it has one.
#[derive(sqlx::FromRow)]
pub(crate) struct UserWithHash {
    #[sqlx(flatten)]
    pub(crate) user: User,
    pub(crate) hash: Option<String>,
}

/// The user of that address with its password's hash, by one query, also where there is no address.
pub(crate) async fn with_hash(conn: Conn<'_>, email: Option<&Email>) -> Result<Option<UserWithHash>, Error> {
    let email = email.map(Email::as_str);
    Ok(with_conn!(conn, |c| sqlx::query_as(WITH_HASH).bind(email).fetch_optional(c).await?))
}

pub(crate) async fn locked(tx: &mut Tx, id: UserId) -> Result<User, Error> {
    tx.lock(Lockable::Users, id.0).await?;
    by_id(tx.conn(), id).await?.ok_or(Error::NoUser(id))
}

/// Clears the owner columns, so that a new object of the same name can own a user.
pub(crate) async fn clear_owner(tx: &mut Tx, id: UserId) -> Result<(), Error> {
    with_conn!(tx.conn(), |c| sqlx::query(CLEAR_OWNER).bind(id).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Ends every session of a user at once.
pub(crate) async fn end_sessions(tx: &mut Tx, id: UserId) -> Result<(), Error> {
    with_conn!(tx.conn(), |c| sqlx::query(END_SESSIONS).bind(id).execute(c).await.map(|_| ()))?;
    Ok(())
}

pub(crate) async fn by_id(conn: Conn<'_>, id: UserId) -> Result<Option<User>, Error> {
    Ok(with_conn!(conn, |c| sqlx::query_as(BY_ID).bind(id).fetch_optional(c).await?))
}

pub(crate) async fn by_email(conn: Conn<'_>, email: &Email) -> Result<Option<User>, Error> {
    Ok(with_conn!(conn, |c| sqlx::query_as(BY_EMAIL).bind(email).fetch_optional(c).await?))
}

pub(super) async fn by_external_id(conn: Conn<'_>, external_id: &str) -> Result<Option<User>, Error> {
    Ok(with_conn!(conn, |c| sqlx::query_as(BY_EXTERNAL_ID).bind(external_id).fetch_optional(c).await?))
}

pub(crate) async fn by_owner(conn: Conn<'_>, owner: &ManagedBy) -> Result<Option<User>, Error> {
    Ok(with_conn!(conn, |c| sqlx::query_as(BY_OWNER)
        .bind(&owner.cluster)
        .bind(&owner.namespace)
        .bind(&owner.name)
        .fetch_optional(c)
        .await?))
}
