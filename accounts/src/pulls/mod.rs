//! Pulls of models: requested by admins, run by any serving process.
//!
//! A pull is a row of `pull_jobs`. Requesting and cancelling are audited, and so is the success. A
//! process claims the row before it pulls; [`claim`] holds that protocol. This crate does not talk
//! to Ollama.

mod claim;
mod job;

use std::time::Duration;

pub use claim::{CLAIM_TTL, ClaimedPull};
pub use job::{PullJob, PullProgress, PullState};
use paddock_store::{
    audit::{Event, EventType},
    context::AuditContext,
    ids::{CredentialId, PullJobId, UserId},
    retry_lost_race, statements, with_conn,
};

use crate::{accounts::Accounts, error::Error};

statements! {
    INSERT = "INSERT INTO pull_jobs (model, written, state, user_id, credential_id, created_at, updated_at) \
              VALUES ($1, $2, 'queued', $3, $4, $5, $5) RETURNING *";
    CANCEL = "UPDATE pull_jobs SET state = 'cancelled', bytes_per_second = NULL, finished_at = $2, updated_at = $2 \
              WHERE id = $1 AND state IN ('queued', 'running') RETURNING model";
    SWEEP = "DELETE FROM pull_jobs WHERE finished_at < $1 AND id NOT IN \
             (SELECT id FROM pull_jobs WHERE finished_at IS NOT NULL ORDER BY id DESC LIMIT $2)";
}

/// How long finished pulls are kept.
const FINISHED_TTL: Duration = Duration::from_hours(7 * 24);
/// How many finished pulls are kept even if they are older.
const MIN_KEPT: i64 = 100;

/// The statements of this module.
pub(crate) fn statements() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    STATEMENTS.iter().chain(job::STATEMENTS).chain(claim::STATEMENTS)
}

/// The operations on pulls.
#[derive(Clone, Copy)]
pub struct Pulls<'a> {
    accounts: &'a Accounts,
}

impl Accounts {
    /// The operations on pulls.
    #[must_use]
    pub fn pulls(&self) -> Pulls<'_> {
        Pulls { accounts: self }
    }
}

/// A requested pull.
#[derive(Clone, Debug)]
pub struct NewPull {
    /// The canonical name of the model.
    pub model: String,
    /// The same name in the case of the request.
    pub written: String,
    /// The user that requests the pull.
    pub user_id: UserId,
    /// The API key that requests the pull; `None` for a session.
    pub credential_id: Option<CredentialId>,
}

/// The result of [`Pulls::start`].
#[derive(Clone, Debug)]
pub enum Started {
    /// A new pull is queued.
    New(PullJob),
    /// A pull of the same model is queued or running already.
    Joined(PullJob),
}

impl Pulls<'_> {
    /// Queues a pull, unless an unfinished pull of the same model exists.
    pub async fn start(self, context: &AuditContext, new: &NewPull) -> Result<Started, Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            if let Some(job) = job::unfinished_of_model(tx.conn(), &new.model).await? {
                tx.end_unchanged().await?;
                return Ok(Started::Joined(job));
            }
            let job: PullJob = with_conn!(tx.conn(), |c| sqlx::query_as(INSERT)
                .bind(&new.model)
                .bind(&new.written)
                .bind(new.user_id)
                .bind(new.credential_id)
                .bind(self.accounts.now())
                .fetch_one(c)
                .await?);
            tx.commit(event(EventType::ModelPullStarted, job.id, &job.model)).await?;
            Ok(Started::New(job))
        })
        .await
    }

    /// Cancels a pull. Returns false if it had ended before.
    pub async fn cancel(self, context: &AuditContext, id: PullJobId) -> Result<bool, Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let cancelled: Option<String> = with_conn!(tx.conn(), |c| sqlx::query_scalar(CANCEL)
                .bind(id)
                .bind(self.accounts.now())
                .fetch_optional(c)
                .await?);
            let Some(model) = cancelled else {
                job::by_id(tx.conn(), id).await?.ok_or(Error::NoPullJob(id))?;
                tx.end_unchanged().await?;
                return Ok(false);
            };
            tx.commit(event(EventType::ModelPullCancelled, id, &model)).await?;
            Ok(true)
        })
        .await
    }

    /// Deletes old finished pulls.
    pub async fn sweep(self) -> Result<(), Error> {
        let before = self.accounts.now() - FINISHED_TTL;
        let mut tx = self.accounts.begin_record().await?;
        with_conn!(tx.conn(), |c| sqlx::query(SWEEP).bind(before).bind(MIN_KEPT).execute(c).await.map(|_| ()))?;
        Ok(tx.commit().await?)
    }
}

/// An event about a pull.
fn event(event_type: EventType, id: PullJobId, model: &str) -> Event {
    Event::new(event_type).target(model).detail(format!("pull {id}"))
}
