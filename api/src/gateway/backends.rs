//! The backends: every Ollama behind the gateway, and which one runs a request.
//!
//! A backend that does not answer its health check is ejected, and returns when it answers again.
//! Of the backends that have the model, the request goes to the least busy one. A backend that would
//! have to load the model first counts as busier, and one that has seen the beginning of the prompt
//! as less busy.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use metrics::{counter, gauge};
use paddock_ollama::{Backend, BackendSource, ModelName, PerBackend};
use tokio::time::Instant;

use super::{
    SetupError,
    conversation::{PromptHasher, PromptPrefix, SeenPrompts, WHOLE},
    model_cache::{Down, Found, ModelCache, Unlisted},
    upstream::UpstreamClient,
};

/// How many more requests a backend with the loaded model gets before another one loads the model.
const LOAD_COST: usize = 4;
/// How many more requests a backend gets that has seen the whole prompt.
const PREFIX_WORTH: usize = 2;

/// Every Ollama behind the gateway.
pub(super) struct Backends {
    members: PerBackend<GatewayBackend>,
    /// Rotates over backends that are equally busy.
    turn: AtomicUsize,
    prompt_hasher: PromptHasher,
}

/// One Ollama behind the gateway.
pub(super) struct GatewayBackend {
    pub(super) models: ModelCache,
    pub(super) upstream: UpstreamClient,
    in_flight: AtomicUsize,
    seen: SeenPrompts,
}

impl GatewayBackend {
    fn new(backend: &Backend) -> Result<Self, SetupError> {
        let (models, upstream) = (ModelCache::new(backend.clone())?, UpstreamClient::new(backend)?);
        Ok(Self { models, upstream, in_flight: AtomicUsize::new(0), seen: SeenPrompts::default() })
    }
}

impl Drop for GatewayBackend {
    fn drop(&mut self) {
        // A series cannot be removed. NaN equals no value, so it causes no alert.
        gauge!("paddock_backend_up", "backend" => self.models.url().to_owned()).set(f64::NAN);
    }
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
    pub(super) fn new(source: BackendSource) -> Result<Self, SetupError> {
        Ok(Self {
            members: PerBackend::new(source, GatewayBackend::new)?,
            turn: AtomicUsize::new(0),
            prompt_hasher: PromptHasher::default(),
        })
    }

    /// Where the backends come from.
    pub(super) fn source(&self) -> &BackendSource {
        self.members.source()
    }

    /// Hashes prompts for [`Self::choose`]. `None` if there is nothing to choose.
    pub(super) fn prompt_hasher(&self) -> Option<&PromptHasher> {
        self.are_several().then_some(&self.prompt_hasher)
    }

    /// Whether a request that does not reach its backend may go to another one.
    pub(super) fn are_several(&self) -> bool {
        self.members.current().len() > 1
    }

