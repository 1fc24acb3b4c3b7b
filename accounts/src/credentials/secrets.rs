//! The secrets of a credential.

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
    OF_CREDENTIAL = "SELECT id, key_id, state, issued_at, expires_at, retire_at FROM credential_secrets \
                     WHERE credential_id = $1 AND state <> 'revoked' ORDER BY id";
    RETIRE_ACTIVE = "UPDATE credential_secrets SET state = 'retiring', retire_at = $2 \
                     WHERE credential_id = $1 AND state = 'active'";
    /// The ones before it end no later: a rotation without grace is for what has leaked.
    HASTEN_RETIRING = "UPDATE credential_secrets SET retire_at = $2 \
                       WHERE credential_id = $1 AND state = 'retiring' AND retire_at > $2";
    DROP_OTHER_STAGED = "UPDATE credential_secrets SET state = 'revoked' \
                         WHERE credential_id = $1 AND state = 'staged' AND id <> $2 RETURNING key_id";
    DISCARD_STAGED = "UPDATE credential_secrets SET state = 'revoked' WHERE id = $1 AND state = 'staged' RETURNING key_id";
    ACTIVATE = "UPDATE credential_secrets SET state = 'active' WHERE id = $2 AND credential_id = $1 AND state = 'staged'";
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

stored_as_text!([] SecretState, |state| state.text().to_owned(), |text| Ok(text.parse()?));

/// A secret of a credential, without the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct SecretVersion {
    /// The identity: what the Kubernetes Secret's annotation names.
    pub id: SecretId,
    /// The public part.
    pub key_id: String,
    /// Where it is in its life.
    pub state: SecretState,
    /// When it was made.
    pub issued_at: Timestamp,
    /// When it ends whatever happens.
    pub expires_at: Option<Timestamp>,
    /// When it ends because another took over.
    pub retire_at: Option<Timestamp>,
}

impl SecretVersion {
    /// The earlier of its two ends.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        [self.expires_at, self.retire_at].into_iter().flatten().min()
    }

    /// `pdk_<key id>`.
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

/// Gives the active secret an end, and those that have one no later one.
pub(crate) async fn retire_active(tx: &mut Tx, credential: CredentialId, at: Timestamp) -> Result<(), Error> {
    with_conn!(tx.conn(), |c| sqlx::query(HASTEN_RETIRING).bind(credential).bind(at).execute(c).await.map(|_| ()))?;
    with_conn!(tx.conn(), |c| sqlx::query(RETIRE_ACTIVE).bind(credential).bind(at).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Ends every secret of a credential.
pub(crate) async fn revoke_all(tx: &mut Tx, credential: CredentialId) -> Result<(), Error> {
    with_conn!(tx.conn(), |c| sqlx::query(REVOKE_ALL).bind(credential).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Ends one staged secret, and tells its public part; `None` when it is not staged any more.
pub(crate) async fn discard_staged(tx: &mut Tx, secret: SecretId) -> Result<Option<String>, Error> {
    Ok(with_conn!(tx.conn(), |c| sqlx::query_scalar(DISCARD_STAGED).bind(secret).fetch_optional(c).await?))
}
