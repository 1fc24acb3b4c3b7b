//! The list of Ollama's models, cached so that a request for an unknown model never reaches Ollama.
//!
//! Refreshing the list is also the health check. After several failures Ollama counts as down:
//! requests that wait for it end, and new ones are refused at once.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use paddock_ollama::{Backend, Client, ClientError, ModelName, Timeouts};
use paddock_store::error_chain;
use parking_lot::RwLock;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// The time between two refreshes.
pub(crate) const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// How long Ollama may take to list its models.
pub(super) const LIST_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The number of failed refreshes in a row after which Ollama counts as down. A single refresh may
/// fail because Ollama is busy.
const MAX_FAILURES: u32 = 2;
/// How long a request may wait for the check whether Ollama is back. The timeout is short, so that
/// the gateway refuses requests quickly while Ollama is down.
const PROBE_TIMEOUT: Duration = Duration::from_millis(40);

/// Ollama counts as down.
#[derive(Debug, thiserror::Error)]
#[error("Ollama is down")]
pub(super) struct Down;

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
    /// The canonical names of the models in memory.
    loaded: HashSet<Box<str>>,
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
    /// The URL of the Ollama.
    url: String,
    client: Client,
    snapshot: RwLock<Option<Arc<Snapshot>>>,
    health: RwLock<Health>,
    /// Start and error of the last failed request to Ollama. The lock is held during a request;
    /// concurrent callers wait for the lock and then share the result.
    last_failure: Mutex<Option<(Instant, Arc<ClientError>)>>,
}

/// The health of Ollama.
#[derive(Default)]
struct Health {
    /// The number of failed refreshes since the last success.
    failures: u32,
    /// Cancelled while Ollama counts as down.
    down: CancellationToken,
    /// Why Ollama counts as down.
    problem: Option<String>,
}

