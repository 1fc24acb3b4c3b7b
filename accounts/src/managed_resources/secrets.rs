//! The protocol that delivers a secret into a Kubernetes Secret.
//!
//! Issuing a secret takes three writes: the secret is *staged* here, written into the Kubernetes
//! Secret, and made *active* here.
//!
//! Paddock accepts a staged secret immediately, so the Kubernetes Secret holds an accepted key at
//! every moment. Only the activation of another secret revokes a staged secret. An operator
//! activates a secret only after it has written the Kubernetes Secret, and the write makes the
//! preconditions of earlier writers fail.
//!
//! A leader may die between the writes, and two leaders may interleave them. In the end one secret
//! is active, and the Kubernetes Secret holds an accepted one.

use std::time::Duration;

use paddock_store::{
    Tx,
    audit::{Change, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::{CredentialId, SecretId},
    retry_lost_race, with_conn,
};

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
    /// The id, for the annotation of the Kubernetes Secret.
    pub id: SecretId,
    /// The key.
    pub token: ApiKeyToken,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

impl ManagedResources<'_> {
    /// The first write of the protocol: stores a new secret, which is accepted at once. Concurrent
    /// leaders may stage several. Fails with [`Error::UidMismatch`] if the key belongs to another
    /// UID.
    pub async fn stage_secret(
        self,
        context: &AuditContext,
        owner: &ManagedBy,
        id: CredentialId,
        expires_at: Option<Timestamp>,
    ) -> Result<Staged, Error> {
        let token = ApiKeyToken::generate();
        let hash = self.accounts.hasher().hash_key(token.plaintext().clone()).await?;
        let secret = retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let credential = owned_by(&mut tx, owner, id).await?;
            let now = self.accounts.now();
            let secret = insert(&mut tx, id, &token, &hash, SecretState::Staged, expires_at, now).await?;
            let mut change = Change::default();
            change.field("key_id", None, Some(&token.key_id()));
            change.field("expires_at", None, expires_at.as_ref());
            let event = Event::new(EventType::ApiKeyStaged).user(credential.user_id).credential(id).change(change);
            tx.commit(event).await?;
            Ok::<_, Error>(secret)
        })
        .await?;
        Ok(Staged { id: secret, token, expires_at })
    }

    /// The third write of the protocol: activates the staged secret, revokes every other staged
    /// secret, and accepts the formerly active one for `grace`. Idempotent. Fails with
    /// [`Error::NotStaged`] if another leader has revoked the secret.
    pub async fn activate_secret(
        self,
        context: &AuditContext,
        owner: &ManagedBy,
        id: CredentialId,
        secret: SecretId,
        grace: Duration,
    ) -> Result<(), Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let mut credential = owned_by(&mut tx, owner, id).await?;
            let versions: Vec<SecretVersion> =
                with_conn!(tx.conn(), |c| sqlx::query_as(OF_CREDENTIAL).bind(id).fetch_all(c).await?);
            let version = versions.iter().find(|version| version.id == secret).ok_or(Error::NotStaged)?;
            match version.state {
                SecretState::Active => return Ok(()),
                SecretState::Staged => {}
                SecretState::Retiring | SecretState::Revoked => return Err(Error::NotStaged),
            }
            let first: i64 = with_conn!(tx.conn(), |c| sqlx::query_scalar(EVER_ACTIVE).bind(id).fetch_one(c).await?);
            retire_active(&mut tx, id, self.accounts.now() + grace).await?;
            let mut discarded: Vec<String> = with_conn!(tx.conn(), |c| sqlx::query_scalar(DROP_OTHER_STAGED)
                .bind(id)
                .bind(secret)
                .fetch_all(c)
                .await?);
            discarded.sort_unstable();
            with_conn!(tx.conn(), |c| sqlx::query(ACTIVATE).bind(id).bind(secret).execute(c).await.map(|_| ()))?;
            let before = credential.key_id.replace(version.key_id.clone());
            let mut event = if first == 0 {
                issued_event(EventType::ApiKeyIssued, &credential)
            } else {
                let mut change = Change::default();
                change.field("key_id", before.as_ref(), credential.key_id.as_ref());
                Event::new(EventType::ApiKeyRotated).user(credential.user_id).credential(id).change(change)
            };
            event.change.field("discarded", (!discarded.is_empty()).then_some(&discarded), None);
            Ok(tx.commit(event).await?)
        })
        .await
    }
}

/// Locks the credential. Fails unless an object of this name and UID owns it, and it is not
/// revoked.
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
