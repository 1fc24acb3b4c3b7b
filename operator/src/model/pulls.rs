//! Running pulls. Each pull is a separate task, because it outlives a reconcile. A pull writes no
//! status; it enqueues the objects that are subscribed to the pull.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use paddock_ollama::{Client, ModelName, PullError, PullProgress};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    backoff,
    context::Context,
    model::{backend::Backend, plan::Pull, validate::ModelSpec},
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

/// A model on a backend.
#[derive(Clone, PartialEq, Eq, Hash)]
struct PullKey {
    model: ModelName,
    backend: String,
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

    /// Returns the state of the pull if it is running, and subscribes the object to it.
    pub(crate) fn subscribe(&self, model: &ModelName, backend: &str, subscriber: &Subscriber) -> Option<Pull> {
        let key = PullKey { model: model.clone(), backend: backend.to_owned() };
        self.running.lock().get_mut(&key).map(|running| {
            running.subscribers.insert(subscriber.clone());
            running.pull.clone()
        })
    }

    /// Starts a pull, or subscribes the object to a running one. The pull retries failures until
    /// the backend has the model or no object is subscribed.
    pub(crate) fn start(self: &Arc<Self>, spec: &ModelSpec, backend: &Backend, subscriber: &Subscriber) {
        let key = PullKey { model: spec.model.clone(), backend: backend.name.clone() };
        let mut running = self.running.lock();
        if let Some(pull) = running.get_mut(&key) {
            pull.subscribers.insert(subscriber.clone());
            return;
        }
        let stop = self.stop.child_token();
        let subscribers = HashSet::from([subscriber.clone()]);
        running.insert(key.clone(), RunningPull { pull: Pull::default(), subscribers, stop: stop.clone() });
        let task = PullTask {
            pulls: Arc::clone(self),
            key,
            client: backend.client.clone(),
            is_insecure: spec.is_insecure,
            stop: stop.clone(),
        };
        self.tasks.spawn(async move {
            let _ = stop.run_until_cancelled(task.run()).await;
        });
    }

    /// Unsubscribes the object from all pulls. Stops a pull that has no subscriber left.
    pub(crate) fn unsubscribe(&self, subscriber: &Subscriber) {
        self.running.lock().retain(|_, running| {
            running.subscribers.remove(subscriber);
            if running.subscribers.is_empty() {
                running.stop.cancel();
            }
            !running.subscribers.is_empty()
        });
    }

    /// Returns a guard that stops all pulls when it is dropped. Ollama keeps the layers pulled so
    /// far.
    pub(crate) fn stop_on_drop(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }
}

/// The task of one pull.
struct PullTask {
    pulls: Arc<Pulls>,
    key: PullKey,
    client: Client,
    is_insecure: bool,
    stop: CancellationToken,
}

impl PullTask {
    async fn run(&self) {
        let PullKey { model, backend } = &self.key;
        let mut progress = PullProgress::default();
        let mut failures = 0;
        while let Err(error) = self.attempt(&mut progress).await {
            tracing::warn!(%error, %model, backend, "pull failed; retrying");
            metrics::counter!("paddock_pulls_total", "result" => "failed").increment(1);
            self.update(|pull| pull.failure = Some(error.to_string()));
            self.enqueue_subscribers();
            tokio::time::sleep(backoff::delay_after(failures, backend)).await;
            failures += 1;
        }
        tracing::info!(%model, backend, "model pulled");
        metrics::counter!("paddock_pulls_total", "result" => "pulled").increment(1);
        self.enqueue_subscribers();
        self.with_running(|running| running.remove(&self.key));
    }

    async fn attempt(&self, progress: &mut PullProgress) -> Result<(), PullError> {
        let mut events = self.client.pull(&self.key.model, self.is_insecure);
        let (mut reported_at, mut reported_percent) = (Instant::now(), progress.progress().percent);
        while let Some(event) = events.next().await {
            let now = progress.update(&event?);
            self.update(|pull| *pull = Pull { progress: now, failure: None });
            if reported_at.elapsed() >= PROGRESS_INTERVAL && now.percent > reported_percent {
                (reported_at, reported_percent) = (Instant::now(), now.percent);
                self.enqueue_subscribers();
            }
        }
        Ok(())
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
