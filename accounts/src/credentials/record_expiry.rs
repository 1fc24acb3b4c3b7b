//! Recording expired keys, once for all replicas.

use paddock_store::{
    audit::{Change, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::{CredentialId, SecretId},
    retry_lost_race, statements, with_conn,
};

use super::{Credentials, credential::locked, secrets};
use crate::error::Error;

/// How many keys or secrets one query finds.
const SWEEP_BATCH: i64 = 100;

statements! {
    ENDED = "SELECT id FROM credentials WHERE expires_at <= $1 AND revoked_at IS NULL AND expired_at IS NULL \
             ORDER BY expires_at LIMIT $2";
    EXPIRE = "UPDATE credentials SET expired_at = $2 WHERE id = $1 AND expires_at <= $2 AND revoked_at IS NULL \
              AND expired_at IS NULL";
    RETIRED = "UPDATE credential_secrets SET state = 'revoked' WHERE state = 'retiring' AND (retire_at <= $1 OR expires_at <= $1)";
    STALE = "SELECT id, credential_id FROM credential_secrets WHERE state = 'staged' AND expires_at <= $1 ORDER BY id LIMIT $2";
}

impl Credentials<'_> {
    /// Records expired keys and secrets, each once, however many replicas run this:
    ///
    /// - `api_key_expired` for each expired credential;
    /// - `api_key_discarded` for each staged secret that expired before it became active;
    /// - retiring secrets past their end become revoked, without an event.
    ///
    /// No client loses access by this: expired keys and secrets are rejected already.
    pub async fn sweep(self) -> Result<(), Error> {
        let context = AuditContext::system("sweeper");
        let now = self.accounts.now();
        // Each iteration marks the keys that it found, so the loop ends.
        loop {
            let ended: Vec<CredentialId> =
                with_conn!(self.accounts.reader().await?.conn(), |c| sqlx::query_scalar(ENDED)
                    .bind(now)
                    .bind(SWEEP_BATCH)
                    .fetch_all(c)
                    .await?);
            if ended.is_empty() {
                break;
            }
            for id in ended {
                self.expire(&context, id, now).await?;
            }
        }
        loop {
            let stale: Vec<(SecretId, CredentialId)> =
                with_conn!(self.accounts.reader().await?.conn(), |c| sqlx::query_as(STALE)
                    .bind(now)
                    .bind(SWEEP_BATCH)
                    .fetch_all(c)
                    .await?);
            if stale.is_empty() {
                break;
            }
            for (secret, credential) in stale {
                self.discard(&context, credential, secret).await?;
            }
        }
        let mut tx = self.accounts.begin_record().await?;
        with_conn!(tx.conn(), |c| sqlx::query(RETIRED).bind(now).execute(c).await.map(|_| ()))?;
        Ok(tx.commit().await?)
    }

    /// Records that a key expired, unless another replica was first, or the key was revoked or
    /// prolonged meanwhile.
    async fn expire(self, context: &AuditContext, id: CredentialId, now: Timestamp) -> Result<(), Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let credential = locked(&mut tx, id).await?;
            let marked = with_conn!(tx.conn(), |c| sqlx::query(EXPIRE)
                .bind(id)
                .bind(now)
                .execute(c)
                .await
                .map(|done| done.rows_affected()))?;
            if marked == 0 {
                return Ok(());
            }
            let mut change = Change::default();
            change.field("expired_at", None, Some(&now));
            change.field("expires_at", credential.expires_at.as_ref(), None);
            let event = Event::new(EventType::ApiKeyExpired).user(credential.user_id).credential(id).change(change);
            Ok(tx.commit(event).await?)
        })
        .await
    }

    /// Revokes a staged secret that expired, and records it.
    async fn discard(self, context: &AuditContext, id: CredentialId, secret: SecretId) -> Result<(), Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let credential = locked(&mut tx, id).await?;
            let Some(key_id) = secrets::discard_staged(&mut tx, secret).await? else { return Ok(()) };
            let mut change = Change::default();
            change.field("key_id", Some(&key_id), None);
            let event = Event::new(EventType::ApiKeyDiscarded)
                .user(credential.user_id)
                .credential(id)
                .detail("its time was over before it became active")
                .change(change);
            Ok(tx.commit(event).await?)
        })
        .await
    }
}
