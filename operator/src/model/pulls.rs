//! Running pulls. Each pull is a separate task, because it outlives a reconcile. A pull writes no
//! status; it enqueues the objects that are subscribed to the pull.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use paddock_ollama::{Client, ModelName, PullError, PullProgress};
use paddock_store::error_chain;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    backoff,
    context::Context,
    model::{
        backend::Backend,
        plan::{Pull, PullFailure},
        validate::ModelSpec,
    },
};

/// Shortest interval between two reports of progress. A report also needs a gain of one percent.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Namespace and name of an object that a pull enqueues.
pub(crate) type Subscriber = (String, String);

/// The pulls of this process.
pub(crate) struct Pulls {
    context: Arc<Context>,
    running: Mutex<HashMap<PullKey, RunningPull>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A model on a backend, and how it is pulled. Two objects that name one model differently secured
/// do not share a pull, so that a wrong object cannot fail the pull of a right one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct PullKey {
    model: ModelName,
    backend: String,
    is_insecure: bool,
}

impl PullKey {
    fn new(spec: &ModelSpec, backend: &str) -> Self {
        Self { model: spec.model.clone(), backend: backend.to_owned(), is_insecure: spec.is_insecure }
    }
}

struct RunningPull {
    pull: Pull,
    subscribers: HashSet<Subscriber>,
    stop: CancellationToken,
}

impl Pulls {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, running: Mutex::default(), tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Returns the state of the pull if it is running, and subscribes the object to it. Unsubscribes
    /// the object from the pulls of an earlier spec.
    pub(crate) fn subscribe(&self, spec: &ModelSpec, backend: &str, subscriber: &Subscriber) -> Option<Pull> {
        let key = PullKey::new(spec, backend);
        let mut running = self.running.lock();
        remove_subscriber(&mut running, subscriber, |other| other.backend == key.backend && *other != key);
        running.get_mut(&key).map(|running| {
            running.subscribers.insert(subscriber.clone());
            running.pull.clone()
        })
    }

    /// Starts a pull, or subscribes the object to a running one. The pull retries failures until
    /// the backend has the model or no object is subscribed.
    pub(crate) fn start(self: &Arc<Self>, spec: &ModelSpec, backend: &Backend, subscriber: &Subscriber) {
        let key = PullKey::new(spec, &backend.name);
        let mut running = self.running.lock();
        if let Some(pull) = running.get_mut(&key) {
            pull.subscribers.insert(subscriber.clone());
            return;
        }
        let stop = self.stop.child_token();
        let subscribers = HashSet::from([subscriber.clone()]);
        running.insert(key.clone(), RunningPull { pull: Pull::default(), subscribers, stop: stop.clone() });
        let task = PullTask { pulls: Arc::clone(self), key, client: backend.client.clone(), stop: stop.clone() };
        self.tasks.spawn(async move {
            let _ = stop.run_until_cancelled(task.run()).await;
        });
    }

    /// Unsubscribes the object from the pulls on backends that are gone.
    pub(crate) fn leave_vanished(&self, subscriber: &Subscriber, is_there: impl Fn(&str) -> bool) {
        remove_subscriber(&mut self.running.lock(), subscriber, |key| !is_there(&key.backend));
    }

    /// Unsubscribes the object from all pulls. Stops a pull that has no subscriber left.
    pub(crate) fn unsubscribe(&self, subscriber: &Subscriber) {
        remove_subscriber(&mut self.running.lock(), subscriber, |_| true);
    }

    /// Returns a guard that stops all pulls when it is dropped. Ollama keeps the layers pulled so
    /// far.
    pub(crate) fn stop_on_drop(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }
}

/// Unsubscribes the object from these pulls. Stops a pull that has no subscriber left.
fn remove_subscriber(
    running: &mut HashMap<PullKey, RunningPull>,
    subscriber: &Subscriber,
    is_left: impl Fn(&PullKey) -> bool,
) {
    running.retain(|key, running| {
        if !is_left(key) || !running.subscribers.remove(subscriber) || !running.subscribers.is_empty() {
            return true;
        }
        running.stop.cancel();
        false
    });
}

