//! Pulls under way: tasks of their own, because they outlast any look at an object. They write nothing; they have the
//! objects that wait for them looked at.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use paddock_ollama::{Client, ModelName, PullError, PullProgress};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::backoff;
use crate::model::Backend;
use crate::model::plan::Pull;
use crate::model::validate::Wanted;
use crate::shared::Shared;

/// Progress is told at most so often, and only when it grew by a percent.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Namespace and name of an object.
pub(crate) type Waiter = (String, String);

/// The pulls of this process.
pub(crate) struct Pulls {
    shared: Arc<Shared>,
    running: Mutex<HashMap<Place, Running>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A model on a backend.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    model: ModelName,
    backend: String,
}

struct Running {
    pull: Pull,
    waiters: HashSet<Waiter>,
    stop: CancellationToken,
}

impl Pulls {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, running: Mutex::default(), tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// How the pull stands, if one is under way; the object is told of it from now on.
    pub(crate) fn join(&self, model: &ModelName, backend: &str, waiter: &Waiter) -> Option<Pull> {
        let place = Place { model: model.clone(), backend: backend.to_owned() };
        self.running().get_mut(&place).map(|running| {
            running.waiters.insert(waiter.clone());
            running.pull.clone()
        })
    }

    /// Begins a pull that goes on, over failures, until the model is there or nobody waits any more.
    pub(crate) fn begin(self: &Arc<Self>, wanted: &Wanted, backend: &Backend, waiter: &Waiter) {
        let place = Place { model: wanted.model.clone(), backend: backend.name.clone() };
        let mut running = self.running();
        if let Some(there) = running.get_mut(&place) {
            there.waiters.insert(waiter.clone());
            return;
        }
        let stop = self.stop.child_token();
        let waiters = HashSet::from([waiter.clone()]);
        running.insert(place.clone(), Running { pull: Pull::default(), waiters, stop: stop.clone() });
        let task = Task {
            pulls: Arc::clone(self),
            place,
            client: backend.client.clone(),
            insecure: wanted.insecure,
            stop: stop.clone(),
        };
        self.tasks.spawn(async move {
            let _ = stop.run_until_cancelled(task.run()).await;
        });
    }

    /// The object waits no more. A pull that nobody waits for ends.
    pub(crate) fn leave(&self, waiter: &Waiter) {
        self.running().retain(|_, running| {
            running.waiters.remove(waiter);
            if running.waiters.is_empty() {
                running.stop.cancel();
            }
            !running.waiters.is_empty()
        });
    }

    /// Ends all pulls when it is dropped; what has arrived stays with Ollama.
    pub(crate) fn stop_on_drop(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Place, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One pull.
struct Task {
    pulls: Arc<Pulls>,
    place: Place,
    client: Client,
    insecure: bool,
    stop: CancellationToken,
}

impl Task {
    async fn run(&self) {
        let Place { model, backend } = &self.place;
        let mut progress = PullProgress::default();
        let mut failures = 0;
        while let Err(error) = self.attempt(&mut progress).await {
            tracing::warn!(%error, %model, backend, "the pull failed and will be repeated");
            metrics::counter!("paddock_pulls_total", "result" => "failed").increment(1);
            self.update(|pull| pull.failure = Some(error.to_string()));
            self.tell();
            tokio::time::sleep(backoff::after(failures, backend)).await;
            failures += 1;
        }
        tracing::info!(%model, backend, "pulled");
        metrics::counter!("paddock_pulls_total", "result" => "pulled").increment(1);
        self.tell();
        self.with_place(|running| running.remove(&self.place));
    }

    async fn attempt(&self, progress: &mut PullProgress) -> Result<(), PullError> {
        let mut events = self.client.pull(&self.place.model, self.insecure);
        let mut told = (Instant::now(), progress.progress().percent);
        while let Some(event) = events.next().await {
            let now = progress.update(&event?);
            self.update(|pull| *pull = Pull { progress: now, failure: None });
            if told.0.elapsed() >= TELL_EVERY && now.percent > told.1 {
                told = (Instant::now(), now.percent);
                self.tell();
            }
        }
        Ok(())
    }

    fn update(&self, change: impl FnOnce(&mut Pull)) {
        self.with_place(|running| running.get_mut(&self.place).map(|running| change(&mut running.pull)));
    }

    /// Has the objects that wait looked at.
    fn tell(&self) {
        let waiters = self.with_place(|running| running.get(&self.place).map(|running| running.waiters.clone()));
        for (namespace, name) in waiters.into_iter().flatten() {
            self.pulls.shared.models.wake(&namespace, &name);
        }
    }

    /// Works on the table, unless this pull was stopped: its place may be another's by then.
    fn with_place<T>(&self, f: impl FnOnce(&mut HashMap<Place, Running>) -> Option<T>) -> Option<T> {
        let mut running = self.pulls.running();
        if self.stop.is_cancelled() { None } else { f(&mut running) }
    }
}
