//! The gateway in front of Ollama: checks which models the caller may use, and streams responses
//! unchanged.
//!
//! A request passes through [`pipeline`], which calls: [`authorize`] (the caller and its
//! permission), [`policy`] (the request, decided on its bytes), [`model_cache`] (whether the model
//! exists), [`upstream`] (to Ollama), [`stream`] (back to the client) and [`usage`] (what the
//! request used). [`revocation`] ends streams whose caller has lost the right to them.

mod authorize;
mod error;
mod headers;
mod model_cache;
mod pipeline;
mod policy;
mod revocation;
mod stream;
mod upstream;
pub(crate) mod usage;

use paddock_accounts::Accounts;
use paddock_ollama::ENDPOINTS;
use tokio_util::sync::CancellationToken;

use crate::{
    auth::Authenticator,
    config::{Config, Timeouts},
};
use model_cache::ModelCache;
pub(crate) use model_cache::REFRESH_INTERVAL as MODELS_REFRESH_INTERVAL;
pub(crate) use pipeline::{refuse, serve};
use revocation::RevocationWatcher;
use upstream::{InvalidUrl, UpstreamClient};
use usage::Recorder;

/// Why the gateway cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The URL cannot be used.
    #[error("must be one URL like http://localhost:11434, without a path: {0}")]
    Url(String),
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
    authenticator: Authenticator,
    body_limit: usize,
    model_cache: ModelCache,
    recorder: Recorder,
    revocations: RevocationWatcher,
    timeouts: Timeouts,
    upstream: UpstreamClient,
}

impl Gateway {
    /// `hard_shutdown` ends every open stream. Fails if the URL of Ollama cannot be used.
    pub(crate) fn new(
        config: &Config,
        accounts: Accounts,
        authenticator: Authenticator,
        recorder: Recorder,
        hard_shutdown: CancellationToken,
    ) -> Result<Self, SetupError> {
        for endpoint in ENDPOINTS {
            authorize::required_permission(endpoint)?;
        }
        let upstream = UpstreamClient::new(&config.ollama_url).map_err(|InvalidUrl(why)| SetupError::Url(why))?;
        Ok(Self {
            accounts,
            authenticator,
            body_limit: config.body_limit,
            model_cache: ModelCache::new(&config.ollama_url)?,
            recorder,
            revocations: RevocationWatcher::new(hard_shutdown),
            timeouts: config.timeouts,
            upstream,
        })
    }

    /// Ends streams whose principal loses the right to them. Never returns.
    pub(crate) async fn run_revocations(&self) {
        self.revocations.run(&self.accounts).await;
    }

    /// Refreshes the list of models once. Returns whether Ollama answered.
    pub(crate) async fn refresh_models(&self) -> bool {
        self.model_cache.refresh().await.is_ok()
    }
}
