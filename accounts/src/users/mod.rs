//! Users: their life, one file for each thing that can be done to them.

mod admins;
mod create;
mod delete;
mod list;
mod update;

pub use admins::Hindrance;
pub(crate) use admins::{has_admin, has_other_admin};
pub use create::{Created, NewUser};
pub(crate) use create::{beginning, check, created_event, insert};
pub(crate) use delete::bury;
use serde::Serialize;
pub use update::UserPatch;
pub(crate) use update::{change, put, replace};

use crate::{
    Accounts,
    clock::Time,
    email::Email,
    error::Error,
    ids::row_id,
    limits::Limits,
    managed::{ManagedBy, ManagedColumns},
    patterns::ModelPatterns,
    sets::Roles,
    store::{Conn, Lockable, Tx, lock, on, statements},
};

row_id! {
    /// The integer identity of a user; never used again after a deletion.
    UserId
}

statements! {
    BY_ID = "SELECT * FROM users WHERE id = $1 AND deleted_at IS NULL";
    BY_EMAIL = "SELECT * FROM users WHERE email = $1";
    WITH_HASH = "SELECT u.*, p.hash FROM users u LEFT JOIN passwords p ON p.user_id = u.id WHERE u.email = $1";
    BY_EXTERNAL_ID = "SELECT * FROM users WHERE external_id = $1";
    BY_OWNER = "SELECT * FROM users WHERE managed_cluster = $1 AND managed_namespace = $2 AND managed_name = $3";
    DISOWN = "UPDATE users SET managed_cluster = NULL, managed_namespace = NULL, managed_name = NULL, managed_uid = NULL \
              WHERE id = $1";
    END_SESSIONS = "UPDATE users SET token_version = token_version + 1 WHERE id = $1";
}

/// The statements of this module.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    [STATEMENTS, admins::STATEMENTS, create::STATEMENTS, delete::STATEMENTS, list::STATEMENTS, update::STATEMENTS]
        .into_iter()
        .flatten()
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// The identity.
    pub id: UserId,
    /// The address, canonical.
    pub email: Email,
    /// The name people see.
    pub display_name: Option<String>,
    /// The identity in another system; makes creation idempotent.
    pub external_id: Option<String>,
    /// Whether it may act at all.
    pub is_active: bool,
    /// What it is.
    pub roles: Roles,
    /// The models it is narrowed to; `None` means all.
    pub models: Option<ModelPatterns>,
    /// Its limits.
    pub limits: Limits,
    /// The Kubernetes object that owns it.
    pub managed_by: Option<ManagedBy>,
    /// When an admin set `is_active` against the object that owns the user.
    pub overridden_at: Option<Time>,
    /// When it came to be.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// Raised when every session must end.
    #[serde(skip)]
    pub(crate) token_version: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: UserId,
    email: Email,
    display_name: Option<String>,
    external_id: Option<String>,
    is_active: bool,
    roles: Roles,
    models: Option<ModelPatterns>,
    #[sqlx(flatten)]
    limits: Limits,
    #[sqlx(flatten)]
    managed: ManagedColumns,
    overridden_at: Option<Time>,
    created_at: Time,
    updated_at: Time,
    token_version: i64,
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            email: row.email,
            display_name: row.display_name,
            external_id: row.external_id,
            is_active: row.is_active,
            roles: row.roles,
            models: row.models,
            limits: row.limits,
            managed_by: row.managed.into(),
            overridden_at: row.overridden_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
            token_version: row.token_version,
        }
    }
}

impl Accounts {
    /// The user of that id, unless deleted.
    pub async fn user(&self, id: UserId) -> Result<Option<User>, Error> {
        by_id(self.reader().await?.conn(), id).await
    }

    /// The user of that address.
    pub async fn user_by_email(&self, email: &Email) -> Result<Option<User>, Error> {
        by_email(self.reader().await?.conn(), email).await
    }
}

/// A user, and the hash of its password if it has one.
pub(crate) struct UserWithHash {
    pub(crate) user: User,
    pub(crate) hash: Option<String>,
}

#[derive(sqlx::FromRow)]
struct RowWithHash {
    #[sqlx(flatten)]
    user: Row,
    hash: Option<String>,
}

/// The user of that address with its password's hash, by one query, also where there is no address.
pub(crate) async fn with_hash(conn: Conn<'_>, email: Option<&Email>) -> Result<Option<UserWithHash>, Error> {
    let email = email.map(Email::as_str);
    let row: Option<RowWithHash> = on!(conn, |c| sqlx::query_as(WITH_HASH).bind(email).fetch_optional(c).await?);
    Ok(row.map(|row| UserWithHash { user: row.user.into(), hash: row.hash }))
}

pub(crate) async fn locked(tx: &mut Tx, id: UserId) -> Result<User, Error> {
    lock(tx, Lockable::Users, id.0).await?;
    by_id(tx.conn(), id).await?.ok_or(Error::NoUser(id))
}

/// Makes room for a new life of the name of the object that left the user behind.
pub(crate) async fn disown(tx: &mut Tx, id: UserId) -> Result<(), Error> {
    on!(tx.conn(), |c| sqlx::query(DISOWN).bind(id).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Ends every session of a user at once.
pub(crate) async fn end_sessions(tx: &mut Tx, id: UserId) -> Result<(), Error> {
    on!(tx.conn(), |c| sqlx::query(END_SESSIONS).bind(id).execute(c).await.map(|_| ()))?;
    Ok(())
}

pub(crate) async fn by_id(conn: Conn<'_>, id: UserId) -> Result<Option<User>, Error> {
    let row: Option<Row> = on!(conn, |c| sqlx::query_as(BY_ID).bind(id).fetch_optional(c).await?);
    Ok(row.map(User::from))
}

pub(crate) async fn by_email(conn: Conn<'_>, email: &Email) -> Result<Option<User>, Error> {
    let row: Option<Row> = on!(conn, |c| sqlx::query_as(BY_EMAIL).bind(email).fetch_optional(c).await?);
    Ok(row.map(User::from))
}

async fn by_external_id(conn: Conn<'_>, external_id: &str) -> Result<Option<User>, Error> {
    let row: Option<Row> = on!(conn, |c| sqlx::query_as(BY_EXTERNAL_ID).bind(external_id).fetch_optional(c).await?);
    Ok(row.map(User::from))
}

pub(crate) async fn by_owner(conn: Conn<'_>, owner: &ManagedBy) -> Result<Option<User>, Error> {
    let row: Option<Row> = on!(conn, |c| sqlx::query_as(BY_OWNER)
        .bind(&owner.cluster)
        .bind(&owner.namespace)
        .bind(&owner.name)
        .fetch_optional(c)
        .await?);
    Ok(row.map(User::from))
}
