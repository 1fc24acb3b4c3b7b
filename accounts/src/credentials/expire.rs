//! Recording expired keys, once for all replicas.

use paddock_store::{
    Mutation,
    audit::{Change, Event, EventType},
    clock::Timestamp,
    context::AuditContext,
    ids::{CredentialId, SecretId},
    statements, with_conn,
};
use scoped_futures::ScopedFutureExt;

use super::{Credentials, credential::locked, secrets};
use crate::error::Error;

/// How many keys one query looks for.
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
    /// Writes `api_key_expired` for each credential whose time is over, once however many replicas look, `api_key_discarded`
    /// for each staged secret whose time was over before it became active, and marks as revoked the retiring ones that
    /// have retired. None of it takes anything away: what ended counted for nothing already.
    pub async fn sweep(self) -> Result<(), Error> {
        let context = AuditContext::system("sweeper");
        let now = self.accounts.now();
        // Each turn takes what it found off the list, so that this comes to an end.
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
        self.accounts
            .record(|tx| {
                async move {
                    with_conn!(tx.conn(), |c| sqlx::query(RETIRED).bind(now).execute(c).await.map(|_| ()))?;
                    Ok(())
                }
                .scope_boxed()
            })
            .await
    }

    async fn expire(self, context: &AuditContext, id: CredentialId, now: Timestamp) -> Result<(), Error> {
        self.accounts
            .write(context, |tx| {
                async move {
                    let credential = locked(tx, id).await?;
                    let marked = with_conn!(tx.conn(), |c| sqlx::query(EXPIRE)
                        .bind(id)
                        .bind(now)
                        .execute(c)
                        .await
                        .map(|done| done.rows_affected()))?;
                    if marked == 0 {
                        // Another replica was first, or it was revoked or given more time.
                        return Ok(Mutation::Unchanged(()));
                    }
                    let mut change = Change::default();
                    change.field("expired_at", None, Some(&now));
                    change.field("expires_at", credential.expires_at.as_ref(), None);
                    let event =
                        Event::new(EventType::ApiKeyExpired).user(credential.user_id).credential(id).change(change);
                    Ok(Mutation::changed((), event))
                }
                .scope_boxed()
            })
            .await
    }

    async fn discard(self, context: &AuditContext, id: CredentialId, secret: SecretId) -> Result<(), Error> {
        self.accounts
            .write(context, |tx| {
                async move {
                    let credential = locked(tx, id).await?;
                    let Some(key_id) = secrets::discard_staged(tx, secret).await? else {
                        return Ok(Mutation::Unchanged(()));
                    };
                    let mut change = Change::default();
                    change.field("key_id", Some(&key_id), None);
                    let event = Event::new(EventType::ApiKeyDiscarded)
                        .user(credential.user_id)
                        .credential(id)
                        .detail("its time was over before it became active")
                        .change(change);
                    Ok(Mutation::changed((), event))
                }
                .scope_boxed()
            })
            .await
    }
}