/// Why the list of models is not available.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unlisted {
    #[error(transparent)]
    Down(#[from] Down),
    #[error(transparent)]
    Client(#[from] Arc<ClientError>),
}

impl ModelCache {
    pub(super) fn new(backend: Backend) -> Result<Self, ClientError> {
        let timeouts = Timeouts { connect: CONNECT_TIMEOUT, request: LIST_TIMEOUT, ..Timeouts::default() };
        Ok(Self {
            url: backend.name(),
            client: Client::new(backend, timeouts)?,
            snapshot: RwLock::default(),
            health: RwLock::default(),
            last_failure: Mutex::default(),
        })
    }

    /// Returns where a model runs. `since` is the start of the client's request. A model that is
    /// not in the snapshot may have been pulled after the snapshot was requested. If the snapshot
    /// was requested before `since`, this requests the list again.
    pub(super) async fn find(&self, name: &ModelName, since: Instant) -> Result<Found, Unlisted> {
        self.require_up(since).await?;
        match self.latest().map(|snapshot| snapshot.find(name)) {
            None | Some(Found::Missing) => Ok(self.snapshot_since(since).await?.find(name)),
            Some(found) => Ok(found),
        }
    }

    /// The URL of the Ollama.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Whether Ollama does not count as down.
    pub(super) fn is_up(&self) -> bool {
        !self.health.read().down.is_cancelled()
    }

    /// Why Ollama counts as down.
    pub(super) fn problem(&self) -> Option<String> {
        self.health.read().problem.clone()
    }

    /// Whether Ollama is up and runs the model itself, by the latest list.
    pub(super) fn is_local_now(&self, name: &ModelName) -> bool {
        self.is_up() && self.latest().is_some_and(|snapshot| snapshot.find(name) == Found::Local)
    }

    /// Whether the model is in memory, by the latest list.
    pub(super) fn is_loaded(&self, name: &ModelName) -> bool {
        self.latest().is_some_and(|snapshot| snapshot.loaded.contains(name.as_str()))
    }

    /// Whether the latest list has the model, or there is no list.
    pub(super) fn may_have(&self, name: &ModelName) -> bool {
        self.latest().is_none_or(|snapshot| snapshot.find(name) != Found::Missing)
    }

    /// Counts a request that could not connect as a failed refresh.
    pub(super) fn record_unreachable(&self, error: &dyn std::error::Error) {
        self.record_failure(&error_chain(error), 1);
    }

    /// Returns the token that is cancelled when Ollama goes down.
    pub(super) fn down_token(&self) -> CancellationToken {
        self.health.read().down.clone()
    }

    /// Fails while Ollama is down. Before it fails, it checks whether Ollama is back.
    pub(super) async fn require_up(&self, since: Instant) -> Result<(), Down> {
        if !self.health.read().down.is_cancelled() {
            return Ok(());
        }
        match timeout(PROBE_TIMEOUT, self.snapshot_since(since)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Down),
        }
    }

    /// Returns a snapshot that was requested no earlier than `since`. Concurrent callers share one
    /// request to Ollama and its failure. Otherwise each caller would wait in turn while Ollama
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
        let (tags, loaded, version) =
            tokio::join!(self.client.tags(), self.client.loaded_models(), self.client.check_version());
        let tags = version.and(tags);
        self.record_health(tags.as_ref().err());
        // The filter drops names that Ollama lists but refuses in requests.
        let tags = tags?;
        let named = tags.iter().filter_map(|tag| Some((Box::from(tag.model_name().ok()?.as_str()), tag.is_remote())));
        // Without the list of loaded models, the models are still known.
        let loaded = loaded.unwrap_or_default().into_iter();
        let loaded = loaded.filter_map(|model| Some(Box::from(ModelName::parse(&model.name).ok()?.as_str()))).collect();
        let snapshot = Arc::new(Snapshot { requested_at: now, is_remote: named.collect(), loaded });
        *self.snapshot.write() = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    /// Records the result of a refresh. `error` is `None` if the refresh succeeded.
    fn record_health(&self, error: Option<&ClientError>) {
        if let Some(error) = error {
            // Waiting does not make an Ollama newer.
            let weight = if matches!(error, ClientError::Outdated { .. }) { MAX_FAILURES } else { 1 };
            self.record_failure(&error_chain(error), weight);
        } else {
            let mut health = self.health.write();
            if health.down.is_cancelled() {
                tracing::info!(backend = self.url, "Ollama is back");
            }
            // Requests hold clones of the token, so only a cancelled token is replaced.
            if health.failures > 0 {
                *health = if health.down.is_cancelled() {
                    Health::default()
                } else {
                    Health { failures: 0, down: health.down.clone(), problem: None }
                };
            }
        }
    }

    /// Records a failure that counts as `weight` refreshes.
    fn record_failure(&self, error: &str, weight: u32) {
        let mut health = self.health.write();
        health.failures = health.failures.saturating_add(weight);
        if health.failures < MAX_FAILURES {
            return;
        }
        if !health.down.is_cancelled() {
            tracing::warn!(backend = self.url, error, "Ollama is down; waiting requests end");
            health.down.cancel();
        }
        health.problem = Some(error.to_owned());
    }

    fn latest(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.read().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> ModelCache {
        ModelCache::new(Backend::new("http://127.0.0.1:9").unwrap()).unwrap()
    }

    #[test]
    fn several_failures_in_a_row_end_waiting_requests() {
        let cache = cache();
        let waiting = cache.down_token();
        cache.record_health(Some(&ClientError::Timeout));
        cache.record_health(None);
        cache.record_health(Some(&ClientError::Timeout));
        assert!(!waiting.is_cancelled());
        cache.record_health(Some(&ClientError::Timeout));
        assert!(waiting.is_cancelled());
    }

    #[test]
    fn an_outdated_ollama_is_down_at_once() {
        let cache = cache();
        cache.record_health(Some(&ClientError::Outdated { version: "0.16.0".to_owned(), minimum: "0.17.1" }));
        assert!(!cache.is_up());
        assert!(cache.problem().unwrap().contains("0.16.0"));
        cache.record_health(None);
        assert_eq!(cache.problem(), None);
    }

    #[test]
    fn requests_after_an_outage_wait_again() {
        let cache = cache();
        cache.record_health(Some(&ClientError::Timeout));
        cache.record_health(Some(&ClientError::Timeout));
        cache.record_health(None);
        assert!(!cache.down_token().is_cancelled());
    }
}
