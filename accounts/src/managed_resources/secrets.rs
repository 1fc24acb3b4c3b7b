//! The protocol that delivers a secret into a Kubernetes Secret.
//!
//! Issuing a secret takes three writes: the secret is *staged* here, written into the Kubernetes
//! Secret, and made *active* here.
//!
//! Paddock accepts a staged secret immediately, so the Kubernetes Secret holds an accepted key at
//! every moment. A staged secret ends by itself after [`STAGED_LIFETIME`], which its activation
//! revokes. The activation of another secret revokes a staged secret earlier. An operator activates a
//! secret only after it has written the Kubernetes Secret, and the write makes the preconditions of
//! earlier writers fail. If the API server refuses the write, the operator revokes the secret at
//! once with [`ManagedResources::discard_undelivered`].
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
        credential::{self, Credential, locked},
        issue::issued_event,
        secrets::{
            ACTIVATE, DISCARD_UNDELIVERED, DROP_OTHER_STAGED, END_OLDEST_RETIRING, EVER_ACTIVE, OF_CREDENTIAL,
            SecretState, SecretVersion, insert, retire_active,
        },
    },
    error::Error,
    types::{ApiKeyToken, ManagedBy},
};

/// How long a staged secret is accepted, unless it is activated. It bounds the life of a secret
/// whose operator crashed before it wrote the Kubernetes Secret.
pub const STAGED_LIFETIME: Duration = Duration::from_mins(10);
/// The number of replaced secrets that are accepted beside the active one. An activation ends the
/// older ones.
pub const MAX_RETIRING: i64 = 2;
/// The age from which a staged secret is abandoned by its operator, which writes the Kubernetes
/// Secret within a minute or gives up.
const ABANDONED_AFTER: Duration = Duration::from_mins(2);

/// A staged secret. Its text is available only here.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The id, for the annotation of the Kubernetes Secret.
    pub id: SecretId,
    /// The key.
    pub token: ApiKeyToken,
    /// When it expires once it is active.
    pub expires_at: Option<Timestamp>,
}

/// An activation of a staged secret.
#[derive(Clone, Copy, Debug)]
pub struct Activation {
    /// The staged secret.
    pub secret: SecretId,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// How long the formerly active secret is accepted.
    pub grace: Duration,
}

