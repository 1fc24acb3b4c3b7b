//! Requests about pulls: start, cancel, find, list and follow.

use paddock_accounts::{
    PullJobId,
    access::Principal,
    pulls::{NewPull, Started},
};
use paddock_ollama::{ModelName, NameError, RegistryError, check_registry};
use paddock_store::context::AuditContext;

use super::{Models, snapshot::PullSnapshot, subscription::PullSubscription};
use crate::http::{
    deadline::{DbError, with_db_timeout},
    redact::contains_key,
};

/// Why a model cannot be pulled. The message continues a sentence that begins with the field.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidPull {
    /// The text is not a model name.
    #[error("is no model name: {0}")]
    Name(#[from] NameError),
    /// The name is, or contains, an API key.
    #[error("contains an API key; name the model")]
    Key,
    /// Ollama would run the model in its cloud.
    #[error("names a model of Ollama's cloud, which is not pulled; name a model that runs in Ollama")]
    Cloud,
    /// `MODEL_REGISTRIES` does not list the registry.
    #[error("{0}; name a model from there, or have the configuration changed")]
    Registry(#[from] RegistryError),
}

/// A model that may be pulled.
#[derive(Clone, Debug)]
pub(crate) struct PullSource {
    pub(crate) model: ModelName,
    /// Whether the configuration allows the registry without TLS. Ollama then pulls without it.
    pub(crate) is_insecure: bool,
}

impl Models {
    /// Checks that a model may be pulled. The caller must send Ollama the name in the result, and
    /// not the text.
    pub(crate) fn check_pull(&self, model: &str) -> Result<PullSource, InvalidPull> {
        if contains_key(model) {
            return Err(InvalidPull::Key);
        }
        let model = ModelName::parse(model)?;
        if model.is_cloud() {
            return Err(InvalidPull::Cloud);
        }
        let is_insecure = check_registry(&self.0.registries, &model)?.is_insecure();
        Ok(PullSource { model, is_insecure })
    }

    /// Queues a pull, or joins the unfinished pull of the same model. Returns whether it is new.
    pub(crate) async fn start_pull(
        &self,
        context: &AuditContext,
        principal: &Principal,
        source: &PullSource,
    ) -> Result<(PullSnapshot, bool), DbError> {
        let new = NewPull {
            model: source.model.as_str().to_owned(),
            written: source.model.as_written().to_owned(),
            user_id: principal.user_id,
            credential_id: principal.credential_id(),
        };
        Ok(match with_db_timeout(self.0.accounts.pulls().start(context, &new)).await? {
            Started::New(job) => {
                self.0.queued.notify_one();
                (PullSnapshot::stored(job), true)
            }
            Started::Joined(job) => {
                let present = self.0.running.snapshot(job.id);
                (present.unwrap_or_else(|| PullSnapshot::stored(job)), false)
            }
        })
    }

    /// Cancels a pull. A pull that has ended stays as it is. The process that runs the pull stops
    /// within about a second. Ollama keeps the received data.
    pub(crate) async fn cancel_pull(&self, context: &AuditContext, id: PullJobId) -> Result<(), DbError> {
        with_db_timeout(self.0.accounts.pulls().cancel(context, id)).await?;
        self.0.running.cancel(id);
        // The cancelled pull makes a slot free for a queued pull.
        self.0.queued.notify_one();
        Ok(())
    }

    /// Finds a pull.
    pub(crate) async fn find_pull(&self, id: PullJobId) -> Result<Option<PullSnapshot>, DbError> {
        if let Some(present) = self.0.running.snapshot(id) {
            return Ok(Some(present));
        }
        Ok(with_db_timeout(self.0.accounts.pulls().find(id)).await?.map(PullSnapshot::stored))
    }

    /// Lists a page of the pulls, newest first. Also returns their total number.
    pub(crate) async fn list_pulls(&self, limit: u16, offset: u32) -> Result<(Vec<PullSnapshot>, i64), DbError> {
        let (jobs, total) = with_db_timeout(self.0.accounts.pulls().list(limit, offset)).await?;
        let present = |job| PullSnapshot::stored(job);
        Ok((jobs.into_iter().map(present).collect(), total))
    }

    /// Follows a pull from its present state.
    pub(crate) fn follow_pull(&self, present: PullSnapshot) -> PullSubscription {
        PullSubscription::new(self.0.accounts.clone(), self.0.running.clone(), present)
    }
}
