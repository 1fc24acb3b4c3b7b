//! A pull at one moment.

use paddock_accounts::pulls::{self, PullJob};
use paddock_ollama::PullSteps;

/// A pull at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PullSnapshot {
    /// The job. Its stored steps may be older than `steps`.
    pub(crate) job: PullJob,
    pub(crate) steps: PullSteps,
}

impl PullSnapshot {
    /// The snapshot that is stored in the database.
    pub(crate) fn stored(job: PullJob) -> Self {
        // The steps of a newer version count as unknown.
        let steps = serde_json::from_str(&job.progress.steps).unwrap_or_default();
        Self { job, steps }
    }

    /// The progress to store.
    pub(super) fn progress(&self) -> pulls::PullProgress {
        let steps = serde_json::to_string(&self.steps).unwrap_or_else(|_| "[]".to_owned());
        pulls::PullProgress { steps, ..self.job.progress.clone() }
    }

    /// Ollama's current action.
    pub(crate) fn status(&self) -> Option<&str> {
        self.steps.iter().last().map(|step| step.status.as_str())
    }
}