impl ManagedResources<'_> {
    /// The first write of the protocol: stores a new secret, which is accepted at once, for
    /// [`STAGED_LIFETIME`] at most. `valid_for` is the lifetime of the secret once it is active.
    /// Concurrent leaders may stage several. Fails with [`Error::UidMismatch`] if the key belongs
    /// to another UID.
    pub async fn stage_secret(
        self,
        context: &AuditContext,
        owner: &ManagedBy,
        id: CredentialId,
        valid_for: Option<Duration>,
    ) -> Result<Staged, Error> {
        let token = ApiKeyToken::generate();
        let hash = self.accounts.hasher().hash_key(token.plaintext().clone()).await?;
        let (secret, expires_at) = retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let credential = owned_by(&mut tx, owner, id).await?;
            let now = self.accounts.now();
            let expires_at = valid_for.map(|valid_for| now + valid_for);
            let end = expires_at.map_or(now + STAGED_LIFETIME, |end| end.min(now + STAGED_LIFETIME));
            let secret = insert(&mut tx, id, &token, &hash, SecretState::Staged, Some(end), now).await?;
            let mut change = Change::default();
            change.field("key_id", None, Some(&token.key_id()));
            change.field("expires_at", None, expires_at.as_ref());
            let event = Event::new(EventType::ApiKeyStaged).user(credential.user_id).credential(id).change(change);
            tx.commit(event).await?;
            Ok::<_, Error>((secret, expires_at))
        })
        .await?;
        Ok(Staged { id: secret, token, expires_at })
    }

    /// The third write of the protocol: activates the staged secret until `expires_at`, revokes
    /// every other staged secret, and accepts the formerly active one for `grace`. Ends the oldest
    /// earlier secrets beyond [`MAX_RETIRING`]. Idempotent. Fails with [`Error::NotStaged`] if
    /// another leader has revoked the secret.
    pub async fn activate_secret(
        self,
        context: &AuditContext,
        owner: &ManagedBy,
        id: CredentialId,
        activation: Activation,
    ) -> Result<(), Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let mut credential = owned_by(&mut tx, owner, id).await?;
            let versions: Vec<SecretVersion> =
                with_conn!(tx.conn(), |c| sqlx::query_as(OF_CREDENTIAL).bind(id).fetch_all(c).await?);
            let version = versions.iter().find(|version| version.id == activation.secret).ok_or(Error::NotStaged)?;
            match version.state {
                SecretState::Active => return Ok(tx.end_unchanged().await?),
                SecretState::Staged => {}
                SecretState::Retiring | SecretState::Revoked => return Err(Error::NotStaged),
            }
            let first: i64 = with_conn!(tx.conn(), |c| sqlx::query_scalar(EVER_ACTIVE).bind(id).fetch_one(c).await?);
            let (discarded, ended) = make_active(&mut tx, id, &activation, self.accounts.now()).await?;
            let before = credential.key_id.replace(version.key_id.clone());
            let mut event = if first == 0 {
                issued_event(EventType::ApiKeyIssued, &credential)
            } else {
                let mut change = Change::default();
                change.field("key_id", before.as_ref(), credential.key_id.as_ref());
                Event::new(EventType::ApiKeyRotated).user(credential.user_id).credential(id).change(change)
            };
            event.change.field("discarded", (!discarded.is_empty()).then_some(&discarded), None);
            event.change.field("retiring", (!ended.is_empty()).then_some(&ended), None);
            Ok(tx.commit(event).await?)
        })
        .await
    }

    /// Revokes a staged secret that did not reach its Kubernetes Secret, and the secrets that were
    /// staged [`ABANDONED_AFTER`] ago or earlier. The caller has checked that the Kubernetes Secret
    /// holds none of them.
    pub async fn discard_undelivered(
        self,
        context: &AuditContext,
        owner: &ManagedBy,
        id: CredentialId,
        secret: SecretId,
    ) -> Result<(), Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let credential = owned_by(&mut tx, owner, id).await?;
            let before = self.accounts.now() - ABANDONED_AFTER;
            let mut discarded: Vec<String> = with_conn!(tx.conn(), |c| sqlx::query_scalar(DISCARD_UNDELIVERED)
                .bind(id)
                .bind(secret)
                .bind(before)
                .fetch_all(c)
                .await?);
            if discarded.is_empty() {
                return Ok(tx.end_unchanged().await?);
            }
            discarded.sort_unstable();
            let mut change = Change::default();
            change.field("discarded", Some(&discarded), None);
            let event = Event::new(EventType::ApiKeyDiscarded).user(credential.user_id).credential(id).change(change);
            Ok(tx.commit(event).await?)
        })
        .await
    }

    /// Ends a key that its object may no longer have: accepts its secrets for `grace`, and revokes
    /// the staged ones. [`ManagedResources::stage_secret`] gives the key another secret later.
    /// `why` is the detail of the audit event. Does nothing if the key has ended already, is
    /// revoked, or belongs to another UID.
    pub async fn end_key(
        self,
        context: &AuditContext,
        owner: &ManagedBy,
        grace: Duration,
        why: &str,
    ) -> Result<(), Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let Some(key) = credential::by_owner(tx.conn(), owner).await? else { return Ok(tx.end_unchanged().await?) };
            let key = locked(&mut tx, key.id).await?;
            if key.managed_by.as_ref() != Some(owner) || key.revoked_at.is_some() {
                return Ok(tx.end_unchanged().await?);
            }
            let versions: Vec<SecretVersion> =
                with_conn!(tx.conn(), |c| sqlx::query_as(OF_CREDENTIAL).bind(key.id).fetch_all(c).await?);
            if !versions.iter().any(|version| matches!(version.state, SecretState::Active | SecretState::Staged)) {
                return Ok(tx.end_unchanged().await?);
            }
            let ends_at = self.accounts.now() + grace;
            retire_active(&mut tx, key.id, ends_at).await?;
            with_conn!(tx.conn(), |c| sqlx::query(DROP_OTHER_STAGED)
                .bind(key.id)
                .bind(SecretId(0))
                .execute(c)
                .await
                .map(|_| ()))?;
            let mut change = Change::default();
            change.field("ends_at", None, Some(&ends_at));
            let event = Event::new(EventType::ApiKeyUpdated).user(key.user_id).credential(key.id).change(change);
            Ok(tx.commit(event.detail(why)).await?)
        })
        .await
    }
}

/// Makes a staged secret the active one. Returns the key ids of the discarded staged secrets, and
/// of the earlier secrets that end because there are too many.
async fn make_active(
    tx: &mut Tx,
    id: CredentialId,
    activation: &Activation,
    now: Timestamp,
) -> Result<(Vec<String>, Vec<String>), Error> {
    let Activation { secret, expires_at, grace } = *activation;
    retire_active(tx, id, now + grace).await?;
    let mut ended: Vec<String> = with_conn!(tx.conn(), |c| sqlx::query_scalar(END_OLDEST_RETIRING)
        .bind(id)
        .bind(MAX_RETIRING)
        .fetch_all(c)
        .await?);
    ended.sort_unstable();
    let mut discarded: Vec<String> =
        with_conn!(tx.conn(), |c| sqlx::query_scalar(DROP_OTHER_STAGED).bind(id).bind(secret).fetch_all(c).await?);
    discarded.sort_unstable();
    with_conn!(tx.conn(), |c| sqlx::query(ACTIVATE)
        .bind(id)
        .bind(secret)
        .bind(expires_at)
        .execute(c)
        .await
        .map(|_| ()))?;
    Ok((discarded, ended))
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
