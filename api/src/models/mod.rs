//! Models: their state on every backend, and the pulls and deletions that admins request.
//!
//! The management API and the gateway call the same functions. A pull is a job: [`requests`] queues
//! the pull in the database, and the [`worker`] of any process runs it, whether or not the caller
//! waits. A [`subscription`] follows the pull.

mod backend;
mod catalog;
mod deletion;
mod failure;
mod requests;
mod running;
mod snapshot;
mod speed;
mod subscription;
mod worker;

use std::sync::Arc;

use paddock_accounts::Accounts;
use paddock_ollama::{ClientError, ModelRegistry, PerBackend};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use backend::BackendClient;
pub(crate) use backend::BackendModel;
pub(crate) use catalog::{Catalog, CatalogModel};
pub(crate) use deletion::DeletionError;
use requests::PullSource;
use running::RunningPulls;
pub(crate) use snapshot::PullSnapshot;
pub(crate) use subscription::PullSubscription;

/// The models of all backends. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Models(Arc<Inner>);

struct Inner {
    accounts: Accounts,
    backends: PerBackend<BackendClient>,
    registries: Vec<ModelRegistry>,
    /// How many pulls run at once, over all processes.
    max_pulls: u16,
    running: RunningPulls,
    /// Wakes the worker after a pull was queued.
    queued: Notify,
    /// The start of the shutdown.
    shutdown: CancellationToken,
}

impl Models {
    pub(crate) fn new(config: &Config, accounts: Accounts, shutdown: CancellationToken) -> Result<Self, ClientError> {
        Ok(Self(Arc::new(Inner {
            accounts,
            backends: PerBackend::new(config.ollama.clone(), BackendClient::new)?,
            registries: config.model_registries.clone(),
            max_pulls: config.max_pulls,
            running: RunningPulls::default(),
            queued: Notify::new(),
            shutdown,
        })))
    }

    /// Ends when the server begins to shut down. Open subscriptions end then, so that they do not
    /// delay it.
    pub(crate) fn shutdown(&self) -> &CancellationToken {
        &self.0.shutdown
    }
}