/// The task of one pull.
struct PullTask {
    pulls: Arc<Pulls>,
    key: PullKey,
    client: Client,
    stop: CancellationToken,
}

/// Why an attempt of a pull ended early.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error("no new byte arrived for {}s", .0.as_secs())]
    Stalled(Duration),
}

impl AttemptError {
    fn failure(&self) -> PullFailure {
        match self {
            Self::Pull(error) => PullFailure::Failed(error_chain(error)),
            Self::Stalled(_) => PullFailure::Stalled,
        }
    }
}

impl PullTask {
    async fn run(&self) {
        let PullKey { model, backend, .. } = &self.key;
        let mut progress = PullProgress::default();
        let mut failures = 0;
        while let Err(error) = self.attempt(&mut progress).await {
            tracing::warn!(error = error_chain(&error), %model, backend, "pull failed; retrying");
            metrics::counter!("paddock_pulls_total", "result" => "failed").increment(1);
            self.update(|pull| pull.failure = Some(error.failure()));
            self.enqueue_subscribers();
            tokio::time::sleep(backoff::delay_after(failures, backend, 1)).await;
            failures += 1;
        }
        tracing::info!(%model, backend, "model pulled");
        metrics::counter!("paddock_pulls_total", "result" => "pulled").increment(1);
        self.enqueue_subscribers();
        self.with_running(|running| running.remove(&self.key));
    }

    /// Pulls until the end, or until no new byte has arrived for the stall timeout. Ollama repeats
    /// its progress while it waits for the registry, so lines without a new byte do not count.
    async fn attempt(&self, progress: &mut PullProgress) -> Result<(), AttemptError> {
        let stall_timeout = self.pulls.context.settings.pull_stall_timeout;
        let mut events = self.client.pull(&self.key.model, self.key.is_insecure);
        let (mut reported_at, mut reported_percent) = (Instant::now(), progress.progress().percent);
        let mut new_byte_at = Instant::now();
        loop {
            let before = progress.progress();
            // Ollama sends nothing while it verifies a complete download, which may take minutes.
            let is_verifying = before.total_bytes > 0 && before.completed_bytes == before.total_bytes;
            let event = match tokio::time::timeout_at(new_byte_at + stall_timeout, events.next()).await {
                Ok(event) => event,
                Err(_) if is_verifying => events.next().await,
                Err(_) => return Err(AttemptError::Stalled(stall_timeout)),
            };
            let Some(event) = event else { return Ok(()) };
            let now = progress.update(&event?);
            let has_new_byte = now.completed_bytes > before.completed_bytes;
            if has_new_byte {
                new_byte_at = Instant::now();
            }
            self.update(|pull| {
                pull.progress = now;
                pull.failure = pull.failure.take().filter(|_| !has_new_byte);
            });
            if reported_at.elapsed() >= PROGRESS_INTERVAL && now.percent > reported_percent {
                (reported_at, reported_percent) = (Instant::now(), now.percent);
                self.enqueue_subscribers();
            }
        }
    }

    fn update(&self, change: impl FnOnce(&mut Pull)) {
        self.with_running(|running| running.get_mut(&self.key).map(|running| change(&mut running.pull)));
    }

    fn enqueue_subscribers(&self) {
        let subscribers =
            self.with_running(|running| running.get(&self.key).map(|running| running.subscribers.clone()));
        for (namespace, name) in subscribers.into_iter().flatten() {
            self.pulls.context.models.enqueue(&namespace, &name);
        }
    }

    /// Calls `f` with the running pulls. Does nothing if this pull was stopped, because a later
    /// pull may then have the same key.
    fn with_running<T>(&self, f: impl FnOnce(&mut HashMap<PullKey, RunningPull>) -> Option<T>) -> Option<T> {
        let mut running = self.pulls.running.lock();
        if self.stop.is_cancelled() { None } else { f(&mut running) }
    }
}
