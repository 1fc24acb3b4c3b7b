//! The secrets under a credential, and the protocol that brings one into a Kubernetes Secret.
//!
//! Issuing is three writes: the secret is *staged* here, written into the Kubernetes Secret, and made *active* here. A
//! staged secret is accepted at once, so that the Kubernetes Secret authenticates at every moment; it is dropped only by
//! the activation of another one, that is, after a write to the Kubernetes Secret that makes any earlier writer's
//! precondition fail. However often a leader dies between the three, or two leaders interleave them, one secret is active
//! in the end and the Kubernetes Secret holds an accepted one.

use std::time::Duration;

use scoped_futures::ScopedFutureExt;
use serde::Serialize;

use crate::{
    Accounts,
    audit::{Change, Event, EventType},
    clock::Time,
    context::Context,
    credentials::{self, Credential, CredentialId, SecretState},
    error::Error,
    ids::row_id,
    managed::ManagedBy,
    store::{Outcome, Tx, on, statements},
    token::{self, Token},
};

row_id! {
    /// The integer identity of one secret of a credential.
    SecretId
}

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
    pub issued_at: Time,
    /// When it ends whatever happens.
    pub expires_at: Option<Time>,
    /// When it ends because another took over.
    pub retire_at: Option<Time>,
}

impl SecretVersion {
    /// The earlier of its two ends.
    #[must_use]
    pub fn not_after(&self) -> Option<Time> {
        [self.expires_at, self.retire_at].into_iter().flatten().min()
    }

    /// `pdk_<key id>`.
    #[must_use]
    pub fn prefix(&self) -> String {
        token::prefix_of(&self.key_id)
    }
}

/// A secret that is staged: the only time its text is there.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The identity, to be written into the Kubernetes Secret's annotation.
    pub id: SecretId,
    /// The key.
    pub token: Token,
    /// When it will end.
    pub expires_at: Option<Time>,
}

impl Accounts {
    /// The secrets of a credential that are not revoked, oldest first.
    pub async fn secrets(&self, id: CredentialId) -> Result<Vec<SecretVersion>, Error> {
        Ok(on!(self.reader().await?.conn(), |c| sqlx::query_as(OF_CREDENTIAL).bind(id).fetch_all(c).await?))
    }

    /// The first write of the protocol. Accepted at once; several may be staged, by leaders that do not know of each
    /// other. `owner` is the fence: an object whose life is over stages nothing.
    pub async fn stage_secret(
        &self,
        context: &Context,
        owner: &ManagedBy,
        id: CredentialId,
        expires_at: Option<Time>,
    ) -> Result<Staged, Error> {
        let token = Token::generate();
        let hash = self.hasher().hash_key(token.plaintext().clone()).await?;
        let secret = self
            .write(context, |tx| {
                let token = &token;
                let hash = &hash;
                async move {
                    let credential = fenced(tx, owner, id).await?;
                    let secret = insert(tx, id, token, hash, SecretState::Staged, expires_at, self.now()).await?;
                    let mut change = Change::default();
                    change.field("key_id", None, Some(&token.key_id()));
                    change.field("expires_at", None, expires_at.as_ref());
                    let event =
                        Event::new(EventType::ApiKeyStaged).user(credential.user_id).credential(id).change(change);
                    Ok(Outcome::changed(secret, event))
                }
                .scope_boxed()
            })
            .await?;
        Ok(Staged { id: secret, token, expires_at })
    }

    /// The third write of the protocol: the staged secret becomes the active one, every other staged one is dropped, and
    /// the old active one lives on for `grace`. Done already: nothing changes. Dropped meanwhile by another leader:
    /// [`Error::NotStaged`].
    pub async fn activate_secret(
        &self,
        context: &Context,
        owner: &ManagedBy,
        id: CredentialId,
        secret: SecretId,
        grace: Duration,
    ) -> Result<(), Error> {
        self.write(context, |tx| {
            async move {
                let mut credential = fenced(tx, owner, id).await?;
                let versions: Vec<SecretVersion> =
                    on!(tx.conn(), |c| sqlx::query_as(OF_CREDENTIAL).bind(id).fetch_all(c).await?);
                let version = versions.iter().find(|version| version.id == secret).ok_or(Error::NotStaged)?;
                match version.state {
                    SecretState::Active => return Ok(Outcome::Unchanged(())),
                    SecretState::Staged => {}
                    SecretState::Retiring | SecretState::Revoked => return Err(Error::NotStaged),
                }
                let first: i64 = on!(tx.conn(), |c| sqlx::query_scalar(EVER_ACTIVE).bind(id).fetch_one(c).await?);
                retire_active(tx, id, self.now() + grace).await?;
                let mut discarded: Vec<String> = on!(tx.conn(), |c| sqlx::query_scalar(DROP_OTHER_STAGED)
                    .bind(id)
                    .bind(secret)
                    .fetch_all(c)
                    .await?);
                discarded.sort_unstable();
                on!(tx.conn(), |c| sqlx::query(ACTIVATE).bind(id).bind(secret).execute(c).await.map(|_| ()))?;
                let before = credential.key_id.replace(version.key_id.clone());
                let mut event = if first == 0 {
                    credentials::issued_event(EventType::ApiKeyIssued, &credential)
                } else {
                    let mut change = Change::default();
                    change.field("key_id", before.as_ref(), credential.key_id.as_ref());
                    Event::new(EventType::ApiKeyRotated).user(credential.user_id).credential(id).change(change)
                };
                event.change.field("discarded", (!discarded.is_empty()).then_some(&discarded), None);
                Ok(Outcome::changed((), event))
            }
            .scope_boxed()
        })
        .await
    }
}

/// The credential, if this life of the object owns it and it is not revoked.
async fn fenced(tx: &mut Tx, owner: &ManagedBy, id: CredentialId) -> Result<Credential, Error> {
    let credential = credentials::locked(tx, id).await?;
    match &credential.managed_by {
        Some(present) if present == owner => {}
        Some(other) => return Err(Error::Fenced(other.clone())),
        None => return Err(Error::NoCredential(id)),
    }
    if credential.revoked_at.is_some() {
        return Err(Error::Revoked(id));
    }
    Ok(credential)
}

pub(crate) async fn insert(
    tx: &mut Tx,
    credential: CredentialId,
    token: &Token,
    hash: &str,
    state: SecretState,
    expires_at: Option<Time>,
    now: Time,
) -> Result<SecretId, Error> {
    Ok(on!(tx.conn(), |c| sqlx::query_scalar(INSERT)
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
pub(crate) async fn retire_active(tx: &mut Tx, credential: CredentialId, at: Time) -> Result<(), Error> {
    on!(tx.conn(), |c| sqlx::query(HASTEN_RETIRING).bind(credential).bind(at).execute(c).await.map(|_| ()))?;
    on!(tx.conn(), |c| sqlx::query(RETIRE_ACTIVE).bind(credential).bind(at).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Ends every secret of a credential.
pub(crate) async fn revoke_all(tx: &mut Tx, credential: CredentialId) -> Result<(), Error> {
    on!(tx.conn(), |c| sqlx::query(REVOKE_ALL).bind(credential).execute(c).await.map(|_| ()))?;
    Ok(())
}

/// Ends one staged secret, and tells its public part; `None` when it is not staged any more.
pub(crate) async fn discard_staged(tx: &mut Tx, secret: SecretId) -> Result<Option<String>, Error> {
    Ok(on!(tx.conn(), |c| sqlx::query_scalar(DISCARD_STAGED).bind(secret).fetch_optional(c).await?))
}
