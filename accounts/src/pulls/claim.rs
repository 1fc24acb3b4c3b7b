//! The claim of a process on a pull.
//!
//! A process claims a pull by one conditional UPDATE, so that two processes never run the same
//! pull. The process renews the claim while the pull runs. If the process dies, the claim expires,
//! and another process continues the pull. Every later write names the claim, so a process that
//! lost its claim changes nothing.
//!
//! Processes claim a pull with an expired claim first, and then the oldest queued pull. All
//! processes try the same pull, so at most one of several concurrent claims succeeds. The number of
//! running pulls therefore never exceeds the maximum.

use std::time::Duration;

use paddock_store::{
    Conn,
    audit::EventType,
    clock::Timestamp,
    context::{Actor, AuditContext},
    ids::uuid_v7,
    statements, with_conn,
};
use uuid::Uuid;

use super::{PullJob, PullProgress, PullState, Pulls, event};
use crate::error::Error;

statements! {
    CLAIM = "UPDATE pull_jobs SET state = 'running', claim_id = $1, leased_until = $2, \
             started_at = coalesce(started_at, $3), updated_at = $3 \
             WHERE id = (SELECT id FROM pull_jobs WHERE state = 'queued' OR (state = 'running' AND leased_until <= $3) \
             ORDER BY CASE WHEN state = 'running' THEN 0 ELSE 1 END, id LIMIT 1) \
             AND (SELECT count(*) FROM pull_jobs WHERE state = 'running' AND leased_until > $3) < $4 \
             AND (state = 'queued' OR (state = 'running' AND leased_until <= $3)) RETURNING *";
    RENEW = "UPDATE pull_jobs SET leased_until = $3, percent = $4, completed_bytes = $5, total_bytes = $6, \
             bytes_per_second = $7, steps = $8, updated_at = $9 WHERE id = $1 AND claim_id = $2 AND state = 'running'";
    FINISH = "UPDATE pull_jobs SET state = $3, reason = $4, percent = $5, completed_bytes = $6, total_bytes = $7, \
              bytes_per_second = NULL, steps = $8, finished_at = $9, updated_at = $9 \
              WHERE id = $1 AND claim_id = $2 AND state = 'running'";
    RELEASE = "UPDATE pull_jobs SET leased_until = $3, bytes_per_second = NULL, updated_at = $3 \
               WHERE id = $1 AND claim_id = $2 AND state = 'running'";
    RELEASE_ALL = "UPDATE pull_jobs SET leased_until = $1 WHERE state = 'running' AND leased_until > $1";
}

/// How long a claim is valid after it was made or renewed.
pub const CLAIM_TTL: Duration = Duration::from_secs(15);

/// A pull that this process has claimed.
#[derive(Clone, Debug)]
pub struct ClaimedPull {
    /// The pull, as it was claimed.
    pub job: PullJob,
    claim_id: Uuid,
}

impl Pulls<'_> {
    /// Claims the next pull, if fewer than `max_running` run in all processes together.
    pub async fn claim(self, max_running: u16) -> Result<Option<ClaimedPull>, Error> {
        let now = self.accounts.now();
        let claim_id = uuid_v7(now);
        let mut tx = self.accounts.begin_record().await?;
        let job: Option<PullJob> = with_conn!(tx.conn(), |c| sqlx::query_as(CLAIM)
            .bind(claim_id)
            .bind(now + CLAIM_TTL)
            .bind(now)
            .bind(i64::from(max_running))
            .fetch_optional(c)
            .await?);
        tx.commit().await?;
        Ok(job.map(|job| ClaimedPull { job, claim_id }))
    }

    /// Renews the claim and stores the progress. Returns false if the claim is lost, or if the pull
    /// was cancelled.
    pub async fn renew(self, claimed: &ClaimedPull, progress: &PullProgress) -> Result<bool, Error> {
        let now = self.accounts.now();
        let mut tx = self.accounts.begin_record().await?;
        let renewed = with_conn!(tx.conn(), |c| sqlx::query(RENEW)
            .bind(claimed.job.id)
            .bind(claimed.claim_id)
            .bind(now + CLAIM_TTL)
            .bind(progress.percent)
            .bind(progress.completed_bytes)
            .bind(progress.total_bytes)
            .bind(progress.bytes_per_second)
            .bind(&progress.steps)
            .bind(now)
            .execute(c)
            .await
            .map(|done| done.rows_affected()))?;
        tx.commit().await?;
        Ok(renewed == 1)
    }

    /// Records that Ollama has the model. The actor is the caller that requested the pull. Does
    /// nothing if the claim is lost or the pull was cancelled.
    pub async fn succeed(self, claimed: &ClaimedPull, progress: &PullProgress) -> Result<(), Error> {
        let job = &claimed.job;
        let actor = job.credential_id.map_or(Actor::User(job.user_id), Actor::Key);
        let context = AuditContext { actor, ..AuditContext::system("pulls") };
        let mut tx = self.accounts.begin(&context).await?;
        if finish(tx.conn(), claimed, PullState::Succeeded, None, progress, self.accounts.now()).await? {
            tx.commit(event(EventType::ModelPulled, job.id, &job.model)).await?;
        }
        Ok(())
    }

    /// Records that the pull failed. Does nothing if the claim is lost or the pull was cancelled.
    pub async fn fail(self, claimed: &ClaimedPull, reason: &str, progress: &PullProgress) -> Result<(), Error> {
        let mut tx = self.accounts.begin_record().await?;
        finish(tx.conn(), claimed, PullState::Failed, Some(reason), progress, self.accounts.now()).await?;
        Ok(tx.commit().await?)
    }

    /// Releases the claim, so that another process can continue the pull immediately.
    pub async fn release(self, claimed: &ClaimedPull) -> Result<(), Error> {
        let mut tx = self.accounts.begin_record().await?;
        with_conn!(tx.conn(), |c| sqlx::query(RELEASE)
            .bind(claimed.job.id)
            .bind(claimed.claim_id)
            .bind(self.accounts.now())
            .execute(c)
            .await
            .map(|_| ()))?;
        Ok(tx.commit().await?)
    }

    /// Ends the claims of dead processes on a SQLite file. One process serves the file, so at its
    /// start every other process is dead. On PostgreSQL, claims of dead processes expire.
    pub async fn release_claims_of_dead(self) -> Result<(), Error> {
        if self.accounts.store().database().is_shared() {
            return Ok(());
        }
        let now = self.accounts.now();
        let mut tx = self.accounts.begin_record().await?;
        with_conn!(tx.conn(), |c| sqlx::query(RELEASE_ALL).bind(now).execute(c).await.map(|_| ()))?;
        Ok(tx.commit().await?)
    }
}

/// Ends a pull. Returns false if the claim is lost or the pull was cancelled.
async fn finish(
    conn: Conn<'_>,
    claimed: &ClaimedPull,
    state: PullState,
    reason: Option<&str>,
    progress: &PullProgress,
    now: Timestamp,
) -> Result<bool, Error> {
    let finished = with_conn!(conn, |c| sqlx::query(FINISH)
        .bind(claimed.job.id)
        .bind(claimed.claim_id)
        .bind(state)
        .bind(reason)
        .bind(progress.percent)
        .bind(progress.completed_bytes)
        .bind(progress.total_bytes)
        .bind(&progress.steps)
        .bind(now)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(finished == 1)
}
