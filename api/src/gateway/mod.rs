//! The gateway in front of Ollama: checks which models the caller may use, and streams responses
//! unchanged.
//!
//! [`pipeline`] composes the steps of a request. Each step has its own file:
//!
//! 1. [`authorize`] authenticates the caller and checks its permission.
//! 2. [`plan`] checks and edits the body, with [`model_access`] and [`shared_state`].
//! 3. [`model_cache`] decides whether the model exists and whether an Ollama is up.
//! 4. [`admission`] reserves what the request will use of the limits of its user and key.
//!    [`queue`] waits until the model has a place for the request.
//! 5. [`forward`] sends the request to one of the [`backends`] through [`upstream`], within
//!    [`timeouts`]. [`conversation`] knows which backend has seen the prompt.
//! 6. [`stream`] returns the response to the client.
//! 7. [`usage`] records the tokens of the request. If Ollama reports no counts,
//!    [`prompt_estimate`] estimates the prompt.
//!
//! [`lists`] answers requests that run no model, and [`model_admin`] pulls and deletes models.
//! [`compatible`] serves the routes `/ollama/*`. [`revocation`] ends streams whose caller has lost
//! the permission.

mod admission;
mod authorize;
mod backends;
mod body_memory;
pub(crate) mod compatible;
mod conversation;
mod error;
mod forward;
mod headers;
mod lists;
mod model_access;
mod model_admin;
mod model_cache;
mod pipeline;
mod plan;
mod prompt_estimate;
mod prompt_template;
mod queue;
mod revocation;
mod shared_state;
mod stream;
mod timeouts;
mod upstream;
pub(crate) mod usage;

use std::sync::Arc;

use paddock_accounts::Accounts;
use paddock_ollama::ENDPOINTS;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    auth::Authenticator,
    config::{Config, Timeouts},
    models::Models,
};
use admission::Admission;
use backends::Backends;
use body_memory::BodyMemory;
pub(crate) use model_cache::REFRESH_INTERVAL as MODELS_REFRESH_INTERVAL;
pub(crate) use pipeline::{refuse, serve};
use prompt_estimate::PromptEstimator;
use queue::RequestQueue;
use revocation::RevocationWatcher;
use usage::Recorder;

/// Why the gateway cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The URL cannot be sent in a request.
    #[error("the host of the URL cannot be sent in a request")]
    Url(#[from] http::Error),
    /// The HTTP client cannot be built.
    #[error(transparent)]
    Client(#[from] paddock_ollama::ClientError),
    /// The route table names a scope that `accounts` does not know. This is a defect.
    #[error("the route table names an unknown scope: {0}")]
    Scope(#[from] paddock_accounts::types::UnknownVariant),
}

/// Serves the paths of Ollama's route table.
pub(crate) struct Gateway {
    accounts: Accounts,
    admission: Admission,
    authenticator: Authenticator,
    backends: Backends,
    body_limit: usize,
    body_memory: Arc<BodyMemory>,
    models: Models,
    prompt_estimator: PromptEstimator,
    queue: Arc<RequestQueue>,
    recorder: Recorder,
    revocations: RevocationWatcher,
    timeouts: Timeouts,
}

impl Gateway {
    /// `process` identifies this process in the usage that it records. `hard_shutdown` ends every open stream. Fails if the URL of Ollama cannot be used.
    pub(crate) fn new(
        config: &Config,
        accounts: Accounts,
        authenticator: Authenticator,
        models: Models,
        recorder: Recorder,
        process: Uuid,
        hard_shutdown: CancellationToken,
    ) -> Result<Self, SetupError> {
        for endpoint in ENDPOINTS {
            authorize::required_permission(endpoint)?;
        }
        Ok(Self {
            admission: Admission::new(accounts.clone(), process),
            accounts,
            authenticator,
            backends: Backends::new(config.ollama.clone())?,
            body_limit: config.body_limit,
            body_memory: BodyMemory::new(config.body_limit),
            models,
            prompt_estimator: PromptEstimator::default(),
            queue: RequestQueue::new(config.queue),
            recorder,
            revocations: RevocationWatcher::new(hard_shutdown),
            timeouts: config.timeouts,
        })
    }

    /// Ends streams whose principal loses the permission. Never returns.
    pub(crate) async fn run_revocations(&self) {
        self.revocations.run(&self.accounts).await;
    }

    /// Finds the backends once, if a DNS name tells them.
    pub(crate) async fn resolve_backends(&self) {
        self.backends.source().resolve().await;
    }

    /// Finds the backends at an interval. Never returns.
    pub(crate) async fn run_discovery(&self) {
        self.backends.source().run().await;
    }

    /// Completes at the next change of the backends after this call.
    pub(crate) fn backends_changed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.backends.source().changed()
    }

    /// Refreshes the lists of models once. Returns whether an Ollama answered.
    pub(crate) async fn refresh_models(&self) -> bool {
        self.backends.refresh().await
    }

    /// Returns the URL of each backend that is not used, and why. A name that cannot be resolved is
    /// one of them.
    pub(crate) fn backend_problems(&self) -> Vec<(String, String)> {
        self.backends.problems()
    }
}
