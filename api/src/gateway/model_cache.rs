//! The list of Ollama's models, cached so that a request for an unknown model never reaches Ollama.

use std::{collections::HashMap, sync::Arc, time::Duration};

use paddock_ollama::{Client, ClientError, ModelName, Timeouts};
use parking_lot::RwLock;
use tokio::{sync::Mutex, time::Instant};

/// The time between two refreshes.
pub(crate) const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// How long Ollama may take to list its models.
pub(super) const LIST_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// In this Ollama.
    Local,
    /// On a remote host, through this Ollama.
    Remote,
    /// Ollama does not have the model.
    Missing,
}

/// The models at one moment.
pub(super) struct Snapshot {
    /// When the list was requested.
    requested_at: Instant,
    /// Whether a model is remote, by canonical name.
    is_remote: HashMap<Box<str>, bool>,
}

impl Snapshot {
    pub(super) fn find(&self, name: &ModelName) -> Found {
        match self.is_remote.get(name.as_str()) {
            None => Found::Missing,
            Some(false) => Found::Local,
            Some(true) => Found::Remote,
        }
    }
}

/// Caches the list of models.
pub(super) struct ModelCache {
    client: Client,
    snapshot: RwLock<Option<Arc<Snapshot>>>,
    /// Locked during a request to Ollama; concurrent callers wait and share its result. The value
    /// is the start and the error of the last request that failed.
    last_failure: Mutex<Option<(Instant, Arc<ClientError>)>>,
}

impl ModelCache {
    pub(super) fn new(url: &str) -> Result<Self, ClientError> {
        let timeouts = Timeouts { connect: CONNECT_TIMEOUT, request: LIST_TIMEOUT, ..Timeouts::default() };
        Ok(Self { client: Client::new(url, timeouts)?, snapshot: RwLock::default(), last_failure: Mutex::default() })
    }

    /// Returns where a model runs. A model that is not in the snapshot may just have been pulled,
    /// so the list is requested again, unless that happened after `since`, the start of the
    /// client's request.
    pub(super) async fn find(&self, name: &ModelName, since: Instant) -> Result<Found, Arc<ClientError>> {
        match self.latest().map(|snapshot| snapshot.find(name)) {
            None | Some(Found::Missing) => Ok(self.snapshot_since(since).await?.find(name)),
            Some(found) => Ok(found),
        }
    }

    /// Returns a snapshot that was requested no earlier than `since`. Concurrent callers share one
    /// request to Ollama, and its failure: otherwise each would wait in turn for an Ollama that
    /// hangs.
    pub(super) async fn snapshot_since(&self, since: Instant) -> Result<Arc<Snapshot>, Arc<ClientError>> {
        let mut last_failure = self.last_failure.lock().await;
        match (self.latest(), &*last_failure) {
            (Some(snapshot), _) if snapshot.requested_at >= since => return Ok(snapshot),
            (_, Some((at, error))) if *at >= since => return Err(Arc::clone(error)),
            _ => {}
        }
        let now = Instant::now();
        self.request(now).await.map_err(|error| {
            let error = Arc::new(error);
            *last_failure = Some((now, Arc::clone(&error)));
            error
        })
    }

    /// Requests the list now.
    pub(super) async fn refresh(&self) -> Result<(), Arc<ClientError>> {
        self.snapshot_since(Instant::now()).await.map(|_| ())
    }

    async fn request(&self, now: Instant) -> Result<Arc<Snapshot>, ClientError> {
        let tags = self.client.tags().await?;
        // A name that Ollama itself would refuse cannot be requested.
        let named = tags.iter().filter_map(|tag| Some((Box::from(tag.model_name().ok()?.as_str()), tag.is_remote())));
        let snapshot = Arc::new(Snapshot { requested_at: now, is_remote: named.collect() });
        *self.snapshot.write() = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    fn latest(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.read().clone()
    }
}
