//! The protocol that delivers a secret into a Kubernetes Secret.
//!
//! Issuing is three writes: the secret is *staged* here, written into the Kubernetes Secret, and made *active* here. A
//! staged secret is accepted at once, so that the Kubernetes Secret authenticates at every moment; it is dropped only by
//! the activation of another one, that is, after a write to the Kubernetes Secret that makes any earlier writer's
//! precondition fail. However often a leader dies between the three, or two leaders interleave them, one secret is active
//! in the end and the Kubernetes Secret holds an accepted one.

use std::time::Duration;

use paddock_store::{
    Mutation, Tx,
    audit::{Change, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::{CredentialId, SecretId},
    with_conn,
};
use scoped_futures::ScopedFutureExt;

use super::ManagedResources;
use crate::{
    credentials::{
        credential::{Credential, locked},
        issue::issued_event,
        secrets::{
            ACTIVATE, DROP_OTHER_STAGED, EVER_ACTIVE, OF_CREDENTIAL, SecretState, SecretVersion, insert, retire_active,
        },
    },
    error::Error,
    types::{ApiKeyToken, ManagedBy},
};

/// A staged secret. Its text is available only here.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The identity, for the annotation of the Kubernetes Secret.
    pub id: SecretId,
    /// The key.
    pub token: ApiKeyToken,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

impl ManagedResources<'_> {
    /// The first write of the protocol. The secret is accepted at once. Concurrent leaders may stage
    /// several. An object whose UID is not the owner's stages nothing.
    pub async fn stage_secret(
        self,
        context: &AuditContext,
        owner: &ManagedBy,
        id: CredentialId,
        expires_at: Option<Timestamp>,
    ) -> Result<Staged, Error> {
        let token = ApiKeyToken::generate();
        let hash = self.accounts.hasher().hash_key(token.plaintext().clone()).await?;
        let secret = self
            .accounts
            .write(context, |tx| {
                let token = &token;
                let hash = &hash;
                async move {
                    let credential = owned_by(tx, owner, id).await?;
                    let secret =
                        insert(tx, id, token, hash, SecretState::Staged, expires_at, self.accounts.now()).await?;
                    let mut change = Change::default();
                    change.field("key_id", None, Some(&token.key_id()));
                    change.field("expires_at", None, expires_at.as_ref());
                    let event =
                        Event::new(EventType::ApiKeyStaged).user(credential.user_id).credential(id).change(change);
                    Ok(Mutation::changed(secret, event))
                }
                .scope_boxed()
            })
            .await?;
        Ok(Staged { id: secret, token, expires_at })
    }

    /// The third write of the protocol: activates the staged secret, revokes every other staged one, and
    /// accepts the formerly active one for `grace`. Idempotent. Fails with [`Error::NotStaged`] if
    /// another leader has revoked the secret.
    pub async fn activate_secret(
        self,
        context: &AuditContext,
        owner: &ManagedBy,
        id: CredentialId,
        secret: SecretId,
        grace: Duration,
    ) -> Result<(), Error> {
        self.accounts
            .write(context, |tx| {
                async move {
                    let mut credential = owned_by(tx, owner, id).await?;
                    let versions: Vec<SecretVersion> =
                        with_conn!(tx.conn(), |c| sqlx::query_as(OF_CREDENTIAL).bind(id).fetch_all(c).await?);
                    let version = versions.iter().find(|version| version.id == secret).ok_or(Error::NotStaged)?;
                    match version.state {
                        SecretState::Active => return Ok(Mutation::Unchanged(())),
                        SecretState::Staged => {}
                        SecretState::Retiring | SecretState::Revoked => return Err(Error::NotStaged),
                    }
                    let first: i64 =
                        with_conn!(tx.conn(), |c| sqlx::query_scalar(EVER_ACTIVE).bind(id).fetch_one(c).await?);
                    retire_active(tx, id, self.accounts.now() + grace).await?;
                    let mut discarded: Vec<String> = with_conn!(tx.conn(), |c| sqlx::query_scalar(DROP_OTHER_STAGED)
                        .bind(id)
                        .bind(secret)
                        .fetch_all(c)
                        .await?);
                    discarded.sort_unstable();
                    with_conn!(tx.conn(), |c| sqlx::query(ACTIVATE)
                        .bind(id)
                        .bind(secret)
                        .execute(c)
                        .await
                        .map(|_| ()))?;
                    let before = credential.key_id.replace(version.key_id.clone());
                    let mut event = if first == 0 {
                        issued_event(EventType::ApiKeyIssued, &credential)
                    } else {
                        let mut change = Change::default();
                        change.field("key_id", before.as_ref(), credential.key_id.as_ref());
                        Event::new(EventType::ApiKeyRotated).user(credential.user_id).credential(id).change(change)
                    };
                    event.change.field("discarded", (!discarded.is_empty()).then_some(&discarded), None);
                    Ok(Mutation::changed((), event))
                }
                .scope_boxed()
            })
            .await
    }
}

/// Locks the credential. Fails unless this object owns it, by its UID too, and it is not revoked.
async fn owned_by(tx: &mut Tx, owner: &ManagedBy, id: CredentialId) -> Result<Credential, Error> {
    let credential = locked(tx, id).await?;
    match &credential.managed_by {
        Some(present) if present == owner => {}
        Some(other) => return Err(Error::UidMismatch(other.clone())),
        None => return Err(Error::NoCredential(id)),
    }
    if credential.revoked_at.is_some() {
        return Err(Error::Revoked(id));
    }
    Ok(credential)
}
