//! The secret versions of a credential.

use std::{convert::Infallible, str::FromStr};

use paddock_store::{
    Tx,
    clock::Timestamp,
    ids::{CredentialId, SecretId},
    statements, stored_as_text, with_conn,
};
use serde::Serialize;

use crate::{
    error::Error,
    types::{ApiKeyToken, prefix_of},
};

statements! {
    INSERT = "INSERT INTO credential_secrets (credential_id, key_id, hash, state, issued_at, expires_at) \
              VALUES ($1, $2, $3, $4, $5, $6) RETURNING id";
    OF_CREDENTIAL = "SELECT id, key_id, state, issued_at, expires_at, retire_at, last_used_at FROM credential_secrets \
                     WHERE credential_id = $1 AND state <> 'revoked' ORDER BY id";
    RETIRE_ACTIVE = "UPDATE credential_secrets SET state = 'retiring', retire_at = $2 \
                     WHERE credential_id = $1 AND state = 'active'";
    /// Shortens the grace of earlier secrets, so that a rotation without grace ends all leaked
    /// secrets.
    HASTEN_RETIRING = "UPDATE credential_secrets SET retire_at = $2 \
                       WHERE credential_id = $1 AND state = 'retiring' AND retire_at > $2";
    DROP_OTHER_STAGED = "UPDATE credential_secrets SET state = 'revoked' \
                         WHERE credential_id = $1 AND state = 'staged' AND id <> $2 RETURNING key_id";
    DISCARD_STAGED = "UPDATE credential_secrets SET state = 'revoked' WHERE id = $1 AND state = 'staged' RETURNING key_id";
    /// Revokes the staged secret, and the staged secrets that are older than $3.
    DISCARD_UNDELIVERED = "UPDATE credential_secrets SET state = 'revoked' WHERE credential_id = $1 AND state = 'staged' \
                           AND (id = $2 OR issued_at < $3) RETURNING key_id";
    /// Also replaces the end of a staged secret by its own.
    ACTIVATE = "UPDATE credential_secrets SET state = 'active', expires_at = $3 \
                WHERE id = $2 AND credential_id = $1 AND state = 'staged'";
    /// Revokes the retiring secrets except for the newest $2.
    END_OLDEST_RETIRING = "UPDATE credential_secrets SET state = 'revoked' WHERE credential_id = $1 AND state = 'retiring' \
                           AND id NOT IN (SELECT id FROM credential_secrets WHERE credential_id = $1 \
                                          AND state = 'retiring' ORDER BY id DESC LIMIT $2) RETURNING key_id";
    SET_EXPIRY = "UPDATE credential_secrets SET expires_at = $2 WHERE credential_id = $1 AND state IN ('active', 'retiring')";
    /// Keeps `retire_at`: it tells that the secret was once active.
    END_RETIRING = "UPDATE credential_secrets SET state = 'revoked' \
                    WHERE credential_id = $1 AND state = 'retiring' AND retire_at > $2 RETURNING key_id";
    REVOKE_ALL = "UPDATE credential_secrets SET state = 'revoked' WHERE credential_id = $1 AND state <> 'revoked'";
    EVER_ACTIVE = "SELECT count(*) FROM credential_secrets WHERE credential_id = $1 \
                   AND (state IN ('active', 'retiring') OR retire_at IS NOT NULL)";
}

/// The state of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretState {
    /// Accepted, but not yet written to the Kubernetes Secret.
    Staged,
    /// In use. A credential has at most one active secret.
    Active,
    /// Accepted until `retire_at`, after a rotation.
    Retiring,
    /// Rejected.
    Revoked,
}

impl SecretState {
    /// The stored form.
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

    /// Parses a state. An unknown state of a newer version counts as revoked, because its meaning
    /// is unknown here.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let known = [Self::Staged, Self::Active, Self::Retiring].into_iter().find(|state| state.text() == text);
        Ok(known.unwrap_or(Self::Revoked))
    }
}

stored_as_text!([] SecretState, |state| state.text().to_owned(), |text| Ok(text.parse()?));

/// A secret version of a credential, without the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct SecretVersion {
    /// The id, which an annotation of the Kubernetes Secret contains.
    pub id: SecretId,
    /// The key id: the public part of the secret.
    pub key_id: String,
    /// The state.
    pub state: SecretState,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// When its grace ends, after another secret replaced it.
    pub retire_at: Option<Timestamp>,
    /// When it was last used, accurate to about a minute.
    pub last_used_at: Option<Timestamp>,
}

impl SecretVersion {
    /// Returns the earlier of `expires_at` and `retire_at`.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        [self.expires_at, self.retire_at].into_iter().flatten().min()
    }

    /// Returns `pdk_<key id>`.
    #[must_use]
    pub fn prefix(&self) -> String {
        prefix_of(&self.key_id)
    }
}

pub(crate) async fn insert(
    tx: &mut Tx,
    credential: CredentialId,
    token: &ApiKeyToken,
    hash: &str,
    state: SecretState,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<SecretId, Error> {
    Ok(with_conn!(tx.conn(), |c| sqlx::query_scalar(INSERT)
        .bind(credential)
        .bind(token.key_id())
        .bind(hash)
        .bind(state)
        .bind(now)
        .bind(expires_at)
        .fetch_one(c)
        .await?))
}

/// Retires the active secret at this time, and shortens the grace of retiring secrets to it.
pub(crate) async fn retire_active(tx: &mut Tx, credential: CredentialId, at: Timestamp) -> Result<(), Error> {
    with_conn!(tx.conn(), |c| sqlx::query(HASTEN_RETIRING).bind(credential).bind(at).execute(c).await.map(|_| ()))?;
    with_conn!(tx.conn(), |c| sqlx::query(RETIRE_ACTIVE).bind(credential).bind(at).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Sets the expiry of the accepted secrets, which is that of their key.
pub(crate) async fn set_expiry(tx: &mut Tx, credential: CredentialId, at: Option<Timestamp>) -> Result<(), Error> {
    with_conn!(tx.conn(), |c| sqlx::query(SET_EXPIRY).bind(credential).bind(at).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Revokes the retiring secrets whose grace has not ended, and returns their key ids.
pub(crate) async fn end_retiring(tx: &mut Tx, credential: CredentialId, now: Timestamp) -> Result<Vec<String>, Error> {
    Ok(with_conn!(tx.conn(), |c| sqlx::query_scalar(END_RETIRING).bind(credential).bind(now).fetch_all(c).await?))
}

/// Revokes every secret of a credential.
pub(crate) async fn revoke_all(tx: &mut Tx, credential: CredentialId) -> Result<(), Error> {
    with_conn!(tx.conn(), |c| sqlx::query(REVOKE_ALL).bind(credential).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Revokes a staged secret and returns its key id; `None` if it is no longer staged.
pub(crate) async fn discard_staged(tx: &mut Tx, secret: SecretId) -> Result<Option<String>, Error> {
    Ok(with_conn!(tx.conn(), |c| sqlx::query_scalar(DISCARD_STAGED).bind(secret).fetch_optional(c).await?))
}