    /// Returns where a model runs. `since` is the start of the client's request. Fails if only a
    /// backend that is down has the model, or if no backend is known.
    pub(super) async fn find(&self, name: &ModelName, since: Instant) -> Result<Found, Unlisted> {
        let members = self.members.current();
        if members.iter().any(|member| member.models.is_local_now(name)) {
            return Ok(Found::Local);
        }
        if members.is_empty() {
            return Err(Unlisted::Down(Down));
        }
        let found = join_all(members.iter().map(|member| member.models.find(name, since))).await;
        let mut result = Ok(Found::Missing);
        for (member, found) in members.iter().zip(found) {
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
    pub(super) fn choose(
        &self,
        name: &ModelName,
        prefix: Option<&PromptPrefix>,
        tried: &[BackendLease],
    ) -> Option<BackendLease> {
        let is_tried = |member: &Arc<GatewayBackend>| tried.iter().any(|lease| Arc::ptr_eq(&lease.0, member));
        let members = self.members.current();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % members.len().max(1);
        let (late, early) = members.split_at(turn);
        let candidates =
            early.iter().chain(late).filter(|member| !is_tried(member) && member.models.is_local_now(name));
        // A backend that has unloaded the model has no cache of the prompt either.
        let is_loaded = prefix.is_some() && candidates.clone().any(|member| member.models.is_loaded(name));
        // In thousandths of a request. A share of the prompt makes the load less.
        let load = |member: &&Arc<GatewayBackend>| {
            let requests = member.in_flight.load(Ordering::Relaxed) + PREFIX_WORTH;
            let has_loaded = member.models.is_loaded(name);
            let cost = if has_loaded { 0 } else { LOAD_COST };
            let share = prefix.filter(|_| has_loaded || !is_loaded).map_or(0, |prefix| member.seen.share(prefix));
            (requests + cost) * WHOLE - share * PREFIX_WORTH
        };
        let chosen = candidates.min_by_key(load)?;
        chosen.in_flight.fetch_add(1, Ordering::Relaxed);
        if let Some(prefix) = prefix {
            let result = if chosen.seen.share(prefix) > 0 { "seen" } else { "new" };
            counter!("paddock_backend_prompts_total", "result" => result).increment(1);
            chosen.seen.record(prefix);
        }
        Some(BackendLease(Arc::clone(chosen)))
    }

    /// Returns the backends that are up. Fails if none is. Before it fails, it checks whether one is
    /// back.
    pub(super) async fn up(&self, since: Instant) -> Result<Vec<Arc<GatewayBackend>>, Down> {
        let members = self.members.current();
        let up = || members.iter().filter(|member| member.models.is_up()).cloned().collect::<Vec<_>>();
        let now = up();
        if !now.is_empty() {
            return Ok(now);
        }
        join_all(members.iter().map(|member| member.models.require_up(since))).await;
        Some(up()).filter(|up| !up.is_empty()).ok_or(Down)
    }

    /// Completes when no backend is up.
    pub(super) async fn all_down(&self) {
        loop {
            let changed = self.members.source().changed();
            let members = self.members.current();
            let Some(up) = members.iter().find(|member| member.models.is_up()) else { return };
            // A backend that has left is not checked any more, so it may never go down.
            tokio::select! {
                () = up.models.down_token().cancelled_owned() => {}
                () = changed => {}
            }
        }
    }

    /// Checks the health of every backend, and refreshes its list of models. Returns whether one of
    /// them answered.
    pub(super) async fn refresh(&self) -> bool {
        let members = self.members.current();
        let refreshed = join_all(members.iter().map(|member| member.models.refresh())).await;
        for (member, result) in members.iter().zip(&refreshed) {
            member.upstream.close_unused_connections();
            gauge!("paddock_backend_up", "backend" => member.models.url().to_owned())
                .set(f64::from(u8::from(result.is_ok())));
        }
        refreshed.iter().any(Result::is_ok)
    }

    /// Whether a backend runs the model, as far as is known.
    pub(super) fn is_local_now(&self, name: &ModelName) -> bool {
        self.members.current().iter().any(|member| member.models.is_local_now(name))
    }

    /// Reads the lists of models again that were requested before `since`. Fails if no backend
    /// answers.
    pub(super) async fn lists_since(&self, since: Instant) -> Result<(), Unlisted> {
        let members = self.members.current();
        let lists = join_all(members.iter().map(|member| member.models.snapshot_since(since))).await;
        let mut result = Err(Unlisted::Down(Down));
        for list in lists {
            match list {
                Ok(_) => return Ok(()),
                Err(error) => result = Err(error.into()),
            }
        }
        result
    }

    /// Returns the URL of each backend that is not used, and why. A name that cannot be resolved is
    /// one of them.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let problem = |member: &Arc<GatewayBackend>| Some((member.models.url().to_owned(), member.models.problem()?));
        let members = self.members.current();
        self.members.source().problem().into_iter().chain(members.iter().filter_map(problem)).collect()
    }
}
