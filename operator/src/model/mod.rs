//! Reconciles an `OllamaModel` into a model on every backend.

mod apply;
mod backend;
mod clean_up;
mod plan;
mod pulls;
mod status;
mod validate;

use std::{sync::Arc, time::Duration};

use kube::ResourceExt;
use paddock_crds::OllamaModel;
use paddock_ollama::{BackendSource, Client, ClientError, PerBackend, Timeouts};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::DropGuard;

use crate::{
    context::Context,
    error::ReconcileError,
    model::{apply::Applied, backend::Backend, pulls::Pulls},
    object::namespace_of,
    reconciler::{Cleanup, Reconciler, Requeue, WriteCache, report_status},
    status::conditions::{Blocked, Reason},
};

/// Interval between reconciles of a model that is being pulled, if the pull reports no progress.
const PULL_RECHECK_INTERVAL: Duration = Duration::from_secs(30);
/// Interval between reconciles of a model that every backend has. They notice a model that was
/// removed from a backend, which causes no event.
const RECHECK_INTERVAL: Duration = Duration::from_mins(1);

pub(crate) struct ModelReconciler {
    context: Arc<Context>,
    write_cache: WriteCache<OllamaModel>,
    backends: PerBackend<Backend>,
    pulls: Arc<Pulls>,
    /// Serialises deletions: of two objects with the same model, the second must see that the first
    /// is gone.
    deletion_lock: Mutex<()>,
    permits: Semaphore,
}

impl ModelReconciler {
    /// `concurrency` limits how many models are reconciled at once. They have permits of their own,
    /// so that a hanging Ollama server does not delay users and keys.
    pub(crate) fn new(context: Arc<Context>, source: BackendSource, concurrency: usize) -> Result<Self, ClientError> {
        let backend =
            |backend: &paddock_ollama::Backend| Client::new(backend.clone(), Timeouts::default()).map(Backend::new);
        Ok(Self {
            pulls: Arc::new(Pulls::new(Arc::clone(&context))),
            context,
            write_cache: WriteCache::default(),
            backends: PerBackend::new(source, backend)?,
            deletion_lock: Mutex::default(),
            permits: Semaphore::new(concurrency),
        })
    }

    /// Finds the backends at an interval, and queues every model when they change. Never returns.
    pub(crate) async fn watch_backends(&self) {
        let source = self.backends.source();
        let queue_models = async {
            let mut changed = source.changed();
            loop {
                changed.await;
                changed = source.changed();
                for object in self.context.models.filter(|_| true) {
                    self.context.models.enqueue(&namespace_of(object.as_ref()), &object.name_any());
                }
            }
        };
        tokio::join!(source.run(), queue_models);
    }

    /// Pulls the model where it is missing.
    async fn apply(&self, object: &OllamaModel) -> Result<Applied, ReconcileError> {
        let spec = match validate::model_spec(object, &self.context.settings.model_registries) {
            Ok(spec) => spec,
            Err(blocked) => return Ok(Applied::Blocked(blocked)),
        };
        let backends = self.backends.current();
        if backends.is_empty() {
            let problem = self.backends.source().problem().map(|(_, problem)| format!(": {problem}"));
            let message = format!("no Ollama is known{}", problem.unwrap_or_default());
            return Ok(Applied::Blocked(Blocked::new(Reason::BackendUnreachable, message)));
        }
        apply::ensure_pulled(&self.context, &backends, &self.pulls, object, &spec).await
    }

    /// See [`Pulls::stop_on_drop`].
    pub(crate) fn stop_pulls_on_drop(&self) -> DropGuard {
        self.pulls.stop_on_drop()
    }
}

impl Reconciler for ModelReconciler {
    type Object = OllamaModel;

    fn context(&self) -> &Context {
        &self.context
    }

    fn permits(&self) -> &Semaphore {
        &self.permits
    }

    fn write_cache(&self) -> &WriteCache<OllamaModel> {
        &self.write_cache
    }

    async fn reconcile(self: Arc<Self>, object: Arc<OllamaModel>) -> Result<Requeue, ReconcileError> {
        let object = object.as_ref();
        let applied = self.apply(object).await?;
        let requeue = match &applied {
            Applied::Observed(observed) if observed.is_on_all_backends() => Requeue::Within(RECHECK_INTERVAL),
            Applied::Observed(observed) if observed.is_being_pulled() => Requeue::Within(PULL_RECHECK_INTERVAL),
            Applied::Blocked(blocked) if blocked.reason.needs_edit() => Requeue::Settled,
            Applied::Observed(_) | Applied::Blocked(_) => Requeue::Backoff,
        };
        report_status(self.as_ref(), object, status::build(object, &applied, self.context.now())).await?;
        Ok(requeue)
    }

    async fn clean_up(self: Arc<Self>, object: Arc<OllamaModel>) -> Result<Cleanup, ReconcileError> {
        self.clean_up_model(&object).await
    }
}
