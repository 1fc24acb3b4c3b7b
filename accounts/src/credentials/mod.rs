//! API keys: the credential that lasts, one file for each thing that can be done to it. Its secrets are in
//! [`crate::secrets`].

mod bulk;
mod expire;
mod issue;
mod list;
mod overrides;
mod reach;
mod revoke;
mod rotate;
mod update;

use std::{convert::Infallible, str::FromStr};

pub use bulk::KeyFilter;
pub(crate) use issue::{Draft, check, granted_by, insert, issue_in, issued_event, within_role};
pub use issue::{Issued, NewKey};
pub use reach::{Bounds, Reach};
pub(crate) use revoke::{revoke, revoke_all_of};
pub use rotate::DEFAULT_GRACE;
use serde::Serialize;
pub(crate) use update::{difference, update};

use crate::{
    Accounts,
    clock::Time,
    error::Error,
    ids::row_id,
    limits::Limits,
    managed::{ManagedBy, ManagedColumns},
    patterns::ModelPatterns,
    sets::Scopes,
    store::{Conn, Lockable, Tx, lock, on, statements},
    users::UserId,
};

row_id! {
    /// The integer identity of a credential; rotation keeps it.
    CredentialId
}

statements! {
    BY_ID = "SELECT c.*, s.key_id FROM credentials c \
             LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active' WHERE c.id = $1";
    BY_OWNER = "SELECT c.*, s.key_id FROM credentials c \
                LEFT JOIN credential_secrets s ON s.credential_id = c.id AND s.state = 'active' \
                WHERE managed_cluster = $1 AND managed_namespace = $2 AND managed_name = $3";
}

/// The statements of this module.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    [
        STATEMENTS,
        expire::STATEMENTS,
        issue::STATEMENTS,
        list::STATEMENTS,
        overrides::STATEMENTS,
        revoke::STATEMENTS,
        update::STATEMENTS,
    ]
    .into_iter()
    .flatten()
}

/// The life of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretState {
    /// Accepted, and waiting for the Kubernetes Secret that will hold it.
    Staged,
    /// The one that counts; at most one a credential.
    Active,
    /// Accepted until its time of retirement, after a rotation.
    Retiring,
    /// Accepted no more.
    Revoked,
}

impl SecretState {
    /// As it is stored.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Revoked => "revoked",
        }
    }
}

impl FromStr for SecretState {
    type Err = Infallible;

    /// A state that only a newer version knows counts as revoked: what it allows cannot be known here.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let known = [Self::Staged, Self::Active, Self::Retiring].into_iter().find(|state| state.text() == text);
        Ok(known.unwrap_or(Self::Revoked))
    }
}

/// An API key, without any secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Credential {
    /// The identity.
    pub id: CredentialId,
    /// Whose it is.
    pub user_id: UserId,
    /// What people call it; not unique.
    pub label: String,
    /// What it may be used for, as far as its owner may.
    pub scopes: Scopes,
    /// The models it is narrowed to, beside its owner's.
    pub models: Option<ModelPatterns>,
    /// Its own limits, beside its owner's.
    pub limits: Limits,
    /// When it ends.
    pub expires_at: Option<Time>,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<Time>,
    /// The Kubernetes object that owns it.
    pub managed_by: Option<ManagedBy>,
    /// When an admin revoked it against the object that owns it.
    pub overridden_at: Option<Time>,
    /// When it came to be.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// The public part of the active secret.
    pub key_id: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: CredentialId,
    user_id: UserId,
    label: String,
    scopes: Scopes,
    models: Option<ModelPatterns>,
    #[sqlx(flatten)]
    limits: Limits,
    expires_at: Option<Time>,
    revoked_at: Option<Time>,
    last_used_at: Option<Time>,
    #[sqlx(flatten)]
    managed: ManagedColumns,
    overridden_at: Option<Time>,
    created_at: Time,
    updated_at: Time,
    key_id: Option<String>,
}

impl From<Row> for Credential {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            label: row.label,
            scopes: row.scopes,
            models: row.models,
            limits: row.limits,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
            managed_by: row.managed.into(),
            overridden_at: row.overridden_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
            key_id: row.key_id,
        }
    }
}

impl Accounts {
    /// The credential of that id.
    pub async fn credential(&self, id: CredentialId) -> Result<Option<Credential>, Error> {
        by_id(self.reader().await?.conn(), id).await
    }
}

pub(crate) async fn locked(tx: &mut Tx, id: CredentialId) -> Result<Credential, Error> {
    lock(tx, Lockable::Credentials, id.0).await?;
    by_id(tx.conn(), id).await?.ok_or(Error::NoCredential(id))
}

pub(crate) async fn by_id(conn: Conn<'_>, id: CredentialId) -> Result<Option<Credential>, Error> {
    let row: Option<Row> = on!(conn, |c| sqlx::query_as(BY_ID).bind(id).fetch_optional(c).await?);
    Ok(row.map(Credential::from))
}

pub(crate) async fn by_owner(conn: Conn<'_>, owner: &ManagedBy) -> Result<Option<Credential>, Error> {
    let row: Option<Row> = on!(conn, |c| sqlx::query_as(BY_OWNER)
        .bind(&owner.cluster)
        .bind(&owner.namespace)
        .bind(&owner.name)
        .fetch_optional(c)
        .await?);
    Ok(row.map(Credential::from))
}
