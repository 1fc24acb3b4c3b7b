//! The rows of the table `credentials`.

use paddock_store::{
    Conn, Tx,
    clock::Timestamp,
    db::Lockable,
    ids::{CredentialId, UserId},
    statements, with_conn,
};
use serde::Serialize;

use crate::{
    access::delegation::{Constraints, DelegationLimits},
    error::Error,
    types::{Limits, ManagedBy, ManagedColumns, ModelPatterns, Priority, Scopes},
};

statements! {
    BY_ID = "SELECT c.*, s.key_id FROM credentials c \
             LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active' WHERE c.id = $1";
    BY_OWNER = "SELECT c.*, s.key_id FROM credentials c \
                LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active' \
                WHERE managed_cluster = $1 AND managed_namespace = $2 AND managed_name = $3";
}

/// An API key, without any secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Credential {
    /// The id.
    pub id: CredentialId,
    /// The owner.
    pub user_id: UserId,
    /// The label, which need not be unique.
    pub label: String,
    /// The scopes. A scope has no effect while the roles of the owner do not grant it.
    pub scopes: Scopes,
    /// The models that the key may use. The restriction of the owner applies too.
    pub models: Option<ModelPatterns>,
    /// The limits of the key. The limits of the owner apply too.
    #[sqlx(flatten)]
    pub limits: Limits,
    /// The band of its requests in the queue.
    pub priority: Priority,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, accurate to about a minute.
    pub last_used_at: Option<Timestamp>,
    /// The Kubernetes object that owns it.
    #[sqlx(flatten, try_from = "ManagedColumns")]
    pub managed_by: Option<ManagedBy>,
    /// When an admin revoked the key although an object owns it.
    pub overridden_at: Option<Timestamp>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The key id of the active secret.
    pub key_id: Option<String>,
}

impl Credential {
    /// Checks that a caller with these delegation limits may rotate this key and get its new
    /// secret.
    pub(super) fn check_within(&self, limits: &DelegationLimits<'_>) -> Result<(), Error> {
        let requested = Constraints { models: self.models.as_ref(), limits: &self.limits, priority: self.priority };
        limits.check(self.user_id, &self.scopes, requested, self.expires_at)
    }
}

pub(crate) async fn locked(tx: &mut Tx, id: CredentialId) -> Result<Credential, Error> {
    tx.lock(Lockable::Credentials, id.0).await?;
    by_id(tx.conn(), id).await?.ok_or(Error::NoCredential(id))
}

pub(crate) async fn by_id(conn: Conn<'_>, id: CredentialId) -> Result<Option<Credential>, Error> {
    Ok(with_conn!(conn, |c| sqlx::query_as(BY_ID).bind(id).fetch_optional(c).await?))
}

pub(crate) async fn by_owner(conn: Conn<'_>, owner: &ManagedBy) -> Result<Option<Credential>, Error> {
    Ok(with_conn!(conn, |c| sqlx::query_as(BY_OWNER)
        .bind(&owner.cluster)
        .bind(&owner.namespace)
        .bind(&owner.name)
        .fetch_optional(c)
        .await?))
}
