//! The backends: every Ollama behind the gateway, and which one runs a request.
//!
//! A backend that does not answer its health check is ejected, and returns when it answers again.
//! Of the backends that have the model, the request goes to the least busy one; a backend that would
//! have to load the model first counts as busier.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use metrics::gauge;
use paddock_ollama::{Backend, ModelName};
use tokio::time::Instant;

use super::{
    SetupError,
    model_cache::{Down, Found, ModelCache, Unlisted},
    upstream::UpstreamClient,
};

/// How many more requests a backend with the loaded model gets before another one loads the model.
const LOAD_COST: usize = 4;

/// Every Ollama behind the gateway.
pub(super) struct Backends {
    members: Vec<Arc<GatewayBackend>>,
    /// Rotates over backends that are equally busy.
    turn: AtomicUsize,
}

/// One Ollama behind the gateway.
pub(super) struct GatewayBackend {
    pub(super) models: ModelCache,
    pub(super) upstream: UpstreamClient,
    in_flight: AtomicUsize,
}

/// The backend of a request, which counts as busy until the lease is dropped.
pub(super) struct BackendLease(Arc<GatewayBackend>);

impl BackendLease {
    pub(super) fn backend(&self) -> &Arc<GatewayBackend> {
        &self.0
    }
}

impl Drop for BackendLease {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Backends {
    pub(super) fn new(backends: &[Backend]) -> Result<Self, SetupError> {
        let member = |backend: &Backend| {
            let (models, upstream) = (ModelCache::new(backend.clone())?, UpstreamClient::new(backend)?);
            Ok::<_, SetupError>(Arc::new(GatewayBackend { models, upstream, in_flight: AtomicUsize::new(0) }))
        };
        Ok(Self { members: backends.iter().map(member).collect::<Result<_, _>>()?, turn: AtomicUsize::new(0) })
    }

    /// Whether a request that does not reach its backend may go to another one.
    pub(super) fn are_several(&self) -> bool {
        self.members.len() > 1
    }

    /// Returns where a model runs. `since` is the start of the client's request. Fails if only a
    /// backend that is down has the model.
    pub(super) async fn find(&self, name: &ModelName, since: Instant) -> Result<Found, Unlisted> {
        if self.members.iter().any(|member| member.models.is_local_now(name)) {
            return Ok(Found::Local);
        }
        let found = join_all(self.members.iter().map(|member| member.models.find(name, since))).await;
        let mut result = Ok(Found::Missing);
        for (member, found) in self.members.iter().zip(found) {
            match found {
                Ok(Found::Local) => return Ok(Found::Local),
                Ok(Found::Remote) => result = Ok(Found::Remote),
                // Without a list, the backend may have the model.
                Err(error) if member.models.may_have(name) && matches!(result, Ok(Found::Missing)) => {
                    result = Err(error);
                }
                Ok(Found::Missing) | Err(_) => {}
            }
        }
        result
    }

    /// Chooses the backend of a request for the model, among those that are up and not in `tried`.
    pub(super) fn choose(&self, name: &ModelName, tried: &[BackendLease]) -> Option<BackendLease> {
        let is_tried = |member: &Arc<GatewayBackend>| tried.iter().any(|lease| Arc::ptr_eq(&lease.0, member));
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.members.len().max(1);
        let (late, early) = self.members.split_at(turn);
        let candidates =
            early.iter().chain(late).filter(|member| !is_tried(member) && member.models.is_local_now(name));
        let load = |member: &&Arc<GatewayBackend>| {
            let cost = if member.models.is_loaded(name) { 0 } else { LOAD_COST };
            member.in_flight.load(Ordering::Relaxed) + cost
        };
        let chosen = candidates.min_by_key(load)?;
        chosen.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(BackendLease(Arc::clone(chosen)))
    }

    /// Returns the backends that are up. Fails if none is. Before it fails, it checks whether one is
    /// back.
    pub(super) async fn up(&self, since: Instant) -> Result<Vec<Arc<GatewayBackend>>, Down> {
        let up = || self.members.iter().filter(|member| member.models.is_up()).cloned().collect::<Vec<_>>();
        let now = up();
        if !now.is_empty() {
            return Ok(now);
        }
        join_all(self.members.iter().map(|member| member.models.require_up(since))).await;
        Some(up()).filter(|up| !up.is_empty()).ok_or(Down)
    }

    /// Completes when every backend has gone down.
    pub(super) async fn all_down(&self) {
        for member in &self.members {
            member.models.down_token().cancelled_owned().await;
        }
    }

    /// Checks the health of every backend, and refreshes its list of models. Returns whether one of
    /// them answered.
    pub(super) async fn refresh(&self) -> bool {
        let refreshed = join_all(self.members.iter().map(|member| member.models.refresh())).await;
        for (member, result) in self.members.iter().zip(&refreshed) {
            member.upstream.close_unused_connections();
            gauge!("paddock_backend_up", "backend" => member.models.url().to_owned())
                .set(f64::from(u8::from(result.is_ok())));
        }
        refreshed.iter().any(Result::is_ok)
    }

    /// Whether a backend runs the model, as far as is known.
    pub(super) fn is_local_now(&self, name: &ModelName) -> bool {
        self.members.iter().any(|member| member.models.is_local_now(name))
    }

    /// Reads the lists of models again that were requested before `since`. Fails if no backend
    /// answers.
    pub(super) async fn lists_since(&self, since: Instant) -> Result<(), Unlisted> {
        let lists = join_all(self.members.iter().map(|member| member.models.snapshot_since(since))).await;
        let mut result = Err(Unlisted::Down(Down));
        for list in lists {
            match list {
                Ok(_) => return Ok(()),
                Err(error) => result = Err(error.into()),
            }
        }
        result
    }

    /// Returns the URL of each backend that is not used, and why.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let problem = |member: &Arc<GatewayBackend>| Some((member.models.url().to_owned(), member.models.problem()?));
        self.members.iter().filter_map(problem).collect()
    }
}
