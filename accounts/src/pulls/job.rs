//! The rows of the table `pull_jobs`.

use paddock_store::{
    Conn,
    clock::Timestamp,
    ids::{CredentialId, PullJobId, UserId},
    statements, stored_as_text, with_conn,
};
use serde::{Deserialize, Serialize};

use super::Pulls;
use crate::{
    error::Error,
    types::{TextEnum, parse_variant},
};

statements! {
    BY_ID = "SELECT * FROM pull_jobs WHERE id = $1";
    UNFINISHED = "SELECT * FROM pull_jobs WHERE state IN ('queued', 'running') ORDER BY id";
    UNFINISHED_OF_MODEL = "SELECT * FROM pull_jobs WHERE model = $1 AND state IN ('queued', 'running')";
    LIST = "SELECT * FROM pull_jobs ORDER BY id DESC LIMIT $1 OFFSET $2";
    COUNT = "SELECT count(*) FROM pull_jobs";
}

/// The state of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullState {
    /// The pull waits until fewer pulls run.
    Queued,
    /// A process pulls the model.
    Running,
    /// Ollama has the model.
    Succeeded,
    /// The pull failed.
    Failed,
    /// An admin cancelled the pull.
    Cancelled,
}

impl TextEnum for PullState {
    const ALL: &'static [Self] = &[Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    fn text(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl PullState {
    /// Whether the pull has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

stored_as_text!([] PullState, |state| state.text().to_owned(), |text| Ok(parse_variant(text)?));

/// The progress of a pull. No figure decreases, except the speed.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct PullProgress {
    /// From 0 to 100; 100 only after success.
    pub percent: i64,
    /// Received bytes of all known layers.
    pub completed_bytes: i64,
    /// Size of all known layers, in bytes.
    pub total_bytes: i64,
    /// The speed of the last seconds; `None` unless data arrives.
    pub bytes_per_second: Option<i64>,
    /// The steps, in the form that the caller chose. This crate does not interpret them.
    pub steps: String,
}

/// A pull of a model, which continues without its caller.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct PullJob {
    /// The id.
    pub id: PullJobId,
    /// The canonical name of the model.
    pub model: String,
    /// The same name in the case of the request.
    pub written: String,
    /// The state.
    pub state: PullState,
    /// Why the pull failed.
    pub reason: Option<String>,
    /// The user that requested the pull.
    pub user_id: UserId,
    /// The API key that requested the pull; `None` for a session.
    pub credential_id: Option<CredentialId>,
    /// The progress.
    #[sqlx(flatten)]
    pub progress: PullProgress,
    /// When the pull was requested.
    pub created_at: Timestamp,
    /// When the pull first ran.
    pub started_at: Option<Timestamp>,
    /// When the pull ended.
    pub finished_at: Option<Timestamp>,
    /// When the row last changed.
    pub updated_at: Timestamp,
}

impl Pulls<'_> {
    /// Finds a pull.
    pub async fn find(self, id: PullJobId) -> Result<Option<PullJob>, Error> {
        by_id(self.accounts.reader().await?.conn(), id).await
    }

    /// Lists the pulls that are queued or running, oldest first.
    pub async fn unfinished(self) -> Result<Vec<PullJob>, Error> {
        Ok(with_conn!(self.accounts.reader().await?.conn(), |c| sqlx::query_as(UNFINISHED).fetch_all(c).await?))
    }

    /// Lists a page of the pulls, newest first. Also returns their total number.
    pub async fn list(self, limit: u16, offset: u32) -> Result<(Vec<PullJob>, i64), Error> {
        let (limit, offset) = (i64::from(limit), i64::from(offset));
        let mut reader = self.accounts.reader().await?;
        let jobs = with_conn!(reader.conn(), |c| sqlx::query_as(LIST).bind(limit).bind(offset).fetch_all(c).await?);
        let total = with_conn!(reader.conn(), |c| sqlx::query_scalar(COUNT).fetch_one(c).await?);
        Ok((jobs, total))
    }
}

pub(super) async fn by_id(conn: Conn<'_>, id: PullJobId) -> Result<Option<PullJob>, Error> {
    Ok(with_conn!(conn, |c| sqlx::query_as(BY_ID).bind(id).fetch_optional(c).await?))
}

pub(super) async fn unfinished_of_model(conn: Conn<'_>, model: &str) -> Result<Option<PullJob>, Error> {
    Ok(with_conn!(conn, |c| sqlx::query_as(UNFINISHED_OF_MODEL).bind(model).fetch_optional(c).await?))
}
